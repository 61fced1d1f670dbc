"""The commands. Each imports what it needs itself, so that `foundry --help` stays fast."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from model_foundry.signals import listening

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from model_foundry.architectures import BaseLanguageModel
    from model_foundry.config import ExperimentConfig

CHECK_SAID_NO = 1

app = typer.Typer(
    name="foundry",
    help="Train small language models of any architecture from one YAML file.",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich would double the time to the help
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@dataclass
class Options:
    """What holds for every command."""

    debug: bool = False
    """Show the traceback of an error."""


options = Options()


def _set_debug(value: bool) -> bool:
    options.debug = options.debug or value
    return value


def _load_plugins(files: list[Path] | None) -> list[Path]:
    if files:
        from model_foundry.architectures import load_plugin

        for file in files:
            load_plugin(file)
    return files or []


Config = Annotated[Path, typer.Argument(help="Experiment file.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Settings to change, such as training.max_steps=100.", show_default=False),
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        help="Python file that registers architectures or objectives.",
        callback=_load_plugins,
        show_default=False,
    ),
]
Debug = Annotated[
    bool,
    typer.Option(
        "--debug",
        help="Show the traceback of an error.",
        callback=_set_debug,
        is_eager=True,  # before a plugin that may fail
    ),
]


@app.callback()
def _start() -> None:
    """Train small language models of any architecture from one YAML file."""
    handler = _StderrHandler()
    handler.setFormatter(_LineFormatter())
    logger = logging.getLogger("model_foundry")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    # transformers reads these when it is imported; its hints and bars would break into the progress
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what is the standard error stream now, not to what it was at the start."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _LineFormatter(logging.Formatter):
    """The bare message, named as a warning where it is one."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return prefix + super().format(record)


def _load(config: Path, overrides: list[str] | None) -> "ExperimentConfig":
    from model_foundry.config import load_config

    return load_config(config, overrides=overrides or [])


def _load_with_warnings(config: Path, overrides: list[str] | None) -> "ExperimentConfig":
    """Load an experiment and tell which of its settings do nothing; training tells it itself."""
    experiment = _load(config, overrides)
    from model_foundry.config import settings_without_effect

    for line in settings_without_effect(experiment):
        typer.echo(f"warning: {line}", err=True)
    return experiment


@contextmanager
def _printing() -> Iterator[None]:
    """Print what a command has come to, though the reader be gone or its disk full: it is done."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # not every terminal has every character
    try:
        yield
        sys.stdout.flush()
    except (OSError, SystemExit):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@app.command(epilog="Example: foundry train configs/quickstart.yaml training.max_steps=500")
def train(
    config: Config,
    overrides: Overrides = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Move a run that is already there to <dir>.old-N.")
    ] = False,
    extend: Annotated[
        bool, typer.Option("--extend", help="Go on with a run whose length was raised.")
    ] = False,
    no_lock: Annotated[
        bool, typer.Option("--no-lock", help="For file systems without locks: use with care.")
    ] = False,
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """Train a model from an experiment file, or go on where that was interrupted."""
    with listening():  # from before torch is imported, which takes seconds
        experiment = _load(config, overrides)
        from model_foundry.cli.summary import print_summary
        from model_foundry.experiment import train as run

        result = run(experiment, fresh=fresh, extend=extend, lock=not no_lock)
    with _printing():
        print_summary(result, plugin)


@app.command("train-tokenizer", epilog="Example: foundry train-tokenizer configs/tiny_gpt2.yaml")
def train_tokenizer(
    config: Config, overrides: Overrides = None, plugin: Plugins = None, debug: Debug = False
) -> None:
    """Train only the tokenizer of an experiment."""
    with listening():
        experiment = _load(config, overrides)
        from model_foundry.tokenizer.tokenizer_factory import train_tokenizer_from_config

        tokenizer = train_tokenizer_from_config(experiment)
    typer.echo(f"{len(tokenizer):,} tokens in {experiment.output_dir / 'tokenizer'}")


@app.command(epilog="Example: foundry validate configs/bert_base.yaml data.train=corpus.txt")
def validate(
    config: Config, overrides: Overrides = None, plugin: Plugins = None, debug: Debug = False
) -> None:
    """Check an experiment without training it."""
    experiment = _load_with_warnings(config, overrides)
    from model_foundry.experiment import check

    for line in check(experiment):
        typer.echo(line)
    typer.echo(f"{config}: nothing wrong was found")


@contextmanager
def _figures_come_later() -> Iterator[None]:
    """Keep the preparation from logging the figures that the command itself prints."""
    logger = logging.getLogger("model_foundry.preparation")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


@app.command(epilog="Example: foundry prepare configs/tiny_gpt2.yaml data.train=corpus.txt")
def prepare(
    config: Config, overrides: Overrides = None, plugin: Plugins = None, debug: Debug = False
) -> None:
    """Make the tokenizer and the token streams of an experiment ahead of its training."""
    with listening(), _figures_come_later():
        experiment = _load_with_warnings(config, overrides)
        from model_foundry.accounting.places import look_into
        from model_foundry.cli.prepared import preparation_lines
        from model_foundry.preparation import prepare as run

        before = look_into(experiment.data.cache)
        prepared = run(experiment)
    with _printing():
        for line in preparation_lines(prepared, before=before):
            typer.echo(line)


@app.command(epilog="Example: foundry data configs/tiny_gpt2.yaml data.train=corpus.txt")
def data(
    config: Config,
    overrides: Overrides = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where data.json and document_lengths.png go; left out: <output_dir>.data, "
            "beside the run.",
            show_default=False,
        ),
    ] = None,
    examples: Annotated[
        bool, typer.Option("--examples", help="Show what each intervention did, ten examples.")
    ] = False,
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """Show the figures of a corpus, and what becomes of each of its tokens."""
    with listening(), _figures_come_later():
        experiment = _load_with_warnings(config, overrides)
        from model_foundry.accounting import examine
        from model_foundry.cli.data_report import print_report, save_report
        from model_foundry.preparation import prepare as run

        report = examine(experiment, run(experiment))
        run_directory = experiment.output_dir
        directory = output or run_directory.with_name(f"{run_directory.name}.data")
        lines = save_report(report, directory)
    with _printing():
        print_report(report, examples=examples)
        for line in lines:
            typer.echo(line)


def _model_directory(path: Path) -> Path:
    """Return the model of a run, or else its newest checkpoint, or the directory itself.

    Raises:
        ConfigError: there is no model.
    """
    from model_foundry.errors import ConfigError
    from model_foundry.run_directory import RunDirectory

    run = RunDirectory(path)
    newest = run.newest_model()
    if newest is not None:
        if newest != run.model:
            typer.echo(f"the run is not finished; this is {newest}", err=True)
        return newest
    if not path.is_dir():
        raise ConfigError(f"{path}: no such directory; name a run or a model")
    if not (path / "config.json").is_file():
        raise ConfigError(f"{path}: holds no model; name a run with a checkpoint, or a model")
    return path


def _load_newest(path: Path) -> "tuple[BaseLanguageModel, PreTrainedTokenizerBase]":
    """Load the newest model of a run, which may delete a checkpoint while that is being read."""
    from model_foundry.errors import ConfigError, DataError
    from model_foundry.model import load_model
    from model_foundry.tokenizer.loading import load_tokenizer

    directory = _model_directory(path)
    try:
        return load_model(directory), load_tokenizer(directory)
    except (ConfigError, DataError):
        if directory.exists():
            raise
    return _load_newest(path)


@app.command(epilog="Example: foundry generate runs/quickstart --prompt 'The dogs' --number 3")
def generate(
    run: Annotated[Path, typer.Argument(help="Run or model directory.", show_default=False)],
    prompt: Annotated[str, typer.Option(help="Beginning of the text.")] = "",
    number: Annotated[int, typer.Option(min=1, help="How many continuations.")] = 1,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens to add.")] = 50,
    temperature: Annotated[
        float, typer.Option(min=0, help="0 takes the likeliest token each time.")
    ] = 1.0,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Sample among the k likeliest tokens only.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(min=0, max=1, help="Sample among those holding this share.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sampling.")] = 0,
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """Continue a text with a trained causal model."""
    from model_foundry.generation import generate_texts

    model, tokenizer = _load_newest(run)
    texts = generate_texts(
        model,
        tokenizer,
        [prompt] * number,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
    )
    for index, text in enumerate(texts, 1):
        if number > 1:
            typer.echo(f"--- {index}")
        typer.echo(text)


@app.command(epilog="Example: foundry doctor configs/tiny_lstm.yaml data.train=corpus.txt")
def doctor(
    config: Annotated[
        Path | None,
        typer.Argument(help="Experiment file; left out: a small one.", show_default=False),
    ] = None,
    overrides: Overrides = None,
    plugin: Plugins = None,
    debug: Debug = False,
) -> int:
    """Try out in about a minute whether an experiment works on this machine."""
    sick = False
    with listening():
        experiment = _load(config, overrides) if config else None
        from model_foundry.cli.summary import announcer, finding_line
        from model_foundry.doctor import examine

        with announcer() as announce:
            for finding in examine(experiment, announce=announce):
                typer.echo(finding_line(finding))
                sick = sick or finding.good is False
    return CHECK_SAID_NO if sick else 0


@app.command("list", epilog="Example: foundry list architectures")
def list_names(
    what: Annotated[
        str,
        typer.Argument(
            help="architectures, tokenizers, objectives or interventions.", show_default=False
        ),
    ],
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """List what an experiment file can name."""
    from model_foundry.cli.summary import listing

    for line in listing(what):
        typer.echo(line)

"""The commands. Each imports what it needs itself, so that `foundry --help` stays fast."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from model_foundry.cli import corpus_commands
from model_foundry.cli.arguments import (
    Config,
    Debug,
    Overrides,
    Plugins,
    load,
    load_with_warnings,
    options,
    path_argument,
)
from model_foundry.cli.foreign_commands import FOREIGN
from model_foundry.cli.output import reporting, start_logging
from model_foundry.foundation.interrupts import handle_signals

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from model_foundry.architectures import BaseLanguageModel

__all__ = ["app", "options"]

CHECK_SAID_NO = 1


class _Commands(TyperGroup):
    """The commands, and a sentence for each that people look for here in vain."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        said = FOREIGN.get(args[0].lower()) if args and args[0] not in self.commands else None
        if said:
            ctx.fail(f"No such command {args[0]!r}: it {said}.")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="foundry",
    cls=_Commands,
    help="Train small language models of any architecture from one YAML file.",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich would double the time to the help
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from model_foundry import __version__

        typer.echo(f"foundry {__version__}")
        raise typer.Exit


@app.callback()
def _start(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Train small language models of any architecture from one YAML file."""
    start_logging()


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
    profile: Annotated[
        bool, typer.Option("--profile", help="Show where the time of a step goes, early on.")
    ] = False,
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """Train a model, or go on where that was interrupted."""
    with handle_signals():  # from before torch is imported, which takes seconds
        experiment = load(config, overrides)
        from model_foundry.cli.process import allow_tf32, set_up_process

        set_up_process(experiment.training.speed)  # before torch is imported
        allow_tf32(experiment.training.speed)
        from model_foundry.cli.profile_report import begin_profile
        from model_foundry.cli.summary import print_summary
        from model_foundry.experiment.train import train as run

        looking = begin_profile(experiment) if profile else None
        result = run(
            experiment,
            fresh=fresh,
            extend=extend,
            lock=not no_lock,
            profile=looking,
        )
    reporting()
    print_summary(result, plugin)
    if looking and not looking.report:
        typer.echo(f"no step was profiled: that takes {looking.steps_needed} steps to make")


app.command("train-tokenizer", epilog="Example: foundry train-tokenizer configs/tiny_gpt2.yaml")(
    corpus_commands.train_tokenizer
)


@app.command(epilog="Example: foundry validate configs/bert_base.yaml data.train=corpus.txt")
def validate(
    config: Config, overrides: Overrides = None, plugin: Plugins = None, debug: Debug = False
) -> None:
    """Check an experiment without training it."""
    experiment = load_with_warnings(config, overrides)
    from model_foundry.experiment import check

    for line in check(experiment):
        typer.echo(line)
    typer.echo(f"{config}: nothing wrong was found")


app.command(epilog="Example: foundry prepare configs/tiny_gpt2.yaml data.train=corpus.txt")(
    corpus_commands.prepare
)
app.command(epilog="Example: foundry data configs/tiny_gpt2.yaml data.train=corpus.txt")(
    corpus_commands.data
)


def _load_newest(path: Path) -> "tuple[BaseLanguageModel, PreTrainedTokenizerBase]":
    """Load the newest model of a run, which may delete a checkpoint while that is being read."""
    from model_foundry.errors import ConfigError, DataError
    from model_foundry.experiment.run_directory import RunDirectory
    from model_foundry.model import find_model, find_tokenizer_of, load_model
    from model_foundry.tokenizer.loading import load_tokenizer

    directory = find_model(path)
    if directory.parent == RunDirectory(path).checkpoints:
        typer.echo(f"the run is not finished; this is {directory}", err=True)
    try:
        return load_model(directory), load_tokenizer(find_tokenizer_of(directory))
    except (ConfigError, DataError):
        if directory.exists():
            raise
    return _load_newest(path)


def _countable(number: int) -> int:
    """Refuse a seed that the generators cannot count to."""
    if not 0 <= number < 2**63:
        raise typer.BadParameter(f"must be >= 0 and < 2**63, got {number}")
    return number


@app.command(epilog="Example: foundry generate runs/quickstart --prompt 'The dogs' --number 3")
def generate(
    run: Annotated[
        Path,
        typer.Argument(
            help="Directory of a run, a checkpoint or a model.",
            parser=path_argument,
            metavar="RUN",
            show_default=False,
        ),
    ],
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
    seed: Annotated[int, typer.Option(callback=_countable, help="Seed of the sampling.")] = 0,
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
        typer.Argument(
            help="Experiment file; left out: a small one.",
            parser=path_argument,
            metavar="CONFIG",
            show_default=False,
        ),
    ] = None,
    overrides: Overrides = None,
    plugin: Plugins = None,
    debug: Debug = False,
) -> int:
    """Try out in a minute if an experiment works here."""
    sick = False
    with handle_signals():
        experiment = load(config, overrides) if config else None
        from model_foundry.cli.summary import announcer, finding_line
        from model_foundry.doctor.checks import examine

        with announcer() as announce:
            for finding in examine(experiment, announce=announce):
                typer.echo(finding_line(finding))
                sick = sick or finding.good is False
    return CHECK_SAID_NO if sick else 0


@app.command("list", epilog="Example: foundry list architectures")
def list_names(
    what: Annotated[
        str | None,
        typer.Argument(
            help="architectures, tokenizers, objectives or interventions; left out: the names of "
            "each.",
            show_default=False,
        ),
    ] = None,
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """List what an experiment file can name."""
    from model_foundry.cli.summary import LISTS, listing

    if what is None:
        for kind in LISTS:
            lines = (line for line in listing(kind) if not line.startswith(" "))
            names = ", ".join(line.split()[0].rstrip(":") for line in lines)
            typer.echo(f"foundry list {kind:14} {names}")
        return
    for line in listing(what):
        typer.echo(line)

"""The commands. Each imports what it needs itself, so that `foundry --help` stays fast."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import typer
from typer.core import TyperCommand, TyperGroup

from model_foundry.cli import corpus_commands
from model_foundry.cli.completion import complete_config, complete_run
from model_foundry.cli.list_command import list_names
from model_foundry.cli.new_command import new
from model_foundry.cli.other_tools import FOREIGN
from model_foundry.cli.output import start_logging
from model_foundry.cli.plan_command import plan
from model_foundry.cli.plot_command import plot
from model_foundry.cli.probe_command import probe
from model_foundry.cli.runs_command import runs
from model_foundry.cli.schema_command import schema
from model_foundry.cli.shared_options import (
    Config,
    Debug,
    Overrides,
    Plugins,
    Resolved,
    Settings,
    argument,
    load,
    load_with_warnings,
    options,
    path_argument,
)
from model_foundry.cli.show_command import show
from model_foundry.cli.train_command import train
from model_foundry.foundation.interrupts import handle_signals

if TYPE_CHECKING:
    from model_foundry.architectures import BaseLanguageModel

__all__ = ["app", "options"]

CHECK_FAILED = 1
Function = TypeVar("Function", bound=Callable[..., Any])


class _Commands(TyperGroup):
    """The commands, with a hint for the names of other programs."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        hint = FOREIGN.get(args[0].lower()) if args and args[0] not in self.commands else None
        if hint:
            ctx.fail(f"No such command {args[0]!r}: {hint}.")
        return super().resolve_command(ctx, args)


class _Command(TyperCommand):
    """A command whose help names its arguments without their Python types."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        for kind in ("argument", "option"):
            rows = [
                (str(param.metavar) if kind == "argument" else record[0], record[1])
                for param in self.get_params(ctx)
                if param.param_type_name == kind and (record := param.get_help_record(ctx))
            ]
            if rows:
                with formatter.section(f"{kind.capitalize()}s"):
                    formatter.write_dl(rows)


app = typer.Typer(
    name="foundry",
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode=None,  # rich would double the time to the help
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _command(name: str, example: str) -> Callable[[Function], Function]:
    return app.command(name, cls=_Command, epilog=f"Example: foundry {name} {example}")


def _print_version(ctx: typer.Context, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
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


_command("new", "my.yaml --architecture lstm")(new)
_command("train", "configs/quickstart.yaml training.max_steps=500")(train)
_command("train-tokenizer", "configs/tiny_gpt2.yaml")(corpus_commands.train_tokenizer)


@_command("validate", "configs/bert_base.yaml data.train=corpus.txt")
def validate(
    config: Config,
    overrides: Overrides = None,
    settings: Settings = False,
    resolved: Resolved = False,
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """Check an experiment without training it."""
    experiment = load_with_warnings(config, overrides)
    if resolved and settings:
        raise typer.BadParameter("--settings and --resolved: ask for one of them")
    if resolved:  # also where the data are not
        from model_foundry.config.resolved import resolved_lines

        return typer.echo("\n".join(resolved_lines(experiment)))
    if settings:
        from model_foundry.cli.given_settings import given_settings

        for line in given_settings(experiment):
            typer.echo(line)
    from model_foundry.experiment import check

    for line in check(experiment):
        typer.echo(line)
    typer.echo(f"{config}: no faults found")


_command("plan", "configs/tiny_gpt2.yaml --measure")(plan)
_command("prepare", "configs/tiny_gpt2.yaml data.train=corpus.txt")(corpus_commands.prepare)
_command("data", "configs/tiny_gpt2.yaml data.train=corpus.txt")(corpus_commands.data)


def _writer(path: Path) -> "Callable[..., list[str]]":
    """Return the function that makes texts of prompts with the newest model of a run.

    It tries again if the run deletes that checkpoint meanwhile.
    """
    from model_foundry.architectures.encoder_decoder import HFEncoderDecoder
    from model_foundry.errors import ConfigError, DataError
    from model_foundry.experiment.run_directory import RunDirectory
    from model_foundry.generation import generate_texts, write_texts
    from model_foundry.model import find_model, find_tokenizer_of, load_model
    from model_foundry.objectives.seq2seq import TARGET_TOKENIZER
    from model_foundry.tokenizer.loading import load_tokenizer

    directory = find_model(path)
    if directory.parent == RunDirectory(path).checkpoints:
        typer.echo(f"the run is not finished; using {directory}", err=True)
    try:
        model = load_model(directory)
        if isinstance(model, HFEncoderDecoder):
            source, target = find_tokenizer_of(directory), directory / TARGET_TOKENIZER
            other = load_tokenizer(target if target.is_dir() else source)
            return partial(write_texts, model, (load_tokenizer(source), other))
        model.require_generation()
        tokenizer = load_tokenizer(find_tokenizer_of(directory))
        return partial(generate_texts, cast("BaseLanguageModel", model), tokenizer)
    except (ConfigError, DataError):
        if directory.exists():
            raise
    return _writer(path)


def _check_seed(number: int) -> int:
    if not 0 <= number < 2**63:
        raise typer.BadParameter(f"must be >= 0 and < 2**63, got {number}")
    return number


@_command("generate", "runs/quickstart --prompt 'The dogs' --number 3")
def generate(
    run: Annotated[
        Path,
        argument(
            "RUN", "Directory of a run, a checkpoint or a model.", path_argument, complete_run
        ),
    ],
    prompt: Annotated[
        str, typer.Option(metavar="TEXT", help="Beginning of the text, or the text to translate.")
    ] = "",
    number: Annotated[int, typer.Option(metavar="N", min=1, help="Number of texts.")] = 1,
    max_new_tokens: Annotated[
        int, typer.Option(metavar="N", min=1, help="Maximum of new tokens; positions limit it too.")
    ] = 50,
    temperature: Annotated[
        float | None,
        typer.Option(
            metavar="T",
            min=0,
            help="Sampling temperature, 0: greedy; by default 1, or 0 for an encoder-decoder.",
        ),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(metavar="K", min=1, help="Sample from the k most likely tokens.")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(metavar="P", min=0, max=1, help="Nucleus sampling: share to sample from."),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", callback=_check_seed, help="Seed of the sampling.")
    ] = 0,
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """Continue a text, or translate it with an encoder-decoder."""
    given = {} if temperature is None else {"temperature": temperature}
    texts = _writer(run)(
        [prompt] * number,
        max_new_tokens=max_new_tokens,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        **given,
    )
    for index, text in enumerate(texts, 1):
        if number > 1:
            typer.echo(f"--- {index}")
        typer.echo(text)


@_command("doctor", "configs/tiny_lstm.yaml data.train=corpus.txt")
def doctor(
    config: Annotated[
        Path | None,
        argument(
            "CONFIG",
            "Experiment file; by default a small built-in one.",
            path_argument,
            complete_config,
        ),
    ] = None,
    overrides: Overrides = None,
    plugin: Plugins = None,
    debug: Debug = False,
) -> int:
    """Check in a minute that an experiment works here."""
    failed = False
    with handle_signals():
        experiment = load(config, overrides) if config else None
        from model_foundry.cli.summary import announcer, finding_line
        from model_foundry.doctor.checks import examine

        with announcer() as announce:
            for finding in examine(experiment, announce=announce):
                typer.echo(finding_line(finding))
                failed = failed or finding.good is False
    return CHECK_FAILED if failed else 0


_command("show", "runs/quickstart --follow")(show)
_command("runs", "--where model.architecture=lstm --sort eval/loss")(runs)
_command("plot", "runs/quickstart --x tokens --output curves.svg")(plot)
_command("probe", "runs/tiny-lstm configs/pos_tagging.yaml data.train=PATH.conllu")(probe)
_command("schema", "--output schema.json")(schema)
_command("list", "architectures")(list_names)

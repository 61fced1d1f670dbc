"""The commands on the corpus and its tokenizer; `commands` registers them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model_foundry.cli.output import mark_as_report
from model_foundry.cli.shared_options import (
    Config,
    Debug,
    Overrides,
    Plugins,
    load,
    load_with_warnings,
    path_argument,
)
from model_foundry.errors import ConfigError
from model_foundry.foundation.interrupts import handle_signals

if TYPE_CHECKING:
    from model_foundry.config import ExperimentConfig


def train_tokenizer(
    config: Config, overrides: Overrides = None, plugin: Plugins = None, debug: Debug = False
) -> None:
    """Train only the tokenizer of an experiment."""
    with handle_signals():
        experiment = load(config, overrides)
        _require_text(experiment, "there is no tokenizer to train")
        from model_foundry.tokenizer.tokenizer_factory import train_tokenizer_from_config

        tokenizer = train_tokenizer_from_config(experiment)
    mark_as_report()
    typer.echo(f"{len(tokenizer):,} tokens in {experiment.output_dir / 'tokenizer'}")


def _require_text(experiment: "ExperimentConfig", otherwise: str) -> None:
    """Raise a `ConfigError` if the objective reads no token stream, before any data are read."""
    from model_foundry.config import OBJECTIVES

    name = experiment.training.objective
    if not OBJECTIVES[name].reads_token_stream:
        raise ConfigError(f"training.objective: {name!r} reads no token stream; {otherwise}")


@contextmanager
def without_figures_in_log() -> Iterator[None]:
    """Keep figures out of the log that the command itself prints."""
    names = ("model_foundry.objectives.text", "model_foundry.objectives.records")
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def prepare(
    config: Config, overrides: Overrides = None, plugin: Plugins = None, debug: Debug = False
) -> None:
    """Build tokenizer and token streams ahead of training."""
    with handle_signals(), without_figures_in_log():
        experiment = load_with_warnings(config, overrides)
        from model_foundry.cli.prepared import preparation_lines
        from model_foundry.corpus_report.cache_usage import look_into
        from model_foundry.objectives.preparation import prepare as run

        before = look_into(experiment.data.cache)
        prepared = run(experiment)
    mark_as_report()
    for line in preparation_lines(prepared, before=before):
        typer.echo(line)


def data(
    config: Config,
    overrides: Overrides = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=path_argument,
            help="Directory for the files; by default <output_dir>.data.",
            show_default=False,
        ),
    ] = None,
    examples: Annotated[
        bool, typer.Option("--examples", help="Show ten examples of each intervention.")
    ] = False,
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """Show the figures of a corpus and its tokens."""
    with handle_signals(), without_figures_in_log():
        experiment = load_with_warnings(config, overrides)
        _require_text(experiment, "`foundry prepare` shows the figures of other data")
        from model_foundry.cli.data_report import print_report, save_report
        from model_foundry.corpus_report import build_report
        from model_foundry.objectives.preparation import prepare as run

        report = build_report(experiment, run(experiment))
        run_directory = experiment.output_dir
        directory = output or run_directory.with_name(f"{run_directory.name}.data")
        lines = save_report(report, directory)
    mark_as_report()
    print_report(report, examples=examples)
    for line in lines:
        typer.echo(line)

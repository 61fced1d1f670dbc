"""What the commands print on the standard output when they are done."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from rich.console import Console
from rich.table import Table

from model_foundry.config import ARCHITECTURES, OBJECTIVES, TokenizerConfig

if TYPE_CHECKING:
    from model_foundry.evaluation.language import LanguageReport
    from model_foundry.experiment import RunResult


def listing(what: str) -> Iterator[str]:
    """Yield one line for each registered name."""
    if what == "tokenizers":
        yield from get_args(TokenizerConfig.model_fields["tokenizer_type"].annotation)
    elif what == "objectives":
        for spec in OBJECTIVES.values():
            needs = "causal models" if spec.requires_causal else "models that read both ways"
            yield f"{spec.name:12} for {needs}"
    else:
        for architecture in ARCHITECTURES.values():
            section = f"model.{architecture.section}" if architecture.section else "no section"
            yield f"{architecture.name:12} {section:20} {', '.join(architecture.objectives)}"


def print_summary(result: "RunResult", plugins: Sequence[Path] | None = None) -> None:
    """Print what a run has come to, where the model lies, and what to do next."""
    console = Console(highlight=False)
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _figures(result):
        table.add_row(name, value)
    console.print()
    console.print(table)
    if result.language is not None:
        _print_language(console, result.language)
    console.print(f"\nmodel       {result.model_dir}", soft_wrap=True)
    console.print(f"next        {_next_command(result, plugins or [])}", soft_wrap=True)


def _figures(result: "RunResult") -> Iterator[tuple[str, str]]:
    yield "model", f"{result.parameters:,} parameters, vocabulary {result.vocab_size:,}"
    for split in ("eval", "test"):
        if f"{split}/loss" not in result.metrics:
            continue
        name = "validation" if split == "eval" else split
        loss, perplexity = (result.metrics[f"{split}/{key}"] for key in ("loss", "perplexity"))
        yield f"{name} loss", f"{loss:.4f} nats per token (perplexity {perplexity:.2f})"
        yield "bits per byte", _bits_per_byte(result, split)


def _bits_per_byte(result: "RunResult", split: str) -> str:
    text = f"{result.metrics[f'{split}/bits_per_byte']:.4f}"
    if result.language is not None and split == "eval":
        text += f" (entropy of the language, the floor: {result.language.floor_bits_per_byte:.4f})"
    if not result.lossless:
        text += " (not comparable: the tokenizer loses characters)"
    return text


def _print_language(console: Console, report: "LanguageReport") -> None:
    if not report.minimal_pairs:
        return
    table = Table(
        title="minimal pairs (chance 50%)", title_justify="left", box=None, pad_edge=False
    )
    table.add_column("phenomenon")
    table.add_column("accuracy", justify="right")
    for name, accuracy in report.minimal_pairs.items():
        table.add_row(name, f"{accuracy:.1%}")
    console.print()
    console.print(table)
    console.print("\nsentences of the model")
    for text, accepted in report.sentences:
        verdict = "grammatical  " if accepted else "ungrammatical"
        console.print(f"  {verdict}  {text}", markup=False, soft_wrap=True)


def _next_command(result: "RunResult", plugins: Sequence[Path]) -> str:
    if result.generates:
        given = "".join(f" --plugin {plugin}" for plugin in plugins)
        return f"foundry generate {result.output_dir} --prompt 'The'{given}"
    load = f"AutoModelForMaskedLM.from_pretrained('{result.model_dir}', trust_remote_code=True)"
    return f'python -c "from transformers import AutoModelForMaskedLM; print({load})"'

"""Compare a run without a construction and its control on minimal pairs: a table and a picture.

    python compare.py runs/articles-removed runs/articles-control [--output comparison.png]

In addition to the measurements of the runs, the pairs of `article_sound` are scored in two groups:
before a noun, where both texts have articles, and before an adjective, where only the control does.
"""

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_foundry.architectures import BaseLanguageModel
from model_foundry.evaluation.minimal_pairs import minimal_pair_accuracy
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.synthetic_language import load_language
from model_foundry.tokenizer.loading import load_tokenizer

PHENOMENON = "article_sound"
COLOURS = ("#D55E00", "#0072B2")  # of Okabe and Ito, distinguishable with any colour vision
MARKS = ("o", "s")
Pair = dict[str, Any]


@dataclass(frozen=True)
class Accuracy:
    """A share of minimal pairs whose good sentence is likelier."""

    value: float
    pairs: int

    @property
    def bounds(self) -> tuple[float, float]:
        """The 95% interval by Wilson (1927), which is valid near 0 and 1 too."""
        z, n, p = 1.96, self.pairs, self.value
        middle = p + z**2 / (2 * n)
        half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        return (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)


@dataclass(frozen=True)
class Run:
    """The measurements of a run."""

    name: str
    bits_per_byte: float
    accuracies: dict[str, Accuracy]


def pairs_by_kind(number: int, seed: int) -> dict[str, list[Pair]]:
    """Draw minimal pairs of articles, grouped by the article and the next word."""
    language = load_language()
    adjectives = {
        word
        for symbol, category in language.grammar.lexicon.items()
        if symbol.partition("[")[0].endswith("Adjective")
        for word in category.words
    }
    kinds: dict[str, list[Pair]] = {
        f"{article} + {follower}": []
        for follower in ("noun", "adjective")
        for article in ("a", "an")
    }
    for pair in language.minimal_pairs(PHENOMENON, pairs=number, seed=seed):
        words = pair["sentence_good"].removesuffix(".").split()
        place = len(pair["one_prefix_prefix"].split())
        follower = "adjective" if words[place + 1] in adjectives else "noun"
        kinds[f"{words[place]} + {follower}"].append(pair)
    return kinds


def measure(path: Path, kinds: dict[str, list[Pair]]) -> Run:
    """Read the measurements of a finished run, and score its model on the pairs of articles."""
    run = RunDirectory(path)
    newest = max(run.evaluation.glob("language-step-*.json"), default=Path("none")).stem
    report, loss = run.measurement(newest), run.measurement(newest.replace("language", "loss"))
    if report is None or loss is None:
        sys.exit(f"error: {path}: holds no finished run on the built-in language")
    found = {
        name: Accuracy(value, report["pairs"][name])
        for name, value in report["minimal_pairs"].items()
        if name != PHENOMENON
    }
    model, tokenizer = BaseLanguageModel.from_pretrained(run.model), load_tokenizer(run.tokenizer)
    right = {
        kind: round(minimal_pair_accuracy(model, tokenizer, pairs) * len(pairs))
        for kind, pairs in kinds.items()
    }
    for follower in ("noun", "adjective"):
        those = [kind for kind in kinds if kind.endswith(follower)]
        number = sum(len(kinds[kind]) for kind in those)
        found[f"article before {follower}"] = Accuracy(
            sum(right[k] for k in those) / number, number
        )
        found |= {
            kind: Accuracy(right[kind] / len(kinds[kind]), len(kinds[kind])) for kind in those
        }
    return Run(run.config().experiment_name, loss["eval/bits_per_byte"], found)


def table(runs: list[Run]) -> str:
    """Return the comparison as text."""
    lines = [f"{'':46} pairs" + "".join(f"{run.name:>18}" for run in runs)]
    lines += [f"{'bits per byte':52}" + "".join(f"{run.bits_per_byte:18.4f}" for run in runs)]
    for name, first in runs[0].accuracies.items():
        cells = "".join(f"{run.accuracies[name].value:18.1%}" for run in runs)
        lines.append(f"{'  ' + name if '+' in name else name:46}{first.pairs:6,}{cells}")
    return "\n".join(lines)


def draw(runs: list[Run], path: Path) -> None:
    """Draw the accuracies with their intervals, one row per phenomenon."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams["font.size"] = 9
    names = [name for name in runs[0].accuracies if "+" not in name]
    figure, axes = pyplot.subplots(figsize=(8, 0.36 * len(names) + 1), layout="constrained")
    axes.axvline(50, color="0.6", linewidth=1, linestyle="--", zorder=0)
    axes.text(50, -0.55, "chance", color="0.4", ha="center", va="bottom")
    for run, colour, mark, shift in zip(runs, COLOURS, MARKS, (-0.14, 0.14), strict=True):
        values = [run.accuracies[name].value for name in names]
        bounds = [run.accuracies[name].bounds for name in names]
        below = [100 * (value - low) for value, (low, _) in zip(values, bounds, strict=True)]
        above = [100 * (high - value) for value, (_, high) in zip(values, bounds, strict=True)]
        axes.errorbar(
            [100 * value for value in values],
            [row + shift for row in range(len(names))],
            xerr=[below, above],
            fmt=mark,
            color=colour,
            markersize=6,
            capsize=2,
            linewidth=1,
            label=run.name,
        )
    axes.axhspan(len(names) - 1.5, len(names) - 0.5, color="0.93", zorder=-1)
    axes.set(xlim=(0, 103), ylim=(len(names) - 0.5, -0.5), xlabel="minimal pairs solved, %")
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center left")
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def main() -> None:
    """Compare the two runs of the command line."""
    parser = argparse.ArgumentParser(description="Compare two runs on minimal pairs.")
    parser.add_argument("runs", nargs=2, type=Path, metavar="RUN")
    parser.add_argument("--pairs", type=int, default=2000, help="number of pairs of articles")
    parser.add_argument("--seed", type=int, default=0, help="seed of the pairs")
    parser.add_argument("--output", type=Path, default=Path("comparison.png"))
    given = parser.parse_args()
    kinds = pairs_by_kind(given.pairs, given.seed)
    runs = [measure(path, kinds) for path in given.runs]
    print(table(runs))
    draw(runs, given.output)
    print(f"picture: {given.output}")


if __name__ == "__main__":
    main()

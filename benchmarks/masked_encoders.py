"""Ablation of tiny masked encoders between BERT's recipe and ModernBERT's.

    python -m benchmarks.masked_encoders RECORDS data.train=PATH [--workers 2] [--steps 800]
    python -m benchmarks.masked_encoders RECORDS --draw docs/masked_encoders.png
    python -m benchmarks.masked_encoders RUN --shuffle

The first trains every arm with three learning rates, the best of them with two more seeds, and
adds a line to the JSON Lines file RECORDS for each run as it ends; runs that are there already are
not repeated. All arms are measured with the same masks, of 15% of the tokens. The second
prints the table of docs/architectures.md and draws its figure. The third shows by how much the loss
of a trained model rises when the tokens of each validation row are shuffled: by nothing, if it does
not know of their order.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any, Final

import matplotlib
import torch
from matplotlib import pyplot as plt

from model_foundry import load_config, load_model, train
from model_foundry.config import OBJECTIVES
from model_foundry.training.metrics_log import read_metrics

RECIPE: Final = Path(__file__).parents[1] / "configs" / "tiny_encoder.yaml"
RATES: Final = (2e-3, 1e-3, 4e-3)
SEEDS: Final = (1, 2, 3)
EVALUATED: Final = 0.15
UNIGRAM: Final = 6.05  # nats per token of the validation text, by the frequencies in training
COLOURS: Final = {
    "learned": "#b3402e",
    "sinusoidal": "#b98a1f",
    "relative": "#8a5fa3",
    "alibi": "#4a6fa5",
    "rotary": "#2a7f62",
}
Runs = dict[str, list[dict[str, Any]]]
SIZES: Final = {"num_hidden_layers": 2, "hidden_size": 128, "num_attention_heads": 4}
NO_DROPOUT: Final = {
    "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "modernbert": {"embedding_dropout": 0.0, "mlp_dropout": 0.0, "attention_dropout": 0.0},
}
INNER: Final = {"gelu": 512, "geglu": 344}  # as many weights in both


@dataclass(frozen=True)
class Arm:
    """A recipe: the four factors, and settings beyond them."""

    place: str = "post"
    positions: str = "learned"
    gate: str = "gelu"
    share: float = 0.15
    more: tuple[str, ...] = ()
    model_type: str | None = None
    """A class of transformers in place of the package's own blocks."""
    rates: tuple[float, ...] = RATES
    """Learning rates to choose from."""

    def settings(self) -> list[str]:
        """Return the overrides of the recipe; the norm on embeddings is in both papers."""
        return [f"training.mlm_probability={self.share}", *self._model(), *self.more]

    def _model(self) -> list[str]:
        if self.model_type is None:
            return [
                f"model.backbone.norm={{place: {self.place}, on_embeddings: true}}",
                f"model.backbone.positions={self.positions}",
                f"model.backbone.feed_forward.activation={self.gate}",
                f"model.backbone.feed_forward.hidden_size={INNER[self.gate]}",
            ]
        fields = {"model_type": self.model_type, "intermediate_size": INNER[self.gate]}
        fields |= SIZES | NO_DROPOUT[self.model_type]
        return [f"model={json.dumps({'architecture': 'huggingface', 'huggingface': fields})}"]


BERT: Final = Arm()
MODERN: Final = Arm("pre", "rotary", "geglu", 0.4)
ENDS: Final = {"BERT": BERT, "ModernBERT": MODERN}


def init(std: float) -> tuple[str, ...]:
    """Return the setting of initial weights."""
    return (f"model.backbone.initializer_range={std}",)


def rows(number: int) -> tuple[str, ...]:
    """Return the setting of blocks in a step."""
    return (f"training.per_device_train_batch_size={number}",)


def one_changed() -> Iterator[tuple[str, Arm]]:
    """Yield the ends, and each end with one factor taken from the other."""
    yield from ENDS.items()
    for name, end, other in (("BERT", BERT, MODERN), ("ModernBERT", MODERN, BERT)):
        yield f"{name}, {other.share:.0%} masked", replace(end, share=other.share)
        yield f"{name}, {other.place}-norm", replace(end, place=other.place)
        yield f"{name}, {other.positions} positions", replace(end, positions=other.positions)
        yield f"{name}, {other.gate}", replace(end, gate=other.gate)


def between() -> Iterator[tuple[str, Arm]]:
    """Yield what lies between the ends, the other positions, and the classes of transformers."""
    yield "BERT, rotary positions, 40% masked", replace(BERT, positions="rotary", share=0.4)
    yield "BERT, pre-norm, rotary positions", replace(BERT, place="pre", positions="rotary")
    yield "BERT, pre-norm, 40% masked", replace(BERT, place="pre", share=0.4)
    yield "transformers' ModernBERT", replace(MODERN, model_type="modernbert")
    yield "transformers' BERT", Arm(model_type="bert")
    for kind in ("relative", "alibi", "sinusoidal"):
        yield f"ModernBERT, {kind} positions", replace(MODERN, positions=kind)
        yield f"BERT, {kind} positions, 40% masked", replace(BERT, positions=kind, share=0.4)
    yield (
        "transformers' ModernBERT, 15% masked",
        replace(MODERN, model_type="modernbert", share=0.15),
    )
    yield "transformers' BERT, 40% masked", Arm(model_type="bert", share=0.4)


def beyond() -> Iterator[tuple[str, Arm]]:
    """Yield what may help BERT or explain the effects: initial weights, rows, warm-up, length."""
    yield "BERT, weights from N(0, 0.09)", replace(BERT, more=init(0.09))
    yield "BERT, 40% masked, weights from N(0, 0.09)", replace(BERT, share=0.4, more=init(0.09))
    yield "BERT, 85 rows a step", replace(BERT, more=rows(85))
    yield "ModernBERT, 15% masked, 85 rows a step", replace(MODERN, share=0.15, more=rows(85))
    long = replace(BERT, more=("training.max_steps=3200",), rates=(1e-3,))
    yield "BERT, 40% masked, 3,200 steps", replace(long, share=0.4)
    yield "BERT, 3,200 steps", long
    yield "ModernBERT, weights from N(0, 0.09)", replace(MODERN, more=init(0.09))
    yield "BERT, 200 steps of warm-up", replace(BERT, more=("training.warmup_steps=200",))
    bare = ("model.backbone.norm.on_embeddings=false",)
    yield "BERT, no norm on embeddings", replace(BERT, more=bare)
    yield "ModernBERT, no norm on embeddings", replace(MODERN, more=bare)
    for name, end in ENDS.items():
        yield f"{name}, 30% masked", replace(end, share=0.3)
        untied = ("model.backbone.tie_word_embeddings=false",)
        yield f"{name}, untied", replace(end, more=untied)
        yield f"{name}, Adam's beta2 0.98", replace(end, more=("training.adam_beta2=0.98",))


ARMS: Final = {**dict(one_changed()), **dict(between()), **dict(beyond())}


def run(settings: list[str], *, arm: str, rate: float, seed: int) -> dict[str, Any]:
    """Train once and return the record of the run."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        own = [f"output_dir={place}/run", f"training.learning_rate={rate}", f"seed={seed}"]
        result = train(load_config(RECIPE, overrides=[*settings, *own]))
        lines = read_metrics(result.output_dir / "metrics.jsonl")
    curve = [line for line in lines if "train/loss" in line]
    return {
        "arm": arm,
        "rate": rate,
        "seed": seed,
        "loss": result.metrics["eval/loss"],
        "parameters": result.parameters,
        "seconds": round(time.perf_counter() - begun, 1),
        "train_loss": [round(line["train/loss"], 3) for line in curve],
        "grad_norm": [round(line["train/grad_norm"], 3) for line in curve],
    }


def shuffle_rows(batch: dict[str, Any]) -> dict[str, Any]:
    """Return ids and labels (B, T), the tokens between the frame of a row in a random order."""
    rows, length = batch["input_ids"].shape
    order = torch.rand(rows, length, generator=torch.Generator().manual_seed(0))
    order[:, 0], order[:, -1] = -1, 2
    return {name: batch[name].gather(1, order.argsort(1)) for name in ("input_ids", "labels")}


def losses_by_order(directory: Path) -> tuple[float, float]:
    """Return the loss of a run on its validation rows of full length, and on shuffled ones."""
    config, model = load_config(directory / "config.yaml"), load_model(directory)
    prepared = OBJECTIVES.load(config.training.objective)(config).prepare()
    keys = [(0, number) for number in range(len(prepared.validation) - 1)]
    batch = prepared.evaluating(prepared.validation.read(keys))
    plain = {name: batch[name] for name in ("input_ids", "labels")}
    with torch.no_grad():
        ordered, shuffled = (float(model(**x).loss) for x in (plain, shuffle_rows(batch)))
    return ordered, shuffled


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file; none if there is no such file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def train_arm(name: str, arm: Arm, path: Path, given: list[str]) -> None:
    """Make the runs of an arm that the file lacks, and add a line for each."""
    known = {(r["rate"], r["seed"]): r for r in read_records(path) if r["arm"] == name}

    def once(rate: float, seed: int) -> float:
        if (rate, seed) not in known:
            settings = [*given, *arm.settings()]
            record = known[rate, seed] = run(settings, arm=name, rate=rate, seed=seed)
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        return float(known[rate, seed]["loss"])

    best = min(arm.rates, key=partial(once, seed=SEEDS[0]))
    for seed in SEEDS[1:]:
        once(best, seed)


def train_all(
    arms: dict[str, Arm], path: Path, given: list[str], *, steps: int, workers: int
) -> None:
    """Train the arms in several processes, of which each takes one arm after the other."""
    with tempfile.TemporaryDirectory() as place:
        settings = [
            *given,
            f"data.cache_dir={place}/cache",
            f"training.mlm_eval_probability={EVALUATED}",
            "training.compile=false",
            f"training.max_steps={steps}",
        ]
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            for done in [
                pool.submit(train_arm, name, arm, path, settings) for name, arm in arms.items()
            ]:
                done.result()


def chosen(records: list[dict[str, Any]]) -> Runs:
    """Return the runs of each arm at its best rate, in the order of `ARMS`."""
    found: Runs = {}
    for name in ARMS:
        runs = [record for record in records if record["arm"] == name]
        first = [record for record in runs if record["seed"] == SEEDS[0]]
        if first:
            rate = min(first, key=lambda record: float(record["loss"]))["rate"]
            found[name] = [record for record in runs if record["rate"] == rate]
    return found


def table(found: Runs) -> str:
    """Return a Markdown table of the arms."""
    lines = ["| recipe | rate | loss | lowest to highest |", "|---|---|---|---|"]
    for name, runs in found.items():
        losses = [run["loss"] for run in runs]
        ends = f"{min(losses):.2f} to {max(losses):.2f}" if len(losses) > 1 else "one seed"
        lines.append(f"| {name} | {runs[0]['rate']:g} | {mean(losses):.2f} | {ends} |")
    return "\n".join(lines)


def draw(found: Runs, place: Path) -> None:
    """Draw a dot for each run and a line over the range of each arm, the best arm on top."""
    matplotlib.use("Agg")
    figure, axis = plt.subplots(figsize=(8, 0.6 + 0.27 * len(found)), layout="constrained")
    losses_of = {name: [run["loss"] for run in runs] for name, runs in found.items()}
    names = sorted(found, key=lambda name: mean(losses_of[name]))
    for row, name in enumerate(names):
        losses, colour = losses_of[name], COLOURS[ARMS[name].positions]
        axis.plot([min(losses), max(losses)], [row, row], color=colour, linewidth=2)
        axis.plot(losses, [row] * len(losses), "o", color=colour, markersize=5, alpha=0.8)
    axis.axvline(UNIGRAM, color="#999999", linewidth=0.8, linestyle="--")
    axis.annotate("frequencies of the tokens", (UNIGRAM, -0.9), ha="right", fontsize=8)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_ylim(len(found) - 0.4, -1.2)
    axis.set_xlabel(f"nats per hidden token, {EVALUATED:.0%} of the validation text hidden")
    axis.grid(axis="x", color="#e4e4e4", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    shown = {ARMS[name].positions for name in names}
    for kind in (kind for kind in COLOURS if kind in shown):
        axis.plot([], [], "o", color=COLOURS[kind], markersize=5, label=kind)
    axis.legend(title="positions", loc="lower left", fontsize=8, title_fontsize=8, frameon=False)
    figure.savefig(place, dpi=130)
    plt.close(figure)


def main() -> None:
    """Train or draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("records", type=Path)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--only", nargs="+", choices=ARMS, default=[*ARMS], metavar="ARM")
    parser.add_argument("--draw", type=Path, metavar="PICTURE")
    parser.add_argument("--shuffle", action="store_true")
    asked = parser.parse_args()
    if asked.shuffle:
        ordered, shuffled = losses_by_order(asked.records)
        print(f"as written {ordered:.2f}, shuffled {shuffled:.2f} nats per hidden token")
        return
    if asked.draw is None:
        arms = {name: ARMS[name] for name in asked.only}
        train_all(arms, asked.records, asked.settings, steps=asked.steps, workers=asked.workers)
        return
    found = chosen(read_records(asked.records))
    print(table(found))
    draw(found, asked.draw)


if __name__ == "__main__":
    main()

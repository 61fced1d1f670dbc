"""Tokenising and packing against the usual route, on the same text in the same run.

    python benchmarks/data.py TEXT [--megabytes 100] [--processes 2] [--rounds 3] [--ours-only]

TEXT is a UTF-8 file whose lines are drawn at random until the corpus has its size; each line is a
document. The usual route is `datasets.load_dataset("text")`, `map` with the same fast tokenizer,
and the grouping of transformers' run_clm.py. Each contender runs in processes of its own, in turn,
with cold caches; memory is the peak of the proportional set size (PSS) of all its processes. Only
ratios mean something: machines are shared and differ. Linux only, for /proc.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VOCABULARY, BLOCK = 8000, 128
SAMPLED = 0.05  # seconds between two looks at the memory
Figures = dict[str, float]


def make_corpus(text: Path, place: Path, megabytes: int) -> None:
    """Write lines drawn from `text` to `place`."""
    lines = [line + "\n" for line in text.read_text(encoding="utf-8").split("\n") if line.strip()]
    draw, written = random.Random(0), 0
    with place.open("w", encoding="utf-8") as file:
        while written < megabytes * 1_000_000:
            written += file.write("".join(draw.choices(lines, k=10_000)))


def experiment(directory: Path, processes: int):
    """Return the experiment that both read."""
    from model_foundry.config import validate

    return validate(
        {
            "experiment_name": "benchmark",
            "data": {
                "train": str(directory / "corpus.txt"),
                "validation": str(directory / "held-out.txt"),
                "document": "line",
                "max_sequence_length": BLOCK,
                "cache_dir": str(directory / "cache"),
                "preprocessing_num_workers": processes,
            },
            "tokenizer": {"path": str(directory / "tokenizer")},
            "model": {
                "architecture": "gpt2",
                "transformer": {"layers": 1, "hidden_size": 8, "attention_heads": 1},
            },
            "training": {"max_steps": 1},
        },
        "benchmark",
    )


def ours(directory: Path, processes: int) -> Figures:
    """Prepare the corpus from nothing."""
    from model_foundry.preparation import prepare

    config = experiment(directory, processes)
    begun = time.perf_counter()
    blocks = prepare(config).train
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "tokens": len(blocks.stream), "dropped": blocks.dropped}


def warm(directory: Path, processes: int) -> Figures:
    """Prepare the corpus again, and read blocks of it at random."""
    from model_foundry.preparation import prepare

    config = experiment(directory, processes)
    begun = time.perf_counter()
    blocks = prepare(config).train
    seconds = time.perf_counter() - begun
    places = random.Random(0).choices(range(len(blocks)), k=20_000)
    tokens = blocks.stream.tokens
    begun = time.perf_counter()
    for place in places:
        tokens[place * BLOCK : (place + 1) * BLOCK].astype("int64")
    ids = (time.perf_counter() - begun) / len(places)
    begun = time.perf_counter()
    for place in places:
        blocks[(0, place)]
    return {
        "seconds": seconds,
        "block_microseconds": 1e6 * ids,
        "row_microseconds": 1e6 * (time.perf_counter() - begun) / len(places),
    }


def usual(directory: Path, processes: int) -> Figures:
    """Go the usual route: map the tokenizer over rows, then concatenate and cut batches of them."""
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(directory / "tokenizer")

    def tokenize(rows):
        return tokenizer(rows["text"])

    def group(rows):
        joined = {key: [id for row in rows[key] for id in row] for key in rows}
        total = len(joined["input_ids"]) // BLOCK * BLOCK
        cut = {k: [ids[i : i + BLOCK] for i in range(0, total, BLOCK)] for k, ids in joined.items()}
        cut["labels"] = cut["input_ids"].copy()
        return cut

    begun = time.perf_counter()
    text = datasets.load_dataset(
        "text", data_files=str(directory / "corpus.txt"), cache_dir=str(directory / "datasets")
    )["train"]
    rows = text.map(tokenize, batched=True, num_proc=processes, remove_columns=["text"])
    blocks = rows.map(group, batched=True, num_proc=processes)
    seconds = time.perf_counter() - begun
    tokens = sum(len(ids) for batch in rows.iter(10_000) for ids in batch["input_ids"])
    return {"seconds": seconds, "tokens": tokens, "dropped": tokens - BLOCK * len(blocks)}


CONTENDERS = {"ours": ours, "warm": warm, "usual": usual}


def family(pid: int) -> list[int]:
    """Return a process and all below it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(member for child in children for member in family(int(child)))]


def proportional_memory(pid: int) -> int:
    """Return the PSS in bytes of a process and all below it."""
    total = 0
    for member in family(pid):
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def run(name: str, directory: Path, processes: int) -> Figures:
    """Run a contender in a process of its own, and watch its memory."""
    command = [sys.executable, __file__, "--one", name, str(directory), str(processes)]
    environment = os.environ | {"HF_HOME": str(directory / "hf"), "HF_HUB_OFFLINE": "1"}
    peak = 0
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as child:
        while child.poll() is None:
            peak = max(peak, proportional_memory(child.pid))
            time.sleep(SAMPLED)
        assert child.stdout is not None
        said = child.stdout.read()
    assert child.returncode == 0, f"{name} failed"
    return json.loads(said.splitlines()[-1]) | {"megabytes": peak / 1e6}


def clean(directory: Path) -> None:
    """Remove what the contenders have cached."""
    for cache in ("cache", "datasets", "hf"):
        subprocess.run(["rm", "-rf", str(directory / cache)], check=True)


def main() -> None:
    """Run the contenders in turn and print medians, ranges and ratios."""
    parser = argparse.ArgumentParser(description="Benchmark of tokenising and packing.")
    parser.add_argument("text", type=Path)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ours-only", action="store_true")
    asked = parser.parse_args()
    from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory

    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        make_corpus(asked.text, directory / "corpus.txt", asked.megabytes)
        make_corpus(asked.text, directory / "held-out.txt", 1)
        TokenizerFactory.train_bpe(
            [asked.text], output_dir=directory / "tokenizer", vocab_size=VOCABULARY
        )
        size = (directory / "corpus.txt").stat().st_size / 1e6
        found: dict[str, list[Figures]] = {"ours": [], "warm": [], "usual": []}
        for _ in range(asked.rounds):
            for contender in ("ours", "warm") if asked.ours_only else found:
                found[contender].append(run(contender, directory, asked.processes))
            clean(directory)
    report(found, size)


def report(found: dict[str, list[Figures]], size: float) -> None:
    """Print what was measured on a corpus of `size` megabytes."""
    for name, rounds in found.items():
        if not rounds:
            continue
        seconds = sorted(figures["seconds"] for figures in rounds)
        middle = statistics.median(seconds)
        line = f"{name:6}{middle:9.2f} s ({seconds[0]:.2f} to {seconds[-1]:.2f})"
        line += f"  peak {max(figures['megabytes'] for figures in rounds):7,.0f} MB"
        if name == "warm":
            blocks, rows = (
                statistics.median(figures[key] for figures in rounds)
                for key in ("block_microseconds", "row_microseconds")
            )
            line += f"  block of ids {blocks:.1f} us, whole row {rows:.1f} us"
        else:
            dropped = rounds[0]["dropped"] / rounds[0]["tokens"]
            line += f"  {size / middle:6.2f} MB/s  dropped {dropped:.4%} of the tokens"
        print(line)
    if found["usual"]:
        pairs = zip(found["usual"], found["ours"], strict=True)
        ratios = sorted(usual["seconds"] / ours["seconds"] for usual, ours in pairs)
        print(f"ratio {statistics.median(ratios):9.2f}   ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(CONTENDERS[sys.argv[2]](Path(sys.argv[3]), int(sys.argv[4]))))
    else:
        main()

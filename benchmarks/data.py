"""Tokenising and packing against the usual route, on the same text in the same run.

    python -m benchmarks.data [--megabytes 100] [--rounds 3] [data.train=PATH]

The corpus is lines of a file, by default of the Python sources in this environment; each line is a
document, and none stands there twice. The usual route is `datasets.load_dataset("text")`, `map`
with the same fast tokenizer, and the grouping of transformers' run_clm.py. The library alone is
`encode_batch_fast` of `tokenizers` over the same lines, with as many threads, whose result is
dropped. Each contender runs in processes of its own, in turn, with cold caches. Whole commands are
`foundry prepare` and the usual route's script; besides, both are timed without the start of
Python, the imports and the loading of the tokenizer. Memory is the peak of the proportional set
size (PSS) of all processes. Linux only, for /proc.
"""

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.asked import Asked, run_alone
from benchmarks.ratios import Ratio
from benchmarks.results import Found, Table, ratio_table, say
from benchmarks.rounds import PROJECT
from benchmarks.texts import distinct_lines, write_some
from model_foundry.foundation.hardware import usable_cores

VOCABULARY, BLOCK = 8000, 128
ROUNDS, MEGABYTES = 5, 40
AT_ONCE: Final = 10_000  # lines that the library encodes in a call
BARS: Final = {"commands": 1.8, "alone": 0.85}
SAMPLED: Final = 0.05  # seconds between two looks at the memory
COLUMNS: Final = (
    *("contender", "seconds", "range", "MB/s", "CPU seconds", "whole command", "peak MB"),
    "tokens dropped",
)
Figures = dict[str, float]


def experiment(directory: Path, processes: int) -> Any:
    """Return the experiment that both contenders use."""
    from model_foundry.config import validate

    return validate(
        {
            "experiment_name": "benchmark",
            "data": {
                "train": str(directory / "corpus.txt"),
                "validation": str(directory / "validation.txt"),
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


def command(directory: Path, processes: int) -> list[str]:
    """Return the command that prepares the corpus, with a cache of its own."""
    from model_foundry.config import save_config

    file = directory / "experiment.yaml"
    file.write_text(save_config(experiment(directory, processes)), encoding="utf-8")
    cache = f"data.cache_dir={directory / 'cache-of-command'}"
    return [sys.executable, "-m", "model_foundry", "prepare", str(file), cache]


class Clock:
    """The time since it was made."""

    def __init__(self) -> None:
        self._begun, self._cpu = time.perf_counter(), self._used()

    def read(self) -> Figures:
        """Return the seconds, and those of processor time in this process and its children."""
        seconds = time.perf_counter() - self._begun
        return {"seconds": seconds, "cpu": self._used() - self._cpu}

    @staticmethod
    def _used() -> float:
        used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(each.ru_utime + each.ru_stime for each in used)


def ours(directory: Path, processes: int) -> Figures:
    """Prepare the corpus with an empty cache."""
    from model_foundry.objectives.preparation import prepare
    from model_foundry.objectives.text import load_named_tokenizer

    config = experiment(directory, processes)
    load_named_tokenizer(config.tokenizer)  # what it imports belongs to the start
    clock = Clock()
    blocks = prepare(config).train
    return clock.read() | {"tokens": len(blocks.stream), "dropped": blocks.dropped}


def warm(directory: Path, processes: int) -> Figures:
    """Prepare the corpus again, and read blocks of it at random."""
    from model_foundry.objectives.preparation import prepare

    config = experiment(directory, processes)
    clock = Clock()
    blocks = prepare(config).train
    prepared = clock.read()
    places = random.Random(0).choices(range(len(blocks)), k=20_000)
    tokens = blocks.stream.tokens
    begun = time.perf_counter()
    for place in places:
        tokens[place * BLOCK : (place + 1) * BLOCK].astype("int64")
    ids = (time.perf_counter() - begun) / len(places)
    begun = time.perf_counter()
    for place in places:
        blocks.read([(0, place)], evaluating=True)
    return prepared | {
        "block_microseconds": 1e6 * ids,
        "row_microseconds": 1e6 * (time.perf_counter() - begun) / len(places),
    }


def usual(directory: Path, processes: int) -> Figures:
    """Take the usual route: map the tokenizer over rows, concatenate them, cut blocks."""
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(directory / "tokenizer")

    def tokenize(rows: Any) -> Any:
        return tokenizer(rows["text"])

    def group(rows: Any) -> Any:
        joined = {key: [id for row in rows[key] for id in row] for key in rows}
        total = len(joined["input_ids"]) // BLOCK * BLOCK
        cut = {k: [ids[i : i + BLOCK] for i in range(0, total, BLOCK)] for k, ids in joined.items()}
        cut["labels"] = cut["input_ids"].copy()
        return cut

    clock = Clock()
    text = datasets.load_dataset(
        "text", data_files=str(directory / "corpus.txt"), cache_dir=str(directory / "datasets")
    )["train"]
    rows = text.map(tokenize, batched=True, num_proc=processes, remove_columns=["text"])
    blocks = rows.map(group, batched=True, num_proc=processes)
    figures, counting = clock.read(), Clock()
    tokens = sum(len(ids) for batch in rows.iter(10_000) for ids in batch["input_ids"])
    figures |= {"tokens": tokens, "dropped": tokens - BLOCK * len(blocks)}
    return figures | {"apart": counting.read()["seconds"]}


def alone(directory: Path, processes: int) -> Figures:
    """Encode the lines with the library, and drop the result."""
    from tokenizers import Tokenizer

    library = Tokenizer.from_file(str(directory / "tokenizer" / "tokenizer.json"))
    lines = (directory / "corpus.txt").read_text(encoding="utf-8").split("\n")[:-1]
    clock = Clock()
    for start in range(0, len(lines), AT_ONCE):
        library.encode_batch_fast(lines[start : start + AT_ONCE])
    return clock.read()


def tokenizer(directory: Path, _: int) -> Figures:
    """Train the tokenizer that both use."""
    from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory

    clock = Clock()
    TokenizerFactory.train_bpe(
        [directory / "held-out.txt"], output_dir=directory / "tokenizer", vocab_size=VOCABULARY
    )
    return clock.read()


CONTENDERS: Final = {  # "command" besides
    "tokenizer": tokenizer,
    "ours": ours,
    "warm": warm,
    "usual": usual,
    "alone": alone,
}
TIMED: Final = {
    "ours": "ours",
    "warm": "ours, the second time",
    "command": "foundry prepare",
    "usual": "datasets.map",
    "alone": "encode_batch_fast alone",
}


def family(pid: int) -> list[int]:
    """Return a process and its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(member for child in children for member in family(int(child)))]


def proportional_memory(pid: int) -> int:
    """Return the PSS of a process and its descendants, in bytes."""
    total = 0
    for member in family(pid):
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def run(name: str, directory: Path, processes: int) -> Figures:
    """Run a contender in a process of its own, and watch its memory.

    Returns:
        What it measured, megabytes of memory, and seconds of the whole command without those that
        it counted "apart".

    Raises:
        RuntimeError: it failed; the message is the end of its output.
    """
    arguments = [sys.executable, "-m", "benchmarks.data"]
    arguments += ["--one", name, str(directory), str(processes)]
    if name == "command":
        arguments = command(directory, processes)
    environment = os.environ | {"HF_HOME": str(directory / "hf"), "HF_HUB_OFFLINE": "1"}
    if name == "alone":  # others work in processes, in which the library must not start threads
        environment |= {"TOKENIZERS_PARALLELISM": "true", "RAYON_NUM_THREADS": str(processes)}
    peak, log, begun = 0, directory / "log.txt", time.perf_counter()
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            arguments,
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        ) as child,
    ):
        while child.poll() is None:
            peak = max(peak, proportional_memory(child.pid))
            time.sleep(SAMPLED)
        assert child.stdout is not None
        output = child.stdout.read()
    if child.returncode:
        raise RuntimeError(f"{name} failed: {log.read_text(encoding='utf-8')[-500:]}")
    whole = time.perf_counter() - begun
    figures: Figures = {} if name == "command" else json.loads(output.splitlines()[-1])
    return figures | {"megabytes": peak / 1e6, "whole": whole - figures.get("apart", 0)}


def clean(directory: Path) -> None:
    """Delete the caches of the contenders."""
    for cache in ("cache", "cache-of-command", "datasets", "hf"):
        shutil.rmtree(directory / cache, ignore_errors=True)


def measure(asked: Asked) -> Found:
    """Run the contenders in turn."""
    rounds = asked.rounds or (1 if asked.quick else ROUNDS)
    size = asked.megabytes[0] if asked.megabytes else 1 if asked.quick else MEGABYTES
    processes = usable_cores()
    found: dict[str, list[Figures]] = {name: [] for name in TIMED}
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        lines = distinct_lines(asked.text)
        write_some(directory / "validation.txt", lines, megabytes=0.01)  # the others read none
        write_some(directory / "held-out.txt", lines, megabytes=0.1 if asked.quick else 1)
        megabytes = write_some(directory / "corpus.txt", lines, megabytes=size)
        say(f"data, {megabytes:.1f} MB, {processes} processes:")
        run("tokenizer", directory, processes)
        for number in range(rounds):
            for name in found:  # in this order: the second time needs a first
                found[name].append(run(name, directory, processes))
            clean(directory)
            figures = ", ".join(f"{n} {f[-1]['whole']:.2f} s" for n, f in found.items())
            say(f"  round {number + 1}: {figures}")
    text = f"{megabytes:.0f} MB of distinct lines"
    ratios = [
        ratio_of(found, ("command", "usual"), "whole", f"{text}, whole commands", BARS["commands"]),
        ratio_of(found, ("ours", "usual"), "seconds", f"{text}, without the start", None),
        ratio_of(found, ("ours", "alone"), "cpu", f"{text}, CPU without the start", None),
        ratio_of(found, ("ours", "alone"), "seconds", f"{text}, without the start", BARS["alone"]),
    ]
    tables = [ratio_table("Tokenising and packing", ratios), table_of(found, megabytes)]
    return Found(tables, ratios)


def ratio_of(
    found: dict[str, list[Figures]],
    pair: tuple[str, str],
    figure: str,
    group: str,
    bar: float | None,
) -> Ratio:
    """Return the times of the second contender, divided by those of the first."""
    ours, other = pair
    rounds = zip(found[other], found[ours], strict=True)
    values = tuple(theirs[figure] / mine[figure] for theirs, mine in rounds)
    return Ratio(group=group, ours=TIMED[ours], other=TIMED[other], bar=bar, values=values)


def table_of(found: dict[str, list[Figures]], megabytes: float) -> Table:
    """Return the figures of a corpus."""
    rows = []
    for name, rounds in found.items():
        seconds = [figures["seconds"] for figures in rounds if "seconds" in figures]
        dropped = ""
        if "dropped" in rounds[0]:
            dropped = f"{rounds[0]['dropped'] / rounds[0]['tokens']:.4%}"
        rows.append((
            TIMED[name],
            f"{median(seconds):.2f}" if seconds else "",
            f"{min(seconds):.2f} to {max(seconds):.2f}" if seconds else "",
            f"{megabytes / median(seconds):.1f}" if seconds else "",
            f"{median(figures['cpu'] for figures in rounds):.1f}" if seconds else "",
            f"{median(figures['whole'] for figures in rounds):.2f}",
            f"{max(figures['megabytes'] for figures in rounds):,.0f}",
            dropped,
        ))  # fmt: skip
    ids, whole = (
        median(figures[key] for figures in found["warm"])
        for key in ("block_microseconds", "row_microseconds")
    )
    return Table(
        f"{megabytes:.1f} MB, byte-level BPE of {VOCABULARY:,} at most",
        COLUMNS,
        rows,
        "Seconds are without the start of Python, imports and the loading of the tokenizer. Reading"
        f" a block of {BLOCK} ids at random takes {ids:.1f} microseconds, a row with all "
        f"that stands beside them {whole:.1f}.",
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(CONTENDERS[sys.argv[2]](Path(sys.argv[3]), int(sys.argv[4]))))
    else:
        run_alone(measure, __doc__)

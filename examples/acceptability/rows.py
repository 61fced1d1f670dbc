"""Rows with a sentence and a label from the minimal pairs of BLiMP, divided by paradigm.

python examples/acceptability/rows.py BLIMP_DIRECTORY OUTPUT_DIRECTORY --fold 0

Each file PARADIGM.jsonl of BLiMP (Warstadt et al. 2020, arXiv:1912.00582) has a pair in each line.
In fold N of four, every fourth paradigm by name is held out, from the Nth on (`held_out.jsonl`).
Of the others, the last tenth of the pairs is `same_paradigms.jsonl`, and the rest `train.jsonl`.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

FOLDS = 4
LABELS = {"sentence_good": "acceptable", "sentence_bad": "unacceptable"}
Pair = dict[str, str]


def pairs_of(path: Path) -> list[Pair]:
    """Read the pairs of a paradigm."""
    try:
        pairs = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        sys.exit(f"error: {path}: is not JSON Lines ({error}); name the directory of BLiMP's files")
    for number, pair in enumerate(pairs, 1):
        if not isinstance(pair, dict) or not LABELS.keys() <= pair.keys():
            sys.exit(f"error: {path}: line {number}: has no {' and '.join(LABELS)}")
    return pairs


def rows_of(paradigm: str, pairs: Sequence[Pair]) -> Iterator[str]:
    """Yield a line for each sentence."""
    for pair in pairs:
        for key, label in LABELS.items():
            row = {"sentence": pair[key], "label": label, "paradigm": paradigm}
            yield json.dumps(row, ensure_ascii=False) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("blimp", type=Path, help="directory with PARADIGM.jsonl")
    parser.add_argument("output", type=Path, help="directory for the three files")
    parser.add_argument("--fold", type=int, choices=range(FOLDS), default=0)
    given = parser.parse_args()
    paths = sorted(given.blimp.glob("*.jsonl"))
    if len(paths) < FOLDS:
        sys.exit(f"error: {given.blimp}: holds {len(paths)} files .jsonl, fewer than {FOLDS}")
    rows: dict[str, list[str]] = {"train": [], "held_out": [], "same_paradigms": []}
    for number, path in enumerate(paths):
        pairs = pairs_of(path)
        if number % FOLDS == given.fold:
            rows["held_out"] += rows_of(path.stem, pairs)
            continue
        border = len(pairs) - len(pairs) // 10
        rows["train"] += rows_of(path.stem, pairs[:border])
        rows["same_paradigms"] += rows_of(path.stem, pairs[border:])
    given.output.mkdir(parents=True, exist_ok=True)
    for name, lines in rows.items():
        (given.output / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{name}: {len(lines):,} sentences")


if __name__ == "__main__":
    main()

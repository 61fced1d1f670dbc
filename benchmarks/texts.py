"""Text of any size to train on: made-up words, the built-in language, Python sources, or a file.

Nothing here imports torch.
"""

import random
import sysconfig
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Final

from model_foundry.synthetic_language import load_language

LINE: Final = 20  # words
SENTENCES: Final = 20_000  # about a megabyte
DRAWN: Final = 10_000  # lines at a time


def made_up_words(number: int, *, vocabulary: int) -> Iterator[str]:
    """Yield lines of words whose frequencies follow Zipf's law; every word occurs."""
    words = [f"w{index}" for index in range(vocabulary)]
    weights = list(accumulate(1 / rank for rank in range(1, vocabulary + 1)))
    drawn = words + random.Random(0).choices(words, cum_weights=weights, k=number)
    for start in range(0, len(drawn), LINE):
        yield " ".join(drawn[start : start + LINE]) + "\n"


def lines_of(text: Path | None, *, sentences: int = SENTENCES) -> list[str]:
    """Return the lines of a text; None: sentences of the built-in language."""
    if text is None:
        return [f"{sentence}\n" for sentence in load_language().sample(sentences, seed=0)]
    content = text.read_text(encoding="utf-8")
    return [f"{line}\n" for line in content.split("\n") if line.strip()]


def write_lines(place: Path, lines: list[str], *, megabytes: float, seed: int = 0) -> None:
    """Write lines drawn at random until the file has its size."""
    draw, written = random.Random(seed), 0
    with place.open("w", encoding="utf-8") as file:
        while written < megabytes * 1_000_000:
            written += file.write("".join(draw.choices(lines, k=DRAWN)))


def python_sources() -> Iterator[str]:
    """Yield the lines of the Python files of this environment, in a mixed but constant order."""
    roots = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]
    files = sorted({path for root in roots for path in root.rglob("*.py")})
    random.Random(0).shuffle(files)
    for path in files:
        try:
            yield from path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError):  # some files of tests are no text
            continue


def distinct_lines(text: Path | None) -> Iterator[str]:
    """Yield the lines of a file, or of the Python sources, none of them twice, none blank."""
    lines = text.read_text(encoding="utf-8").split("\n") if text else python_sources()
    seen = set()
    for line in lines:
        if line.strip() and "\0" not in line and "\r" not in line and line not in seen:
            seen.add(line)
            yield f"{line}\n"


def write_some(place: Path, lines: Iterable[str], *, megabytes: float) -> float:
    """Write the next lines until the file has its size; return that in MB.

    Args:
        lines: is an iterator, and has the other lines afterwards.
    """
    written = 0
    with place.open("wb") as file:
        for line in lines:
            written += file.write(line.encode())
            if written >= megabytes * 1_000_000:
                break
    return written / 1_000_000

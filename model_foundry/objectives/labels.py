"""`Labels`: the labels of a classification, numbered in sorted order."""

import json
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from model_foundry.errors import DataError
from model_foundry.foundation.messages import short_repr
from model_foundry.foundation.untrusted_files import read_json
from model_foundry.objectives.processors import Processor

logger = logging.getLogger(__name__)

FILE = "labels.json"
MOST_SHOWN = 10
INTEGER = re.compile(r"[-+]?[0-9]+")


def listed(names: Sequence[str]) -> str:
    """Return the first of some labels, for messages."""
    return ", ".join(map(short_repr, names[:MOST_SHOWN])) + (", ..." * (len(names) > MOST_SHOWN))


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _warn_of_numbers(names: Sequence[str]) -> None:
    """Warn of labels that read as numbers, unless all are integers."""
    numbers = [name for name in names if _is_number(name)]
    if numbers and not all(INTEGER.fullmatch(name) for name in names):
        logger.warning(
            "of %d labels of the training data %d read as numbers (%s), but not all are integers: "
            "each is a class of its own; correct the data if they are not meant so",
            *(len(names), len(numbers), listed(numbers)),
        )


class Labels(Processor):
    """The names of the classes.

    Args:
        names: in the order of their numbers, from 0.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._numbers = {name: number for number, name in enumerate(self.names)}

    @classmethod
    def of(cls, labels: Iterable[str], *, several: bool = False) -> Self:
        """Return the labels that occur; warn of numbers among them, unless all are integers.

        Args:
            several: an example may have any number of labels, so that one is enough: it is there or
                not.

        Raises:
            DataError: there are fewer than two labels to tell apart, or none.
        """
        names = sorted(set(labels))
        if len(names) < (1 if several else 2):
            found = f"one label only ({short_repr(names[0])})" if names else "no label"
            law = f"the training data have {found}, so that there is nothing to learn"
            remedy = "give them rows of another, or name another column"
            raise DataError(f"data.train: {law}; {remedy}")
        _warn_of_numbers(names)
        return cls(names)

    def encode(
        self, labels: Sequence[str], column: str, where: Callable[[int], str]
    ) -> NDArray[np.int64]:
        """Return the number of each label, (N,).

        Args:
            column: the name of their column, for messages.
            where: returns the place of a label, given its index.

        Raises:
            DataError: a label is not among the names, which come from the training data.
        """
        numbers = [self._numbers.get(label, -1) for label in labels]
        if -1 in numbers:
            index = numbers.index(-1)
            raise DataError(
                f"{where(index)}: {column!r} is {short_repr(labels[index])}, a label that the "
                f"training data do not have ({listed(self.names)}); correct it, or give them such "
                "a row"
            )
        return np.array(numbers, np.int64)

    def encode_sets(
        self, sets: Sequence[Sequence[str]], column: str, where: Callable[[int], str]
    ) -> NDArray[np.float32]:
        """Return 1 for each label of a set and 0 for all others, (N, C); see `encode`."""
        found = np.zeros((len(sets), len(self.names)), np.float32)
        rows = np.repeat(np.arange(len(sets)), [len(labels) for labels in sets])
        flat = [label for labels in sets for label in labels]
        found[rows, self.encode(flat, column, lambda index: where(int(rows[index])))] = 1
        return found

    @property
    def sha256(self) -> str:
        return sha256(json.dumps(self.names).encode()).hexdigest()

    def describe(self) -> str:
        return f"{len(self.names):,} labels"

    def save(self, directory: Path, *, positions: int | None = None, alone: bool = False) -> None:
        text = json.dumps({"labels": self.names}, indent=1, ensure_ascii=False) + "\n"
        (directory / FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Self:
        remedy = "restore it, or train again"
        names = read_json(directory, FILE, error=DataError, remedy=remedy).get("labels")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(f"{directory / FILE}: holds no list of labels; {remedy}")
        return cls(names)

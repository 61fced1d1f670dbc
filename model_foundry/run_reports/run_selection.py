"""Conditions on runs, and their order: `eval/loss<3.5`, `model.architecture=lstm`."""

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from model_foundry.config.yaml_reader import parse_yaml
from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import short_repr
from model_foundry.run_reports.run_row import RunRow
from model_foundry.run_reports.suggestions import suggested

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "==": operator.eq,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
CONDITION = re.compile(rf"\s*([^\s<>=!]+)\s*({'|'.join(OPERATORS)})(.*)", re.DOTALL)
EQUALITY = ("=", "==", "!=")


@dataclass(frozen=True)
class Condition:
    """A condition that a run meets or not."""

    key: str
    sign: str
    value: Any

    def holds(self, row: RunRow) -> bool:
        """Return True if a run meets it; one without a value meets nothing but `!=`."""
        found, wanted = row.value(self.key), self.value
        if self.sign in EQUALITY:
            same = found == wanted or str(found) == str(wanted)
            return same if self.sign != "!=" else not same
        numbers = _is_number(found) and _is_number(wanted)
        texts = isinstance(found, str) and isinstance(wanted, str)
        return (numbers or texts) and bool(OPERATORS[self.sign](found, wanted))


def parse_condition(text: str) -> Condition:
    """Read a condition such as `training.learning_rate>=1e-3`; values are YAML.

    Raises:
        ConfigError: it has no operator, or its value is no YAML.
    """
    if (match := CONDITION.fullmatch(text)) is None:
        signs = " ".join(sorted(OPERATORS))
        raise ConfigError(f"--where {short_repr(text)}: must read KEY OP VALUE, OP one of {signs}")
    key, sign, value = match.groups()
    return Condition(key, sign, parse_yaml(value, f"--where {short_repr(text)}"))


def select(
    rows: Sequence[RunRow],
    conditions: Sequence[Condition] = (),
    *,
    sort: str | None = None,
    reverse: bool = False,
) -> list[RunRow]:
    """Return the runs that meet all conditions, in the order of a value; those without it last.

    Raises:
        ConfigError: no run knows a key; the message names the nearest one.
    """
    require_keys(rows, [condition.key for condition in conditions], "--where")
    kept = [row for row in rows if all(condition.holds(row) for condition in conditions)]
    if sort is None:
        return kept
    require_keys(rows, [sort], "--sort")
    key = sort
    having = [row for row in kept if row.value(key) is not None]
    without = [row for row in kept if row.value(key) is None]
    return sorted(having, key=lambda row: _order(row.value(key)), reverse=reverse) + without


def require_keys(rows: Sequence[RunRow], keys: Sequence[str], option: str) -> None:
    """Raise a `ConfigError` for a key that no run has a value of; without runs, nothing is known.

    Args:
        option: the option that names the keys.
    """
    for key in keys if rows else ():
        if not any(row.knows(key) for row in rows):
            known = sorted({name for row in rows for name in row.names()})
            hint = suggested(key, known) or "--json shows those of every run"
            raise ConfigError(f"{option}: no run has a figure or setting {key!r}; {hint}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _order(value: Any) -> tuple[bool, Any]:
    """Return a key of sorting: numbers first, then text."""
    return (False, value) if _is_number(value) else (True, str(value))

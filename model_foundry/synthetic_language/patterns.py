"""Symbols with features, as in the grammar file, and the plain symbols they abbreviate.

`NounPhrase[n, person]` is a pattern: `n` is a variable, `person` a value. Binding the variables
gives plain symbols such as `NounPhrase[sg,person]`, so rules over patterns abbreviate a plain
context-free grammar.
"""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from model_foundry.errors import ConfigError

_PATTERN = re.compile(r"\s*([^\W\d_][\w'-]*)(?:\[([^\[\]]+)\])?(?=\s|$)")

Assignment = dict[str, str]
"""The value of each argument of some patterns; a value is assigned to itself."""


@dataclass(frozen=True)
class Pattern:
    """A name with arguments: variables (`n`, `n2`), their complements (`!n`) and values (`sg`).

    A name in lower case is a word of the language and has no arguments.
    """

    name: str
    arguments: tuple[str, ...] = ()

    @property
    def is_word(self) -> bool:
        """True if the pattern is a word rather than a symbol."""
        return self.name[0].islower()

    def bind(self, assignment: Assignment) -> str:
        """Return the plain symbol of the pattern under `assignment`."""
        if not self.arguments:
            return self.name
        return f"{self.name}[{','.join(assignment[argument] for argument in self.arguments)}]"


def read_patterns(text: str, *, where: str) -> tuple[Pattern, ...]:
    """Read patterns separated by spaces; `where` is the field for messages.

    Raises:
        ConfigError: `text` is empty or malformed.
    """
    patterns, position = [], 0
    while position < len(text.rstrip()):
        match = _PATTERN.match(text, position)
        if match is None:
            break
        name, inside = match.groups()
        arguments = tuple(part.strip() for part in inside.split(",")) if inside else ()
        patterns.append(Pattern(name, arguments))
        position = match.end()
    if not patterns or position < len(text.rstrip()):
        raise ConfigError(
            f"{where}: cannot read {text[position:]!r} in {text!r}; write symbols and words "
            "separated by spaces, as in 'NounPhrase[n, person] that'."
        )
    for pattern in patterns:
        if pattern.is_word and pattern.arguments:
            raise ConfigError(
                f"{where}: {pattern.name!r} is a word and takes no [...]; begin the name of a "
                "symbol with a capital letter."
            )
    return tuple(patterns)


class Variables:
    """The variables of a grammar file, each with its values and their weights.

    A name with a number (`n2`) is a further variable over the same values. `!n` is any value of `n`
    other than the current one.
    """

    def __init__(self, domains: Mapping[str, Mapping[str, float]]) -> None:
        self._domains = domains
        self._values = {value for domain in domains.values() for value in domain}
        for name in domains:
            if not name.isalpha() or name in self._values:
                raise ConfigError(
                    f"variables.{name}: a variable's name consists of letters and is not also a "
                    "value; rename it."
                )

    def domain(self, argument: str, *, where: str) -> Mapping[str, float]:
        """Return the values that `argument` may take, with their weights.

        Raises:
            ConfigError: `argument` is neither a variable nor a value of one.
        """
        name = argument.removeprefix("!").rstrip("0123456789")
        if name in self._domains:
            return self._domains[name]
        if argument in self._values:
            return {argument: 1.0}
        raise ConfigError(
            f"{where}: {argument!r} is neither a variable ({', '.join(self._domains)}) nor a value "
            f"({', '.join(sorted(self._values))})."
        )

    def assignments(self, patterns: Sequence[Pattern], *, where: str) -> Iterator[Assignment]:
        """Yield each assignment of values to the arguments of `patterns`.

        Raises:
            ConfigError: an argument is unknown, or `!x` occurs without `x`.
        """
        arguments = list(dict.fromkeys(itertools.chain(*(p.arguments for p in patterns))))
        complements = [argument for argument in arguments if argument.startswith("!")]
        for complement in complements:
            if complement[1:] not in arguments:
                raise ConfigError(f"{where}: {complement!r} needs {complement[1:]!r} beside it.")
        domains = [self.domain(argument, where=where) for argument in arguments]
        for values in itertools.product(*domains):
            assignment = dict(zip(arguments, values, strict=True))
            if all(assignment[name] != assignment[name[1:]] for name in complements):
                yield assignment

    def weight(self, assignment: Assignment, arguments: Sequence[str], *, where: str) -> float:
        """Return the product of the weights that `assignment` gives to `arguments`."""
        return math.prod(
            self.domain(argument, where=where)[assignment[argument]] for argument in arguments
        )

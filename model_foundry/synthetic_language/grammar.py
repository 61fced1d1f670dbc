"""A probabilistic context-free grammar and its validity checks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_foundry.errors import ConfigError


@dataclass(frozen=True)
class Rule:
    """One expansion of a plain symbol.

    `scheme` is the line of the grammar file, followed by the values of the variables that do not
    occur on its left side. Rules of two symbols with an equal scheme differ in features only.
    """

    left: str
    right: tuple[str, ...]
    probability: float
    scheme: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.left} -> {' '.join(self.right)}"


@dataclass(frozen=True)
class Category:
    """The words of one terminal symbol with their probabilities.

    Categories of one name list the forms of the same lemmas at the same positions.
    """

    words: tuple[str, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Grammar:
    """Rules by left symbol, word categories by symbol, and the symbol of a whole sentence."""

    start: str
    rules: Mapping[str, tuple[Rule, ...]]
    lexicon: Mapping[str, Category]

    def reachable(self, roots: Iterable[str]) -> set[str]:
        """Return the symbols that occur in expansions of `roots`, roots included."""
        found: set[str] = set()
        waiting = list(roots)
        while waiting:
            symbol = waiting.pop()
            if symbol not in found:
                found.add(symbol)
                waiting.extend(s for rule in self.rules.get(symbol, ()) for s in rule.right)
        return found

    def expected_children(self, symbols: list[str]) -> NDArray[np.float64]:
        """Return the mean number of each symbol in one expansion of each other symbol, (S, S).

        `symbols`, of length S, must be closed under expansion.
        """
        index = {symbol: i for i, symbol in enumerate(symbols)}
        means = np.zeros((len(symbols), len(symbols)))
        for symbol in symbols:
            for rule in self.rules.get(symbol, ()):
                for child in rule.right:
                    means[index[symbol], index[child]] += rule.probability
        return means


def check_grammar(grammar: Grammar, *, extra_roots: Iterable[str]) -> None:
    """Raise ConfigError unless the grammar is complete, has no unused symbol, and is finite.

    Args:
        extra_roots: symbols used outside the rules, which count as reached.
    """
    roots = [grammar.start, *extra_roots]
    _check_defined(grammar, roots)
    _check_reached(grammar, roots)
    _check_productive(grammar)
    _check_subcritical(grammar)
    _check_words(grammar)


def _check_defined(grammar: Grammar, roots: list[str]) -> None:
    if grammar.start not in grammar.rules:
        raise ConfigError(f"start: {grammar.start!r} has no rule; name a symbol of rules.")
    known = grammar.rules.keys() | grammar.lexicon.keys()
    for symbol in roots:
        if symbol not in known:
            raise ConfigError(f"grammar: {symbol} is used but has neither a rule nor words.")
    for rules in grammar.rules.values():
        for rule in rules:
            for symbol in rule.right:
                if symbol not in known:
                    raise ConfigError(
                        f"grammar: {symbol} has neither a rule nor words, but '{rule}' uses it."
                    )
    for symbol in grammar.rules.keys() & grammar.lexicon.keys():
        raise ConfigError(f"grammar: {symbol} is in both rules and lexicon; keep one of them.")


def _check_reached(grammar: Grammar, roots: list[str]) -> None:
    unused = (grammar.rules.keys() | grammar.lexicon.keys()) - grammar.reachable(roots)
    if unused:
        raise ConfigError(
            f"grammar: {min(unused)} is never reached from {grammar.start}; use or remove it."
        )


def _check_productive(grammar: Grammar) -> None:
    productive = set(grammar.lexicon)
    size = 0
    while size < len(productive):
        size = len(productive)
        for symbol, rules in grammar.rules.items():
            if any(productive.issuperset(rule.right) for rule in rules):
                productive.add(symbol)
    barren = grammar.rules.keys() - productive
    if barren:
        raise ConfigError(
            f"grammar: {min(barren)} never ends in words; give it a rule that does not lead back."
        )


def _check_subcritical(grammar: Grammar) -> None:
    """Require sentences of finite mean length: a subcritical branching process (Harris 1963)."""
    symbols = sorted(grammar.rules.keys() | grammar.lexicon.keys())
    values, vectors = np.linalg.eig(grammar.expected_children(symbols))
    worst = int(np.argmax(np.abs(values)))
    if np.abs(values[worst]) >= 1 - 1e-9:
        symbol = symbols[int(np.argmax(np.abs(vectors[:, worst])))]
        raise ConfigError(
            f"grammar: the recursion through {symbol} makes sentences of infinite mean length "
            f"(growth {np.abs(values[worst]):.3f}, must be below 1); lower its recursive weights."
        )


def _check_words(grammar: Grammar) -> None:
    """Require that each word of a sentence belongs to exactly one category."""
    owners: dict[str, str] = {}
    for symbol, category in grammar.lexicon.items():
        for word in category.words:
            first = word[0].upper()
            if "." in word or len(first.encode()) != len(word[0].encode()):
                raise ConfigError(
                    f"lexicon.{symbol}: {word!r} has a full stop or a first letter without a "
                    "capital of the same length; choose another word."
                )
            # The first word of a sentence is capitalised, so words must differ in more than case.
            opener = first + word[1:]
            if opener in owners:
                raise ConfigError(
                    f"lexicon.{symbol}: {word!r} is also in {owners[opener]}, so that "
                    "sentences become ambiguous; each word form has one place."
                )
            owners[opener] = symbol

"""A deterministic bottom-up parser. If it can be built, the grammar is unambiguous.

LALR(1) tables after DeRemer and Pennello (1982). Rules are never empty, so the lookaheads need only
their `includes` and `lookback` relations.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from model_foundry.errors import ConfigError
from model_foundry.synthetic_language.grammar import Grammar, Rule

_END = "end of sentence"

Item = tuple[int, int]
"""Index of a rule, and how many symbols of its right side have been read."""


class _States:
    """The LR(0) states over numbered rules; rule 0 is the start symbol alone."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules
        self.by_left: dict[str, list[int]] = defaultdict(list)
        for number, rule in enumerate(rules):
            self.by_left[rule.left].append(number)
        self._openers = {symbol: self._opening_rules(symbol) for symbol in self.by_left}
        self.moves: list[dict[str, int]] = []
        self._number: dict[frozenset[Item], int] = {}
        self._build()

    def _opening_rules(self, symbol: str) -> set[int]:
        """Return the rules that can start an expansion of `symbol`."""
        found: set[int] = set()
        waiting = list(self.by_left[symbol])
        while waiting:
            number = waiting.pop()
            if number not in found:
                found.add(number)
                waiting.extend(self.by_left.get(self.rules[number].right[0], ()))
        return found

    def _build(self) -> None:
        waiting = [frozenset({(0, 0)})]
        self._number[waiting[0]] = 0
        for kernel in waiting:  # grows during the loop
            successors: dict[str, set[Item]] = defaultdict(set)
            for number, read in self._closure(kernel):
                right = self.rules[number].right
                if read < len(right):
                    successors[right[read]].add((number, read + 1))
            moves = {}
            for symbol, items in successors.items():
                successor = frozenset(items)
                if successor not in self._number:
                    self._number[successor] = len(waiting)
                    waiting.append(successor)
                moves[symbol] = self._number[successor]
            self.moves.append(moves)

    def _closure(self, kernel: Iterable[Item]) -> set[Item]:
        items = set(kernel)
        for number, read in kernel:
            for symbol in self.rules[number].right[read : read + 1]:
                items |= {(opener, 0) for opener in self._openers.get(symbol, ())}
        return items

    def path(self, state: int, right: Sequence[str]) -> list[int]:
        """Return the states passed while reading `right` from `state`, both ends included."""
        path = [state]
        for symbol in right:
            path.append(self.moves[path[-1]][symbol])
        return path


def _lookaheads(states: _States) -> dict[tuple[int, int], set[str]]:
    """Return the terminals that may follow each rule that is complete in a state."""
    follow: dict[tuple[int, str], set[str]] = {}
    includes: dict[tuple[int, str], list[tuple[int, str]]] = defaultdict(list)
    lookback: list[tuple[tuple[int, int], tuple[int, str]]] = []
    for state, moves in enumerate(states.moves):
        for symbol in filter(states.by_left.__contains__, moves):
            here = (state, symbol)
            follow[here] = {s for s in states.moves[moves[symbol]] if s not in states.by_left}
            for number in states.by_left[symbol]:
                path = states.path(state, states.rules[number].right)
                includes[here].append((path[-2], states.rules[number].right[-1]))
                lookback.append(((path[-1], number), here))
    follow[0, states.rules[0].right[0]].add(_END)
    waiting = list(follow)
    while waiting:
        outer = waiting.pop()
        for inner in includes[outer]:
            if inner in follow and not follow[outer] <= follow[inner]:
                follow[inner] |= follow[outer]
                waiting.append(inner)
    lookaheads: dict[tuple[int, int], set[str]] = defaultdict(set)
    for place, source in lookback:
        lookaheads[place] |= follow[source]
    lookaheads[states.moves[0][states.rules[0].right[0]], 0] = {_END}
    return lookaheads


class Parser:
    """An LALR(1) parser of sequences of word categories.

    Raises:
        ConfigError: the grammar is not LALR(1): it is ambiguous, or needs more than one word of
            lookahead.
    """

    def __init__(self, grammar: Grammar) -> None:
        reached = grammar.reachable([grammar.start])
        self._rules = [Rule("", (grammar.start,), 1.0, ())]
        for left in sorted(reached & grammar.rules.keys()):
            self._rules += grammar.rules[left]
        states = _States(self._rules)
        self._moves = states.moves
        self._reductions: list[dict[str, Rule]] = [{} for _ in states.moves]
        for (state, number), terminals in _lookaheads(states).items():
            for terminal in sorted(terminals):
                self._add_reduction(state, terminal, self._rules[number])

    def _add_reduction(self, state: int, terminal: str, rule: Rule) -> None:
        rival = self._reductions[state].setdefault(terminal, rule)
        if rival is not rule or terminal in self._moves[state]:
            other = f"'{rival}'" if rival is not rule else "a longer rule"
            raise ConfigError(
                f"grammar: before {terminal}, '{rule}' and {other} both apply (not LALR(1)); "
                "rewrite them so that no sentence has two derivations."
            )

    def derivation(self, categories: Sequence[str]) -> list[Rule] | None:
        """Return the rules that derive `categories` from the start symbol; None: there are none."""
        stack = [0]
        used: list[Rule] = []
        for terminal in (*categories, _END):
            while rule := self._reductions[stack[-1]].get(terminal):
                if rule is self._rules[0]:
                    return used
                used.append(rule)
                del stack[-len(rule.right) :]
                stack.append(self._moves[stack[-1]][rule.left])
            if terminal not in self._moves[stack[-1]]:
                return None
            stack.append(self._moves[stack[-1]][terminal])
        return None

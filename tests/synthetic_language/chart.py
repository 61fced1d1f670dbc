"""An independent oracle: counts and sums all derivations of a sentence by dynamic programming.

It tries every rule over every span, so it finds each derivation of an ambiguous grammar, too.
"""

from functools import cache

from model_foundry.synthetic_language.grammar import Grammar, Rule

Inside = tuple[int, float]
"""The number of derivations and the sum of their probabilities."""


def inside(grammar: Grammar, words: list[str]) -> Inside:
    """Return the number of derivations of `words`, and the sum of their probabilities."""
    openers = _possible_first_words(grammar)

    @cache
    def symbol_over(symbol: str, start: int, end: int) -> Inside:
        if category := grammar.lexicon.get(symbol):
            if end - start != 1 or words[start] not in category.words:
                return 0, 0.0
            return 1, category.probabilities[category.words.index(words[start])]
        if words[start] not in openers[symbol]:
            return 0, 0.0
        count, weight = 0, 0.0
        for rule in grammar.rules[symbol]:
            ways, mass = rule_over(rule, 0, start, end)
            count, weight = count + ways, weight + mass * rule.probability
        return count, weight

    @cache
    def rule_over(rule: Rule, read: int, start: int, end: int) -> Inside:
        """Return the same for the symbols of a rule after the first `read` ones."""
        left = len(rule.right) - read - 1
        if left == 0:
            return symbol_over(rule.right[read], start, end)
        count, weight = 0, 0.0
        for middle in range(start + 1, end - left + 1):
            ways, mass = symbol_over(rule.right[read], start, middle)
            if ways:
                more_ways, more_mass = rule_over(rule, read + 1, middle, end)
                count, weight = count + ways * more_ways, weight + mass * more_mass
        return count, weight

    return symbol_over(grammar.start, 0, len(words))


def _possible_first_words(grammar: Grammar) -> dict[str, set[str]]:
    first = {symbol: set(category.words) for symbol, category in grammar.lexicon.items()}
    first |= {symbol: set() for symbol in grammar.rules}
    grown = True
    while grown:
        grown = False
        for symbol, rules in grammar.rules.items():
            found = set().union(*(first[rule.right[0]] for rule in rules))
            if not found <= first[symbol]:
                first[symbol] |= found
                grown = True
    return first


def words_of(sentence: str, grammar: Grammar) -> list[str]:
    """Return the words of a sentence, with the first as in the lexicon."""
    first, *others = sentence.removesuffix(".").split(" ")
    known = {word for category in grammar.lexicon.values() for word in category.words}
    return [first if first in known else first[0].lower() + first[1:], *others]

"""Reading a grammar file: YAML with features and Zipf ranks in, a plain grammar and phenomena out.

It knows the form of the file and no word of any language; `english.yaml` explains the form.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from model_foundry.errors import ConfigError
from model_foundry.synthetic_language.grammar import Category, Grammar, Rule, check_grammar
from model_foundry.synthetic_language.patterns import Pattern, Variables, read_patterns
from model_foundry.synthetic_language.phenomena import Phenomenon, Template

_SECTIONS = ("start", "zipf", "variables", "rules", "lexicon", "phenomena")


class _StrictLoader(yaml.SafeLoader):
    """A loader that refuses a key given twice, of which YAML would silently drop the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise ConfigError(
                    f"line {key.start_mark.line + 1}: {key.value!r} is given twice; keep one."
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def read_language(path: Path) -> tuple[Grammar, dict[str, Phenomenon]]:
    """Read a grammar file.

    Raises:
        ConfigError: the file is missing or not of the form, or the grammar breaks a law of
            `check_grammar`.
    """
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"not valid YAML: {' '.join(str(error).split())}.") from error
    sections = _mapping(data, where="grammar file")
    if sections.keys() != set(_SECTIONS):
        wrong = min(sections.keys() ^ set(_SECTIONS))
        raise ConfigError(f"{wrong}: a grammar file has exactly {', '.join(_SECTIONS)}.")
    variables = _read_variables(sections["variables"])
    lexicon = _read_lexicon(sections["lexicon"], variables, sections["zipf"])
    rules, literals = _read_rules(sections["rules"], variables)
    for word in literals:
        lexicon[word] = Category((word,), (1.0,))
    phenomena = {
        name: _read_phenomenon(name, _mapping(entry, where=f"phenomena.{name}"), variables)
        for name, entry in _mapping(sections["phenomena"], where="phenomena").items()
    }
    grammar = Grammar(_text(sections["start"], where="start"), rules, lexicon)
    used = [symbol for phenomenon in phenomena.values() for symbol in phenomenon.symbols]
    check_grammar(grammar, extra_roots=used)
    return grammar, phenomena


def _read_variables(section: object) -> Variables:
    return Variables(
        {
            name: {
                value: _positive(weight, where=f"variables.{name}.{value}")
                for value, weight in _mapping(domain, where=f"variables.{name}").items()
            }
            for name, domain in _mapping(section, where="variables").items()
        }
    )


def _read_rules(
    section: object, variables: Variables
) -> tuple[dict[str, tuple[Rule, ...]], list[str]]:
    """Return the plain rules by left symbol, and the words that stand in rules themselves."""
    weighted: dict[str, list[Rule]] = defaultdict(list)
    literals: dict[str, None] = {}
    for left_text, expansions in _mapping(section, where="rules").items():
        where = f"rules.{left_text}"
        left = _one_symbol(left_text, where=where)
        for right_text, weight in _mapping(expansions, where=where).items():
            place = f"{where}.{right_text}"
            right = read_patterns(right_text, where=place)
            literals |= {pattern.name: None for pattern in right if pattern.is_word}
            share = _positive(weight, where=place)
            for rule in _expand(left, right, share, variables, where=place):
                weighted[rule.left].append(rule)
    return {symbol: _normalised(rules) for symbol, rules in weighted.items()}, list(literals)


def _expand(
    left: Pattern, right: tuple[Pattern, ...], weight: float, variables: Variables, *, where: str
) -> list[Rule]:
    """Return the plain rules of one line; those of one left symbol share `weight`."""
    arguments = {argument for pattern in right for argument in pattern.arguments}
    free = sorted(arguments - set(left.arguments))
    rules: dict[str, list[Rule]] = defaultdict(list)
    for assignment in variables.assignments((left, *right), where=where):
        symbol = left.bind(assignment)
        rules[symbol].append(
            Rule(
                left=symbol,
                right=tuple(pattern.bind(assignment) for pattern in right),
                probability=variables.weight(assignment, free, where=where),
                scheme=(where, *(assignment[argument] for argument in free)),
            )
        )
    return [rule for group in rules.values() for rule in _normalised(group, total=weight)]


def _normalised(rules: list[Rule], total: float = 1.0) -> tuple[Rule, ...]:
    mass = sum(rule.probability for rule in rules)
    return tuple(
        Rule(rule.left, rule.right, total * rule.probability / mass, rule.scheme) for rule in rules
    )


def _read_lexicon(section: object, variables: Variables, zipf: object) -> dict[str, Category]:
    """Return the words by plain symbol, with the Zipf-Mandelbrot law over their ranks."""
    law = _mapping(zipf, where="zipf")
    if law.keys() != {"exponent", "shift"}:
        raise ConfigError("zipf: needs exponent and shift, for weight = (rank + shift)^-exponent.")
    exponent = _positive(law["exponent"], where="zipf.exponent")
    shift = _positive(law["shift"], where="zipf.shift")
    lexicon: dict[str, Category] = {}
    for key, text in _mapping(section, where="lexicon").items():
        where = f"lexicon.{key}"
        pattern = _one_symbol(key, where=where)
        symbols = [pattern.bind(a) for a in variables.assignments((pattern,), where=where)]
        lemmas = _read_lemmas(_text(text, where=where), symbols, where=where)
        weights = [(rank + shift) ** -exponent for rank in range(len(lemmas))]
        probabilities = tuple(weight / sum(weights) for weight in weights)
        for symbol, words in zip(symbols, zip(*lemmas, strict=True), strict=True):
            if symbol in lexicon:
                raise ConfigError(f"{where}: {symbol} has words already; list them in one place.")
            lexicon[symbol] = Category(words, probabilities)
    return lexicon


def _read_lemmas(text: str, symbols: list[str], *, where: str) -> list[list[str]]:
    """Return the forms of each lemma, one a symbol."""
    lemmas = [entry.split("/") for entry in text.split()]
    for lemma in lemmas:
        if len(lemma) != len(symbols) or not all(lemma):
            raise ConfigError(
                f"{where}: {'/'.join(lemma)!r} must have {len(symbols)} form(s), separated by "
                f"'/', for {', '.join(symbols)}."
            )
    return lemmas


def _read_phenomenon(name: str, entry: Mapping[str, Any], variables: Variables) -> Phenomenon:
    where = f"phenomena.{name}"
    if entry.keys() != {"field", "term", "pairs"} or not isinstance(entry["pairs"], list):
        raise ConfigError(f"{where}: needs exactly field, term and a list of pairs.")
    templates = []
    for pair in entry["pairs"]:
        texts = _mapping(pair, where=f"{where}.pairs")
        if texts.keys() != {"good", "bad"}:
            raise ConfigError(f"{where}.pairs: each needs exactly good and bad.")
        templates.append(_read_template(texts, variables, where=where))
    return Phenomenon(
        name=name,
        field=_text(entry["field"], where=f"{where}.field"),
        term=_text(entry["term"], where=f"{where}.term"),
        templates=tuple(templates),
    )


def _read_template(texts: Mapping[str, Any], variables: Variables, *, where: str) -> Template:
    good = read_patterns(_text(texts["good"], where=where), where=f"{where}.good")
    bad = read_patterns(_text(texts["bad"], where=where), where=f"{where}.bad")
    if len(good) != len(bad) or good == bad:
        raise ConfigError(f"{where}: good and bad must have equally many symbols and differ.")
    assignments = list(variables.assignments((*good, *bad), where=where))
    return Template(
        tuple(
            tuple((g.bind(a), b.bind(a)) for g, b in zip(good, bad, strict=True))
            for a in assignments
        )
    )


def _one_symbol(text: str, *, where: str) -> Pattern:
    patterns = read_patterns(text, where=where)
    if len(patterns) != 1 or patterns[0].is_word:
        raise ConfigError(f"{where}: must be one symbol, written with a capital letter.")
    return patterns[0]


def _mapping(value: object, *, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not value or not all(isinstance(k, str) for k in value):
        raise ConfigError(f"{where}: must be a mapping with at least one text key, got {value!r}.")
    return value


def _text(value: object, *, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{where}: must be text, got {value!r}.")
    return value


def _positive(value: object, *, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigError(f"{where}: must be a finite number above 0, got {value!r}.")
    return float(value)

"""Grammar files, read into a plain grammar and its phenomena.

Features are expanded and Zipf ranks become probabilities. `english.yaml` explains the format.
"""

from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import short_repr
from model_foundry.synthetic_language.grammar import Category, Grammar, Rule, check_grammar
from model_foundry.synthetic_language.patterns import Pattern, Variables, read_patterns
from model_foundry.synthetic_language.phenomena import Phenomenon, Template

Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weights = Annotated[dict[str, Weight], Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Zipf(_Section):
    """Parameters of the weight of a word: (rank + shift) ** -exponent, with ranks from 0."""

    exponent: Weight
    shift: Weight


class _Pair(_Section):
    good: str
    bad: str


class _Phenomenon(_Section):
    field: str
    term: str
    pairs: list[_Pair]


class _GrammarFile(_Section):
    start: str
    zipf: _Zipf
    variables: dict[str, Weights]
    rules: dict[str, Weights]
    lexicon: dict[str, str]
    phenomena: dict[str, _Phenomenon]


class _StrictLoader(yaml.SafeLoader):
    """A loader that refuses duplicate keys, of which YAML silently keeps the last."""

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
        ConfigError: the file is missing or malformed, or `check_grammar` refuses the grammar.
    """
    file = _read_file(path)
    variables = Variables(file.variables)
    lexicon = _read_lexicon(file, variables)
    rules, words = _read_rules(file.rules, variables)
    lexicon |= {word: Category((word,), (1.0,)) for word in words}
    phenomena = {
        name: _read_phenomenon(name, entry, variables) for name, entry in file.phenomena.items()
    }
    grammar = Grammar(file.start, rules, lexicon)
    used = [symbol for phenomenon in phenomena.values() for symbol in phenomenon.symbols]
    check_grammar(grammar, extra_roots=used)
    return grammar, phenomena


def _read_file(path: Path) -> _GrammarFile:
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
        return _GrammarFile.model_validate(data)
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"not valid YAML: {' '.join(str(error).split())}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "grammar file"
        raise ConfigError(f"{field}: {first['msg']}, got {short_repr(first['input'])}.") from error


def _read_rules(
    section: Mapping[str, Mapping[str, float]], variables: Variables
) -> tuple[dict[str, tuple[Rule, ...]], list[str]]:
    """Return the plain rules by left symbol, and the words that occur in rules themselves."""
    weighted: dict[str, list[Rule]] = defaultdict(list)
    words: dict[str, None] = {}
    for left_text, expansions in section.items():
        left = _one_symbol(left_text, where=f"rules.{left_text}")
        for right_text, weight in expansions.items():
            where = f"rules.{left_text}.{right_text}"
            right = read_patterns(right_text, where=where)
            words |= {pattern.name: None for pattern in right if pattern.is_word}
            for rule in _expand(left, right, weight, variables, where=where):
                weighted[rule.left].append(rule)
    return {symbol: _normalised(rules) for symbol, rules in weighted.items()}, list(words)


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
    return tuple(replace(rule, probability=total * rule.probability / mass) for rule in rules)


def _read_lexicon(file: _GrammarFile, variables: Variables) -> dict[str, Category]:
    """Return the words by plain symbol, with Zipf-Mandelbrot probabilities by rank."""
    lexicon: dict[str, Category] = {}
    for key, text in file.lexicon.items():
        where = f"lexicon.{key}"
        pattern = _one_symbol(key, where=where)
        symbols = [pattern.bind(a) for a in variables.assignments((pattern,), where=where)]
        lemmas = _read_lemmas(text, symbols, where=where)
        weights = [(rank + file.zipf.shift) ** -file.zipf.exponent for rank in range(len(lemmas))]
        probabilities = tuple(weight / sum(weights) for weight in weights)
        for symbol, words in zip(symbols, zip(*lemmas, strict=True), strict=True):
            if symbol in lexicon:
                raise ConfigError(f"{where}: {symbol} has words already; list them in one place.")
            lexicon[symbol] = Category(words, probabilities)
    return lexicon


def _read_lemmas(text: str, symbols: list[str], *, where: str) -> list[list[str]]:
    """Return the forms of each lemma, one per symbol."""
    lemmas = [entry.split("/") for entry in text.split()]
    for lemma in lemmas:
        if len(lemma) != len(symbols) or not all(lemma):
            raise ConfigError(
                f"{where}: {'/'.join(lemma)!r} must have {len(symbols)} form(s), separated by "
                f"'/', for {', '.join(symbols)}."
            )
    return lemmas


def _read_phenomenon(name: str, entry: _Phenomenon, variables: Variables) -> Phenomenon:
    where = f"phenomena.{name}"
    templates = tuple(_read_template(pair, variables, where=where) for pair in entry.pairs)
    return Phenomenon(name=name, field=entry.field, term=entry.term, templates=templates)


def _read_template(pair: _Pair, variables: Variables, *, where: str) -> Template:
    good = read_patterns(pair.good, where=f"{where}.good")
    bad = read_patterns(pair.bad, where=f"{where}.bad")
    if len(good) != len(bad) or good == bad:
        raise ConfigError(f"{where}: good and bad must have equally many symbols and differ.")
    return tuple(
        tuple((g.bind(a), b.bind(a)) for g, b in zip(good, bad, strict=True))
        for a in variables.assignments((*good, *bad), where=where)
    )


def _one_symbol(text: str, *, where: str) -> Pattern:
    patterns = read_patterns(text, where=where)
    if len(patterns) != 1 or patterns[0].is_word:
        raise ConfigError(f"{where}: must be one symbol, written with a capital letter.")
    return patterns[0]

"""The values of `${...}` in a composed experiment, and of `???`, which someone must give."""

import os
from dataclasses import replace
from typing import Any, Final

from pydantic import BaseModel

from model_foundry.config.experiment import SET_BY_ONE_SEED, ExperimentConfig
from model_foundry.config.expressions import (
    OPEN,
    ExpressionError,
    Part,
    Reference,
    Variable,
    escape,
    parse_expressions,
)
from model_foundry.config.fields import (
    INDEX,
    field_at,
    fields_below,
    is_within,
    leaves,
    scalars_at,
)
from model_foundry.config.layers import Layer
from model_foundry.config.origins import OVERRIDE, Origins
from model_foundry.config.unexpanded import Unexpanded
from model_foundry.config.validation import refusal
from model_foundry.config.yaml_reader import MOST_VALUES, SURROGATE, dump_scalar, parse_yaml
from model_foundry.errors import ConfigError
from model_foundry.registry import nearest

MUST_BE_GIVEN: Final = "???"
LONGEST_CHAIN = 50  # keys that lead to each other
LONGEST_TEXT = 100_000  # characters; texts that double each other would fill the memory
FAILED: Final = object()


def interpolate(
    layer: Layer, source: str, *, section: str | None = None, keep_unset: bool = False
) -> tuple[dict[str, Any], Origins]:
    """Return plain data with the values of its expressions, and its origins.

    Args:
        source: its name in messages.
        section: the one section that is needed; None: all.
        keep_unset: leave the expression of a variable that is not set as text, to read a run.

    Raises:
        ConfigError: with a line for each expression without a value, and for each `???`.
    """
    resolver = _Resolver(layer, keep_unset=keep_unset)
    wanted = {key: value for key, value in layer.data.items() if section is None or key == section}
    plain = {key: resolver.tree(value, key) for key, value in wanted.items()}
    origins = replace(layer.origins, environment=dict(resolver.environment))
    if resolver.faults:
        raise refusal(resolver.faults.items(), source, origins)
    return plain, origins


class _Resolver:
    """The finding of values in one layer, each once, with the faults on the way."""

    def __init__(self, layer: Layer, *, keep_unset: bool) -> None:
        self.layer = layer
        self.keep_unset = keep_unset
        self.environment: dict[str, Unexpanded] = {}
        self.faults: dict[str, str] = {}
        self._values: dict[str, Any] = {}
        self._open: list[str] = []  # keys whose values are being found, each by the one before
        self._num_copied = 0

    def tree(self, value: Any, name: str) -> Any:
        """Return plain data with the values of its expressions; `FAILED`: one has none."""
        if isinstance(value, str):
            return self._leaf(name, value)
        if isinstance(value, dict):
            found = {key: self.tree(below, f"{name}.{key}") for key, below in value.items()}
            return FAILED if any(each is FAILED for each in found.values()) else found
        if isinstance(value, list):
            entries = [self.tree(below, f"{name}.{n}") for n, below in enumerate(value)]
            return FAILED if any(each is FAILED for each in entries) else entries
        return value

    def _leaf(self, name: str, text: str) -> Any:
        if OPEN not in text and text != MUST_BE_GIVEN:
            return text
        if name in self._open:
            way = " -> ".join([*self._open[self._open.index(name) :], name])
            self.faults[name] = f"leads back to itself ({way}); give one of them a value"
            return FAILED
        if name not in self._values:
            self._open.append(name)
            try:
                self._values[name] = self._evaluate(name, text)
            except ExpressionError as error:
                self.faults.setdefault(name, str(error))
                self._values[name] = FAILED
            self._open.pop()
        return self._values[name]

    def _evaluate(self, name: str, text: str) -> Any:
        if text == MUST_BE_GIVEN:
            how = f"write {name}=VALUE on the command line, or set it in a file that extends this"
            raise ExpressionError(f"must be given; {how}")
        if len(self._open) > LONGEST_CHAIN:
            raise ExpressionError(f"is reached by more than {LONGEST_CHAIN} keys after another")
        parts = parse_expressions(text)
        if all(isinstance(part, str) for part in parts):
            return "".join(map(str, parts))
        self._note_origin(name, text)
        if len(parts) == 1:
            return self._whole(name, parts[0])
        return self._joined(name, parts)

    def _note_origin(self, name: str, text: str) -> None:
        origin = self.layer.place(name) or OVERRIDE
        self.layer.given[name] = replace(origin, expression=text)

    def _whole(self, name: str, part: Part) -> Any:
        """Return the value of a single expression, which keeps its type."""
        if isinstance(part, Variable):
            raw = self._variable(part)
            value = part.text if raw is None else _typed(raw, name)
            if isinstance(value, str) and value == part.default:  # YAML of the file, with quotes
                value = _unquoted(value)
            self.environment[name] = Unexpanded(part.text, value, variables=_read(part))
            return value
        if isinstance(part, str):
            return part
        value = self._named(part)
        self._num_copied += sum(1 for _ in leaves(value))
        if self._num_copied > MOST_VALUES:  # lists that double each other would fill the memory
            raise ExpressionError(f"expressions copy more than {MOST_VALUES:,} values")
        for below in [each for each in self.environment if is_within(each, part.name)]:
            copied = f"{name}{below.removeprefix(part.name)}"
            self.environment[copied] = self.environment[below]
        return value

    def _joined(self, name: str, parts: list[Part]) -> Any:
        """Return the text of several parts, and note it if the environment gave some of it."""
        shown, recorded, is_from_environment = "", "", False
        variables: dict[str, str] = {}
        for part in parts:
            value: Any = part
            text = escape(part) if isinstance(part, str) else part.text
            if isinstance(part, Variable):
                found_text, is_from_environment = self._variable(part), True
                value = part.text if found_text is None else found_text
                variables |= _read(part)
            elif isinstance(part, Reference):
                value = self._named(part)
                if value is FAILED:
                    return FAILED
                found = self.environment.get(part.name)
                text = found.text if found else escape(_as_text(value, part))
                is_from_environment = is_from_environment or found is not None
                variables |= found.variables if found else {}
            shown += _as_text(value, part)
            recorded += text
            if len(shown) > LONGEST_TEXT:
                raise ExpressionError(f"comes to more than {LONGEST_TEXT:,} characters")
        if is_from_environment:
            self.environment[name] = Unexpanded(recorded, shown, variables=variables)
        return shown

    def _variable(self, part: Variable) -> str | None:
        """Return the text of a variable, or its default; None: it is not set, and may be."""
        text = os.environ.get(part.name, part.default)
        if text is None and not self.keep_unset:
            close = nearest(part.name, list(os.environ))
            hint = f"did you mean ${{{close}}}? " if close else ""
            remedy = f"set it, or write ${{{part.name}:default}}"
            raise ExpressionError(
                f"{part.text}: this variable of the environment is not set; {hint}{remedy}"
            )
        if text is not None and SURROGATE.search(text):
            raise ExpressionError(f"{part.text}: the value of this variable is not UTF-8 text")
        return text

    def _named(self, part: Reference) -> Any:
        """Return the value of another key; `FAILED` where that has a fault of its own."""
        here: Any = self.layer.data
        keys, is_plain = part.name.split("."), False
        for depth, key in enumerate(keys):
            above = ".".join(keys[:depth])
            if isinstance(here, str) and not is_plain:  # an expression may come to a section
                here, is_plain = self._leaf(above, here), True
            if here is FAILED:
                return FAILED
            if isinstance(here, dict) and key in here:
                here = here[key]
            elif isinstance(here, list) and key.isdecimal() and int(key) < len(here):
                here = here[int(key)]
            elif above == "seed" and type(here) is int and key in SET_BY_ONE_SEED:
                continue
            elif isinstance(here, dict | list) or above == "seed":
                return self._default(part)
            else:
                kind = "null" if here is None else "a single value"
                raise ExpressionError(f"{part.text}: {above} is {kind}, which has no keys")
        # plain text is not read again: a literal `${` may stand in it
        return here if is_plain else self.tree(here, part.name)

    def _default(self, part: Reference) -> Any:
        field = field_at(part.name, ExperimentConfig)
        if field is None or INDEX.search(part.name):
            raise ExpressionError(f"{part.text}: {self._unknown(part.name)}")
        above = part.name.rpartition(".")[0]
        section = field_at(above, ExperimentConfig) if above else None
        is_absent = section is not None and section.get_default() is None
        if field.is_required() or field.default_factory_takes_validated_data or is_absent:
            raise ExpressionError(f"{part.text}: {part.name} is not given; give it a value")
        value = field.get_default(call_default_factory=True)
        return value.model_dump(mode="json") if isinstance(value, BaseModel) else value

    def _unknown(self, name: str) -> str:
        known = [*self.layer.given, *(known for known, _ in fields_below(ExperimentConfig))]
        if close := nearest(name, known):
            return f"there is no such key; did you mean ${{{close}}}?"
        if name.upper() in os.environ:
            return f"there is no such key; a variable is written in capitals: ${{{name.upper()}}}"
        return "there is no such key; name one from the top of the file on, such as ${seed}"


def _read(part: Variable) -> dict[str, str]:
    """Return the text of a variable by its expression; empty: it is not set."""
    return {part.text: os.environ[part.name]} if part.name in os.environ else {}


def _typed(text: str, name: str) -> Any:
    """Return the text of a variable as the scalar that it would be in the file.

    A setting that is always text takes it as it is, such as the name 007.
    """
    try:
        value = parse_yaml(text, name)
    except ConfigError:
        return text
    kinds = scalars_at(name, ExperimentConfig)
    if value is None and (type(None) in kinds or not kinds):
        return None
    is_text = isinstance(value, str | list | dict) or (kinds and not kinds & {int, float, bool})
    return text if is_text else value


def _unquoted(text: str) -> str:
    """Return the text of a default, which may stand in quotes."""
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if is_quoted else text


def _as_text(value: Any, part: Part) -> str:
    if isinstance(value, dict | list):
        kind = "a mapping" if isinstance(value, dict) else "a list"
        shown = part if isinstance(part, str) else part.text
        raise ExpressionError(f"{shown} is {kind}, which cannot stand within text")
    return value if isinstance(value, str) else dump_scalar(value)

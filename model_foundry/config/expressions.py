"""The syntax of `${...}`: keys of the experiment, and variables of the environment."""

import re
from dataclasses import dataclass
from typing import Final

VARIABLE = re.compile(r"([A-Z_][A-Z0-9_]*)(?::(.*))?", re.S)
OMEGACONF_VARIABLE = re.compile(r"oc\.env:\s*([A-Za-z_]\w*)\s*(?:,\s*(.*))?", re.S)
KEY = re.compile(r"[a-z]\w*(\.[\w-]+)*")
OPEN, ESCAPED = "${", "$${"
FORMS: Final = "write ${key.of.this.file}, or ${NAME} or ${NAME:default} of the environment"


class ExpressionError(ValueError):
    """The text within `${...}` is no expression, or has no value."""


@dataclass(frozen=True)
class Variable:
    """A variable of the environment."""

    text: str
    """The expression as it was written."""
    name: str
    """The name of the variable."""
    default: str | None
    """The text that stands for it where it is not set, read as YAML; None: it must be set."""


@dataclass(frozen=True)
class Reference:
    """Another key of the experiment."""

    text: str
    """The expression as it was written."""
    name: str
    """The dotted name of the key."""


Part = str | Variable | Reference


def parse_expressions(text: str) -> list[Part]:
    """Split text into literal parts and expressions; `$${` is a literal `${`.

    Raises:
        ExpressionError: with the law and the remedy.
    """
    parts: list[Part] = []
    while text:
        if text.startswith(ESCAPED):
            literal, text = OPEN, text[len(ESCAPED) :]
        elif text.startswith(OPEN):
            inner, closing, text = text[len(OPEN) :].partition("}")
            parts.append(_expression(inner, is_closed=bool(closing)))
            continue
        else:
            literal, text = text[0], text[1:]
        if parts and isinstance(parts[-1], str):
            literal = parts.pop() + literal  # type: ignore[operator]
        parts.append(literal)
    return parts


def escape(text: str) -> str:
    """Return the text that is read as `text`, which holds no expression."""
    return text.replace(OPEN, ESCAPED)


def _expression(inner: str, *, is_closed: bool) -> Part:
    text = f"{OPEN}{inner}}}"
    if not is_closed:
        raise ExpressionError(f"the {OPEN} has no closing }}; write {ESCAPED} for the characters")
    if OPEN in inner:
        raise ExpressionError(f"{text}: expressions cannot stand within each other")
    if variable := VARIABLE.fullmatch(inner) or OMEGACONF_VARIABLE.fullmatch(inner):
        return Variable(text, variable[1], variable[2])
    if KEY.fullmatch(inner):
        return Reference(text, inner)
    raise ExpressionError(f"{text}: {_remedy(inner)}")


def _remedy(inner: str) -> str:
    key, colon, _ = inner.partition(":")
    if inner.startswith("."):
        return "the whole name of a key is needed, from the top of the file on"
    if "[" in inner:
        return "an entry of a list is named by its number, as in ${data.train.0}"
    if key in ("env", "oc.env"):
        return "write ${NAME} for a variable of the environment"
    if colon and KEY.fullmatch(key) and key.startswith(("oc.", "hydra")):
        return f"there are no resolvers; {FORMS}"
    if colon and KEY.fullmatch(key):
        return "only a variable of the environment, in capitals, has a default"
    return f"no expression; {FORMS}, or {ESCAPED} for the characters {OPEN}"

"""Values that came from the environment: kept out of what is written and of messages.

Free text stays the expression that it was given by, such as `${TOKEN}`. Numbers, switches and names
of known things are written as they were, so that a run can be read where the variable is not set.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from model_foundry.foundation.messages import short_repr

SHORTEST_SECRET = 6  # characters; shorter text is hidden only where it stands in quotes


@dataclass(frozen=True)
class Unexpanded:
    """A value that came from the environment."""

    text: str
    """The expression that stands for it, with variables of the environment only."""
    value: Any
    """What it came to."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """The text of each variable in it that is set, by its expression."""
    is_free_text: bool = True
    """True if the expression is written in its place, wherever the experiment is saved."""


Environment = Mapping[str, Unexpanded]
"""Values from the environment by dotted name."""


def unexpanded(
    plain: Any,
    environment: Environment,
    *,
    text_of: Callable[[str, Unexpanded], str] = lambda name, found: found.text,
    literal: Callable[[str], str] = str,
    name: str = "",
) -> Any:
    """Return plain data with expressions in place of the free text from the environment.

    Args:
        text_of: the text that is written for a value, given its dotted name.
        literal: the text that is written for any other text.
        name: dotted name of `plain`; "": it is the whole experiment.
    """

    def below(key: object, value: Any) -> Any:
        within = f"{name}.{key}" if name else str(key)
        return unexpanded(value, environment, text_of=text_of, literal=literal, name=within)

    if isinstance(plain, dict):
        return {key: below(key, value) for key, value in plain.items()}
    if isinstance(plain, list):
        return [below(number, value) for number, value in enumerate(plain)]
    found = environment.get(name)
    if found is not None and found.is_free_text and found.value == plain:
        return text_of(name, found)
    return literal(plain) if isinstance(plain, str) else plain


def hide_values(field: str, message: str, environment: Environment) -> str:
    """Return a message about a field without the values that came from the environment."""
    for name, found in environment.items():
        if f"{name}.".startswith(f"{field}.") and ", got " in message:
            message = f"{message.partition(', got ')[0]}, got {found.text}"
    for shown, text in sorted(_shown(environment), key=lambda pair: -len(pair[0])):
        message = message.replace(shown, text)
    return message


def _shown(environment: Environment) -> Iterator[tuple[str, str]]:
    """Yield (what a message may show of a value, what takes its place)."""
    for found in environment.values():
        if found.value == found.text:  # of a variable that is not set
            continue
        yield f"(={found.value})", f"(={found.text})"
        if isinstance(found.value, str):
            yield repr(found.value), repr(found.text)
            yield short_repr(found.value), repr(found.text)
            if len(found.value) >= SHORTEST_SECRET:
                yield found.value, found.text
        for text, value in found.variables.items():
            if len(value) >= SHORTEST_SECRET:
                yield value, text

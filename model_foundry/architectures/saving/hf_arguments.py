"""The arguments of the models of transformers: which there are, and what they are called.

Most of these models take `**kwargs` and lose in silence what they do not know.
"""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

from torch import nn

from model_foundry.architectures.saving.native_format import Record

# transformers 5.24 calls the state by the second name, all before by the first.
STATE_NAMES = ("past_key_values", "cache")
# What the models of transformers take without naming it, by a decorator.
UNNAMED = frozenset({"output_hidden_states", "output_attentions"})
# Named by them, and no business of theirs here: the loss and the kind of output are ours.
OURS = frozenset({"labels", "return_dict", "num_items_in_batch"})


def arguments_of(module: nn.Module) -> frozenset[str]:
    """Return the names of what a model of transformers can be told, but for labels."""
    return _named_by(type(module).forward)


@cache
def _named_by(forward: Callable[..., Any]) -> frozenset[str]:
    parameters = inspect.signature(forward).parameters.values()
    named = {p.name for p in parameters if p.kind != inspect.Parameter.VAR_KEYWORD}
    return frozenset((named | UNNAMED) - OURS - {"self", "args"})


def understood(module: nn.Module, arguments: Record) -> Record:
    """Return arguments as a model of transformers wants them, with the name it has for a state.

    Raises:
        TypeError: the model does not know one. It would lose it in silence.
    """
    known = arguments_of(module)
    states = [arguments[name] for name in STATE_NAMES if arguments.get(name) is not None]
    rest = {key: value for key, value in arguments.items() if key not in STATE_NAMES}
    if len(states) > 1:
        raise TypeError("past_key_values and cache are one argument; give one of them.")
    for name in STATE_NAMES:
        if states and name in known:
            rest[name] = states.pop()
    strays = [key for key in rest if key not in known] + ["past_key_values"] * len(states)
    if strays:
        taken = ", ".join(sorted(known))
        raise TypeError(f"{type(module).__name__} does not know {strays[0]!r}; it takes {taken}.")
    return rest

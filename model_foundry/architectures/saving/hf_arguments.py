"""The arguments of transformers models, checked by name.

Most of these models take `**kwargs` and silently ignore unknown ones.
"""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

from torch import nn

from model_foundry.architectures.saving.native_format import Record

# Names of the carried state: the second since transformers 5.24, the first before.
STATE_NAMES = ("past_key_values", "cache")
# Accepted by the models of transformers through a decorator.
UNNAMED = frozenset({"output_hidden_states", "output_attentions"})
# Never passed on: loss and output are computed here.
OURS = frozenset({"labels", "return_dict", "num_items_in_batch"})


def arguments_of(module: nn.Module) -> frozenset[str]:
    """Return the names of the arguments of a transformers model, except labels."""
    return _named_by(type(module).forward)


@cache
def _named_by(forward: Callable[..., Any]) -> frozenset[str]:
    parameters = inspect.signature(forward).parameters.values()
    named = {p.name for p in parameters if p.kind != inspect.Parameter.VAR_KEYWORD}
    return frozenset((named | UNNAMED) - OURS - {"self", "args"})


def select_arguments(module: nn.Module, arguments: Record) -> Record:
    """Return the arguments for a transformers model, with its own name for a carried state.

    Raises:
        TypeError: the model has no such argument.
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

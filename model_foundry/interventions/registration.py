"""The decorator that registers a function of a text as a step of `data.interventions`.

The settings in an experiment file follow from the function's signature, so the two cannot differ.
Steps are applied in `chain`.
"""

import hashlib
import inspect
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from model_foundry.config import INTERVENTIONS, InterventionSpec
from model_foundry.config.error_messages import describe as describe_faults
from model_foundry.errors import ConfigError

GIVEN = ("seed", "index", "planned")
"""Keywords that a step is called with, beside its settings."""
OF_ANY_STEP = ("step", "splits")
"""Keys that stand beside the settings in an experiment file."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
PACKAGE = __name__.partition(".")[0]
Fault = tuple[str, str]
F = TypeVar("F", bound=Callable[..., Any])


class StepSettings(BaseModel):
    """Base of the classes that are made of signatures."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, frozen=True, protected_namespaces=()
    )


@cache
def _taken(function: Callable[..., Any]) -> frozenset[str] | None:
    """Return the names of the keywords that a function takes; None: any."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def keywords(function: Callable[..., Any], offered: dict[str, Any]) -> dict[str, Any]:
    """Return those of the offered keyword arguments that a function takes."""
    taken = _taken(function)
    return {name: value for name, value in offered.items() if taken is None or name in taken}


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """A step as it was registered. It is pickled by its name."""

    name: str
    """Name in `step`."""
    function: Callable[..., str | None]
    """From a text to what becomes of it; None: the document is left out."""
    schema: type[StepSettings]
    """Class of its settings."""
    survey: Callable[..., tuple[int, ...]] | None = None
    """What `plan` must know of a document; None: the step needs to know its own document only."""
    plan: Callable[..., Any] | None = None
    """From the surveys of all documents (N, k) to what each is told, (N,)."""
    surveyed: Callable[[Any], bool] | None = None
    """Whether a survey is needed under these settings; None: always."""
    sentences: Callable[..., int] | None = None
    """How many sentences the step takes out, called like the step; None: it does not say."""
    check: Callable[[Any], None] | None = None
    """Laws between settings, which raises ValueError; None: there are none."""
    cache_key: Callable[[Any], Any] | None = None
    """From settings to plain data on which the result depends beside them; None: there is none."""
    source: str | None = None
    """SHA-256 of the file of the function; None: it is part of this package."""

    def __reduce__(self) -> tuple[Any, ...]:
        return intervention, (self.name,)

    def needs_survey(self, settings: BaseModel) -> bool:
        """Return True if all documents must be surveyed first."""
        return self.survey is not None and (self.surveyed is None or self.surveyed(settings))

    def parse(self, settings: dict[str, Any]) -> StepSettings:
        """Return the settings as an object with an attribute for each.

        Raises:
            ValidationError: one is unknown, missing or invalid.
            ValueError: they do not go together.
        """
        # In JSON a list can stand for a tuple and a text for a path, however strict one is.
        parsed = self.schema.model_validate_json(json.dumps(settings, default=str))
        if self.check is not None:
            self.check(parsed)
        return parsed

    def faults(self, settings: dict[str, Any]) -> list[Fault]:
        """Return (field, message) for all that is wrong with settings."""
        try:
            self.parse(settings)
        except ValidationError as error:
            keys: dict[str, Any] = dict.fromkeys(OF_ANY_STEP, (Any, ...))
            return describe_faults(error, create_model("step", __base__=self.schema, **keys))
        except ValueError as error:
            return [self.fault(error)]
        return []

    def fault(self, error: ValueError) -> Fault:
        """Return (field, message) of an error whose message may begin with `field: `."""
        field, colon, message = str(error).partition(": ")
        known = bool(colon) and field in self.schema.model_fields
        return (field, message) if known else ("", str(error))


def _settings_class(name: str, function: Callable[..., Any]) -> type[StepSettings]:
    """Return the class of a step's settings: its keyword-only parameters that are not given."""
    text, *rest = inspect.signature(function).parameters.values()
    if text.kind not in (text.POSITIONAL_ONLY, text.POSITIONAL_OR_KEYWORD):
        raise TypeError(f"intervention {name!r}: its first parameter must be the text.")
    for parameter in rest:
        if parameter.kind is not parameter.KEYWORD_ONLY or parameter.name in OF_ANY_STEP:
            raise TypeError(
                f"intervention {name!r}: after the text come keyword-only parameters, none of "
                f"which is named {' or '.join(OF_ANY_STEP)}; got {str(parameter)!r}."
            )
    own = [parameter for parameter in rest if parameter.name not in GIVEN]
    bare = [parameter.name for parameter in own if parameter.annotation is parameter.empty]
    if bare:
        raise TypeError(f"intervention {name!r}: {bare[0]!r} needs an annotation.")
    # Only those of the settings are looked up: others may name what only a type checker imports.
    annotated = SimpleNamespace(__annotations__={p.name: p.annotation for p in own})
    globals_ = getattr(inspect.unwrap(function), "__globals__", {})
    hints = get_type_hints(annotated, globalns=globals_, include_extras=True)
    fields: dict[str, Any] = {
        p.name: (hints[p.name], ... if p.default is p.empty else p.default) for p in own
    }
    return create_model(f"{name}_settings", __base__=StepSettings, **fields)


def _source_digest(name: str, function: Callable[..., Any]) -> str | None:
    """Return the SHA-256 of the file that a function stands in; None for one of this package."""
    function = inspect.unwrap(function)
    if function.__module__.partition(".")[0] == PACKAGE:
        return None
    try:
        return hashlib.sha256(Path(inspect.getfile(function)).read_bytes()).hexdigest()
    except (OSError, TypeError) as error:
        raise TypeError(
            f"intervention {name!r}: must be a function in a file, which stands for it in the "
            "records of a run; put it in one and load that with --plugin."
        ) from error


def register_intervention(
    name: str,
    *,
    survey: Callable[..., tuple[int, ...]] | None = None,
    plan: Callable[..., Any] | None = None,
    surveyed: Callable[[Any], bool] | None = None,
    sentences: Callable[..., int] | None = None,
    check: Callable[[Any], None] | None = None,
    cache_key: Callable[[Any], Any] | None = None,
) -> Callable[[F], F]:
    """Return a decorator that registers a function as a step of `data.interventions`.

    The function, returned unchanged, maps a text to a new text, or to None to drop the document. It
    must be pure. The keyword-only parameters `seed` (of the step), `index` (of the document in its
    corpus) and `planned` are passed by the caller; all others are settings, with the types and
    defaults of the signature. Each function below gets those of these keywords that it takes.

    Args:
        name: value of `step`.
        survey: `(text, *, seed, index, ...) -> tuple[int, ...]`, of one length, within 64 bits.
        plan: `(surveys, *, seed, ...) -> array (N,)`: from the surveys (N, k) of all documents that
            reach the step to `planned` of each.
        surveyed: from settings to whether they need the survey; without it `planned` is None.
        sentences: like the step, but returns the number of sentences that it removes.
        check: raises ValueError for conflicting settings, as `setting: message`.
        cache_key: from settings to further plain data that the result depends on, such as a
            version; raises ValueError as `check` does. Called once, before the first document.

    Raises:
        TypeError: the signature leaves something open, or survey and plan do not go together.
        DuplicateNameError: the name is taken.
    """
    _check_name(name)
    if (survey is None) is not (plan is None) or (surveyed and not survey):
        raise TypeError(f"intervention {name!r}: survey= and plan= go together.")
    plans: dict[str, Any] = {"survey": survey, "plan": plan, "surveyed": surveyed}
    laws: dict[str, Any] = {"sentences": sentences, "check": check, "cache_key": cache_key}

    def register(function: F) -> F:
        schema, source = _settings_class(name, function), _source_digest(name, function)
        own: dict[str, Any] = {"name": name, "function": function, "schema": schema}
        step = Intervention(**own, **plans, **laws, source=source)
        target = f"{function.__module__}:{function.__qualname__}"
        INTERVENTIONS.add(InterventionSpec(name=name, target=target), function)
        function.intervention = step  # type: ignore[attr-defined]
        return function

    return register


def _check_name(name: str) -> None:
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        raise TypeError(f"an intervention's name has letters, digits, '.', '_', '-'; got {name!r}.")


def intervention(name: str) -> Intervention:
    """Return a registered step, importing it where that has not happened yet.

    Raises:
        UnknownNameError: nobody registered it.
    """
    step: Intervention = INTERVENTIONS.load(name).intervention
    return step


def refusal(faults: list[Fault], field: str) -> ConfigError:
    """Return the error for faults of the step that stands at `field` of the experiment."""
    lines = [(f"{field}.{key}".removesuffix("."), said) for key, said in faults]
    return ConfigError("\n".join(f"{place}: {said}" for place, said in lines))


def parse_settings(name: str, settings: dict[str, Any], field: str) -> StepSettings:
    """Return the settings of a step as an object.

    Args:
        field: where they stand in the experiment, for messages.

    Raises:
        ConfigError: with one line for every fault.
    """
    step = intervention(name)
    if faults := step.faults(settings):
        raise refusal(faults, field)
    return step.parse(settings)

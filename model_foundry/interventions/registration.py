"""The decorator that registers a function of a text as a step of `data.interventions`.

The settings of a step are the parameters of its function.
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
"""Keyword arguments of a step that are not settings."""
OF_ANY_STEP = ("step", "splits")
"""Keys of every step in an experiment file, beside its settings."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
PACKAGE = __name__.partition(".")[0]
Fault = tuple[str, str]
F = TypeVar("F", bound=Callable[..., Any])


class StepSettings(BaseModel):
    """Base of the settings classes, which are created from signatures."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, frozen=True, protected_namespaces=()
    )


@cache
def _taken(function: Callable[..., Any]) -> frozenset[str] | None:
    """Return the names of the keyword parameters of a function; None: it accepts any."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def keywords(function: Callable[..., Any], offered: dict[str, Any]) -> dict[str, Any]:
    """Return the offered keyword arguments that a function accepts."""
    taken = _taken(function)
    return {name: value for name, value in offered.items() if taken is None or name in taken}


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """A registered step, with the functions passed to `register_intervention`.

    It is pickled by its name.
    """

    name: str
    function: Callable[..., str | None]
    schema: type[StepSettings]
    survey: Callable[..., tuple[int, ...]] | None
    plan: Callable[..., Any] | None
    surveyed: Callable[[Any], bool] | None
    sentences: Callable[..., int] | None
    check: Callable[[Any], None] | None
    cache_key: Callable[[Any], Any] | None
    prepare: Callable[..., None] | None
    source: str | None
    """SHA-256 of the file of the function; None: the function is part of this package."""

    def __reduce__(self) -> tuple[Any, ...]:
        return intervention, (self.name,)

    def needs_survey(self, settings: BaseModel) -> bool:
        """Return True if all documents must be surveyed before the step is applied."""
        return self.survey is not None and (self.surveyed is None or self.surveyed(settings))

    def parse(self, settings: dict[str, Any]) -> StepSettings:
        """Return the settings as an object with an attribute for each.

        Raises:
            ValueError: a setting is unknown, missing, invalid (ValidationError) or in conflict.
        """
        # from JSON, strict mode accepts a list for a tuple and a string for a path
        parsed = self.schema.model_validate_json(json.dumps(settings, default=str))
        if self.check is not None:
            self.check(parsed)
        return parsed

    def faults(self, settings: dict[str, Any]) -> list[Fault]:
        """Return (field, message) for each fault of the settings."""
        try:
            self.parse(settings)
        except ValueError as error:
            return self._faults_of(error)
        return []

    def _faults_of(self, error: ValueError) -> list[Fault]:
        if isinstance(error, ValidationError):
            keys: dict[str, Any] = dict.fromkeys(OF_ANY_STEP, (Any, ...))
            return describe_faults(error, create_model("step", __base__=self.schema, **keys))
        field, colon, message = str(error).partition(": ")
        known = bool(colon) and field in self.schema.model_fields
        return [(field, message) if known else ("", str(error))]

    def refusal(self, error: ValueError, field: str) -> ConfigError:
        """Return an error of the settings as one of the step at `field` of the experiment."""
        faults = self._faults_of(error)
        lines = (f"{field}.{key}: {text}" if key else f"{field}: {text}" for key, text in faults)
        return ConfigError("\n".join(lines))


def _settings_class(name: str, function: Callable[..., Any]) -> type[StepSettings]:
    """Return the class of a step's settings: the keyword-only parameters not in `GIVEN`."""
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
    # only those of the settings: other annotations may need imports for type checkers only
    annotated = SimpleNamespace(__annotations__={p.name: p.annotation for p in own})
    globals_ = getattr(inspect.unwrap(function), "__globals__", {})
    hints = get_type_hints(annotated, globalns=globals_, include_extras=True)
    fields: dict[str, Any] = {
        p.name: (hints[p.name], ... if p.default is p.empty else p.default) for p in own
    }
    return create_model(f"{name}_settings", __base__=StepSettings, **fields)


def _source_digest(name: str, function: Callable[..., Any]) -> str | None:
    """Return the SHA-256 of the file of a function; None for a function of this package."""
    function = inspect.unwrap(function)
    if function.__module__.partition(".")[0] == PACKAGE:
        return None
    try:
        return hashlib.sha256(Path(inspect.getfile(function)).read_bytes()).hexdigest()
    except (OSError, TypeError) as error:
        raise TypeError(
            f"intervention {name!r}: must be a function in a file, whose hash is recorded with a "
            "run; put it in a file and load that with --plugin."
        ) from error


def _check_arguments(name: Any, *, survey: Any, plan: Any, surveyed: Any) -> None:
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        raise TypeError(f"an intervention's name has letters, digits, '.', '_', '-'; got {name!r}.")
    if (survey is None) is not (plan is None) or (surveyed and not survey):
        raise TypeError(f"intervention {name!r}: survey= and plan= go together.")


def register_intervention(
    name: str,
    *,
    survey: Callable[..., tuple[int, ...]] | None = None,
    plan: Callable[..., Any] | None = None,
    surveyed: Callable[[Any], bool] | None = None,
    sentences: Callable[..., int] | None = None,
    check: Callable[[Any], None] | None = None,
    cache_key: Callable[[Any], Any] | None = None,
    prepare: Callable[..., None] | None = None,
) -> Callable[[F], F]:
    """Return a decorator that registers a function as a step of `data.interventions`.

    The function maps a text to a new text, or to None to drop the document, and is pure. `seed` (of
    the step), `index` (of the document in its corpus) and `planned` are passed to it; its other
    keyword-only parameters are settings. Each function below receives the keywords that it accepts.

    Args:
        survey: `(text, *, seed, index, ...) -> tuple[int, ...]`, of one length, within 64 bits.
        plan: `(surveys, *, seed, ...) -> array (N,)`: from the surveys (N, k) of all documents that
            reach the step to `planned` of each.
        surveyed: returns True if the settings need the survey; without it `planned` is None.
        sentences: like the step, but returns the number of sentences that it removes.
        check: raises ValueError for conflicting settings, as `setting: message`.
        cache_key: further plain data that the result depends on; may raise as `check` does.
        prepare: `(settings, *, writes)`, called once before processes are forked; with
            `writes=False` it only checks. Raises ConfigError, as `setting: message`.

    Raises:
        DuplicateNameError, TypeError: the name is taken, or the functions do not fit.
    """
    _check_arguments(name, survey=survey, plan=plan, surveyed=surveyed)
    functions: dict[str, Any] = {"survey": survey, "plan": plan, "surveyed": surveyed}
    functions |= {"sentences": sentences, "check": check, "cache_key": cache_key}

    def register(function: F) -> F:
        step = Intervention(
            name=name,
            function=function,
            schema=_settings_class(name, function),
            source=_source_digest(name, function),
            prepare=prepare,
            **functions,
        )
        spec = InterventionSpec(name=name, target=f"{function.__module__}:{function.__qualname__}")
        INTERVENTIONS.add(spec, function)
        function.intervention = step  # type: ignore[attr-defined]
        return function

    return register


def intervention(name: str) -> Intervention:
    """Return a registered step, importing it on first use.

    Raises:
        UnknownNameError: the name is not registered.
    """
    step: Intervention = INTERVENTIONS.load(name).intervention
    return step


def parse_settings(name: str, settings: dict[str, Any], field: str) -> StepSettings:
    """Return the settings of the step at `field` of the experiment as an object.

    Raises:
        ConfigError: with one line for each fault.
    """
    step = intervention(name)
    try:
        return step.parse(settings)
    except ValueError as error:
        raise step.refusal(error, field) from error

"""Secrets in the settings of trackers, which would be written with the settings of a run.

What is given as `${...}` of the environment is written as the expression, so that it may be one.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from model_foundry.config.experiment import ExperimentConfig
from model_foundry.config.fields import leaves

VARIABLE: Final = re.compile(r"(?<!\$)\$\{[^}]*\}")
PASSWORD: Final = re.compile(
    r"[a-z][a-z0-9+._-]*://[^/?#@:]*:(?![0-9]+[/?#])[^@]+@",  # digits alone are a port
    re.IGNORECASE,
)
USER: Final = re.compile(r"https?://[^/?#@:]+@", re.IGNORECASE)  # often a token
WORD: Final = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+(?![a-z])")
SECRET_WORDS: Final = frozenset(
    {
        *("secret", "password", "passwd", "pwd", "passphrase", "credential", "credentials"),
        *("apikey", "authorization"),
    }
)
SECRET_ENDS: Final = (("token",), ("auth",), *((of, "key") for of in ("api", "access", "private")))
"""Last words of names; `max_tokens` and `auth_mode` are none."""


def secret_faults(config: ExperimentConfig) -> Iterator[tuple[str, str]]:
    """Yield the faults of settings of trackers that would write a password or a key."""
    for tracker, section in config.recorded()["tracking"].items():
        if not isinstance(section, dict):
            continue
        uri = VARIABLE.sub("", str(section.get("uri") or ""))
        if PASSWORD.match(uri) or USER.match(uri):
            law = "must not hold a password, which would be written"
            remedy = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment"
            yield f"tracking.{tracker}.uri", f"{law}; set {remedy}"
        for name in _secret_arguments(section.get("arguments")):
            law = "looks like a secret, which would be written"
            remedy = "set the tracker's variable in the environment instead"
            yield f"tracking.{tracker}.arguments.{name}", f"{law}; {remedy}"


def _secret_arguments(arguments: Any) -> Iterator[str]:
    """Yield the dotted names of arguments that look like secrets and are text."""
    for name, value in leaves(arguments):
        is_written = isinstance(value, str) and VARIABLE.sub("", value) != ""
        if is_written and any(map(_is_secret, name.split("."))):
            yield name


def _is_secret(name: str) -> bool:
    words = tuple(word.lower() for word in WORD.findall(name))
    return bool(SECRET_WORDS & {*words}) or any(words[-len(end) :] == end for end in SECRET_ENDS)

"""Registration: settings from signatures, refused signatures, steps of plugins."""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from model_foundry.architectures import load_plugin
from model_foundry.config import INTERVENTIONS, ExperimentConfig
from model_foundry.errors import ConfigError
from model_foundry.interventions import describe, intervention, register_intervention
from model_foundry.interventions.registration import parse_settings
from model_foundry.registry import DuplicateNameError
from tests.interventions.passes import chain_of, taken

PLUGIN = '''
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from model_foundry.interventions import register_intervention

if TYPE_CHECKING:
    from numpy.typing import NDArray


def longest(surveys: NDArray, *, share: float) -> NDArray:
    import numpy as np

    return surveys[:, 0] >= share * np.max(surveys[:, 0])


@register_intervention("outsider", survey=lambda text: (len(text),), plan=longest)
def outsider(text: str, *, index: int, planned: bool, share: Annotated[float, Field(gt=0)] = 0.5
             ) -> str | None:
    """Keep the longer documents, numbered."""
    return f"{index} {text}" if planned else None
'''


@pytest.fixture
def tidy() -> Iterator[None]:
    """Remove the steps that a test registers."""
    before = set(INTERVENTIONS)
    yield
    for name in set(INTERVENTIONS) - before:
        INTERVENTIONS.remove(name)


@pytest.fixture
def outsider(tmp_path: Path, tidy: None) -> Path:
    path = tmp_path / "outside.py"
    path.write_text(PLUGIN, encoding="utf-8")
    load_plugin(path)
    return path


def test_an_experiment_names_each_faulty_step_and_setting() -> None:
    steps: list[Any] = [
        {"step": "replace", "pattern": "a"},
        "lower_case",
        {"step": "replace", "pattern": "(", "bye": ""},
        {"step": "lowercase", "pattern": "a"},
        {"step": "shuffle_words", "how": "window"},
    ]
    with pytest.raises(ValueError, match="interventions") as error:
        ExperimentConfig.model_validate(
            {
                "experiment_name": "one",
                "data": {"train": "corpus.txt", "interventions": steps},
                "model": {"architecture": "lstm", "rnn": {"embedding_size": 4, "hidden_size": 4}},
                "training": {"max_steps": 1},
            }
        )
    for fault in (
        "data.interventions.1.step: Unknown intervention: 'lower_case'; did you mean 'lowercase'?",
        "data.interventions.2.pattern: must be a regular expression",
        "data.interventions.2.bye: unknown key; did you mean 'by'?",
        "data.interventions.3.pattern: unknown key; valid keys here: splits, step",
        "data.interventions.4.window: is required",
    ):
        assert fault in str(error.value)
    assert "data.interventions.0" not in str(error.value)


@pytest.mark.slow
def test_steps_are_known_without_numpy_or_torch(capfd: pytest.CaptureFixture[str]) -> None:
    import subprocess

    code = (
        "import sys; from model_foundry.config import INTERVENTIONS\n"
        "import model_foundry.interventions\n"
        "for name in INTERVENTIONS: INTERVENTIONS.load(name)\n"
        "print([m for m in ('numpy', 'torch', 'spacy', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_step_of_a_plugin(outsider: Path) -> None:
    applied = taken({"step": "outsider", "share": 0.6}, texts=["abcde", "ab", "abc"])
    assert applied.texts == [(0, "0 abcde"), (2, "2 abc")]
    (cache_key,) = chain_of({"step": "outsider"}).cache_key()
    assert cache_key["code"] == hashlib.sha256(outsider.read_bytes()).hexdigest()
    assert cache_key["settings"] == {"share": 0.5}
    assert describe("outsider") == (
        "Keep the longer documents, numbered.\n  share: number (default 0.5)"
    )
    with pytest.raises(ConfigError, match=r"0\.shar: unknown key; did you mean 'share'\?"):
        chain_of({"step": "outsider", "shar": 1.0})
    with pytest.raises(ConfigError, match=r"0\.share: must be > 0, got 0"):
        chain_of({"step": "outsider", "share": 0})


def test_the_function_is_returned_and_its_name_is_taken(tidy: None) -> None:
    def twice(text: str, *, times: int = 2) -> str:
        return text * times

    assert register_intervention("twice")(twice) is twice
    assert intervention("twice").function is twice
    for name in ("twice", "lowercase"):
        with pytest.raises(DuplicateNameError, match=f"'{name}' is already registered"):

            @register_intervention(name)
            def another(text: str) -> str:
                return text


def test_types_of_settings_are_strict_as_far_as_json_has_them(tidy: None) -> None:
    @register_intervention("typed")
    def typed(
        text: str,
        *,
        pair: tuple[int, int],
        path: Path = Path("a"),
        rate: float = 1.0,
        kind: Literal["x", "y"] = "x",
    ) -> str:
        return text

    parsed: Any = parse_settings("typed", {"pair": [1, 2], "path": "b/c", "rate": 2}, "here")
    assert (parsed.pair, parsed.path, parsed.rate, parsed.kind) == ((1, 2), Path("b/c"), 2.0, "x")
    with pytest.raises(ConfigError) as error:
        parse_settings("typed", {"pair": [True, 2], "rate": "2", "kind": "z"}, "here")
    assert str(error.value).splitlines() == [
        "here.pair.0: must be an integer, got true",
        "here.rate: must be a number, got '2' (text); write it without quotes",
        "here.kind: must be one of 'x', 'y', got 'z'",
    ]


def test_incomplete_signatures_are_refused(tidy: None) -> None:
    def positional(text: str, pattern: str) -> str:
        return text

    def bare(text: str, *, pattern="a") -> str:  # type: ignore[no-untyped-def]
        return text

    def any_keyword(text: str, **settings: str) -> str:
        return text

    def taken_key(text: str, *, splits: str) -> str:
        return text

    for function in (positional, any_keyword, taken_key):
        with pytest.raises(TypeError, match="after the text come keyword-only parameters"):
            register_intervention("open")(function)
    with pytest.raises(TypeError, match="'pattern' needs an annotation"):
        register_intervention("open")(bare)
    with pytest.raises(TypeError, match="survey= and plan= go together"):
        register_intervention("open", survey=lambda text: (1,))
    with pytest.raises(TypeError, match="letters, digits"):
        register_intervention("a b")


def test_a_function_without_a_file_is_refused(tidy: None) -> None:
    scope: dict[str, Any] = {"__name__": "nowhere"}
    source = compile("def lost(text: str) -> str:\n    return text\n", "<nowhere>", "exec")
    exec(source, scope)
    with pytest.raises(TypeError, match="must be a function in a file"):
        register_intervention("lost")(scope["lost"])

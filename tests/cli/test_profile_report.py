"""The profile of a command is printed when it is ready."""

from pathlib import Path
from typing import Any

import pytest

from model_foundry.cli.profile_report import begin_profile, print_profile
from model_foundry.training.profiler.function_profile import FunctionProfile
from model_foundry.training.profiler.profile import Profile
from tests.experiments import tiny_experiment


class Lines:
    """A report of two lines."""

    def lines(self) -> Any:
        yield from ("one", "two")


def test_it_is_printed_when_it_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = begin_profile(tiny_experiment("gpt2", tmp_path), wanted=True)
    assert isinstance(profile, Profile)
    assert profile.directory == tmp_path / "run" / "diagnostics"
    profile.announce(Lines())
    assert capsys.readouterr().out == "one\ntwo\n"
    assert profile.announce is print_profile


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize(
    ("kind", "cls"), [("simple", Profile), ("advanced", FunctionProfile), ("torch", Profile)]
)
def test_the_experiment_names_the_kind(kind: str, cls: type, wanted: bool, tmp_path: Path) -> None:
    config = tiny_experiment("gpt2", tmp_path, f"debug.profiler={kind}")
    profile = begin_profile(config, wanted=wanted)
    assert type(profile) is cls
    assert (profile.directory is None) is (kind == "simple")


def test_none_is_made_unasked(tmp_path: Path) -> None:
    assert begin_profile(tiny_experiment("gpt2", tmp_path), wanted=False) is None

"""A `~` is the home directory at the beginning of a path, and a name anywhere else."""

from pathlib import Path
from typing import Any

import pytest

from model_foundry.architectures import load_plugin
from model_foundry.config import load_config, save_config
from model_foundry.config.files import validate
from model_foundry.data.sources.paths import resolve_files
from model_foundry.errors import ConfigError, DataError
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.foundation.paths import written_path
from model_foundry.model import find_model
from model_foundry.tokenizer.loading import load_tokenizer

MODEL = {"architecture": "rnn", "rnn": {"embedding_size": 4, "hidden_size": 4}}
# An experiment with a path in one place, and where it is found again.
PLACES: list[tuple[str, Any]] = [
    ("output_dir", lambda path: path),
    ("data.cache_dir", lambda path: path),
    ("data.train", lambda path: path),
    ("data.train", lambda path: ["a.txt", path]),
    ("data.train", lambda path: {"disk": path}),
    ("data.train", lambda path: {"hub": path}),
    ("data.train", lambda path: {"mixture": [{"source": path}]}),
    ("data.train", lambda path: {"mixture": [{"source": {"disk": path}}]}),
    ("data.validation", lambda path: path),
    ("data.test", lambda path: [path]),
    ("tokenizer.path", lambda path: path),
]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    (home / "~").mkdir(parents=True)
    (tmp_path / "here/~").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path / "here")
    return home


def with_path(place: str, made: Any, path: str) -> dict[str, Any]:
    raw: dict[str, Any] = {
        "experiment_name": "one",
        "data": {"train": "a.txt"},
        "model": MODEL,
        "training": {"max_steps": 1},
    }
    section, _, key = place.rpartition(".")
    (raw.setdefault(section, {}) if section else raw)[key] = made(path)
    return raw


@pytest.mark.parametrize(("place", "made"), PLACES)
@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("~/x", "{home}/x"),
        ("~/~/x", "{home}/~/x"),
        ("./~/x", "{here}/~/x"),
        ("runs/~/x", "runs/~/x"),
        ("x~", "x~"),
    ],
)
def test_every_field_means_what_was_written(
    place: str, made: Any, written: str, meant: str, home: Path
) -> None:
    config = validate(with_path(place, made, written), "file")
    meant = meant.format(home=home, here=Path.cwd())
    expected = validate(with_path(place, made, meant), "file")
    assert config == expected
    saved = save_config(config)
    assert meant in saved
    Path("saved.yaml").write_text(saved)
    assert load_config("./saved.yaml") == config


@pytest.mark.parametrize(("place", "made"), PLACES)
def test_an_unknown_home_is_refused_wherever_it_stands(place: str, made: Any) -> None:
    with pytest.raises(ConfigError, match="must not begin with an unknown home"):
        validate(with_path(place, made, "~nobody-has-this-name/x"), "file")


def test_a_user_may_be_named() -> None:
    pwd = pytest.importorskip("pwd")
    root = pwd.getpwuid(0)
    assert written_path(f"~{root.pw_name}/x") == f"{root.pw_dir}/x"


def test_all_that_take_a_path_from_python_do_so_alike(home: Path) -> None:
    for folder in (home, Path("~")):
        (folder / "a.txt").write_text("text")
        (folder / "plugin.py").write_text(f"PLACE = {str(folder)!r}\n")
    assert resolve_files("~/a.txt") == [home / "a.txt"]
    assert resolve_files("./~/a.txt") == [Path.cwd() / "~/a.txt"]
    assert load_plugin(Path("~/plugin.py")) != load_plugin("./~/plugin.py")
    assert RunDirectory("~/runs/x").path == home / "runs/x"
    for path in ("~/no", "~nobody-has-this-name/no"):
        with pytest.raises(ConfigError, match=r"no such|no known home"):
            load_config(f"{path}.yaml")
        with pytest.raises(ConfigError, match=r"no such|no known home"):
            find_model(path)
        with pytest.raises(DataError, match=r"no such|no known home"):
            load_tokenizer(path)
        with pytest.raises(ConfigError, match=r"no such|no known home"):
            load_plugin(f"{path}.py")


def test_a_name_that_the_locale_lacks_is_told_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.fsencode", lambda name: name.encode("ascii"))
    with pytest.raises(ConfigError, match=r"made of what the locale has \(ascii\); set PYTHONUTF8"):
        validate(with_path("output_dir", lambda path: path, "\u00f6"), "file")

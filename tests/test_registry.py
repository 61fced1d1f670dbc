"""Registries: refused, suggested and announced names."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

from model_foundry.config import OPTIMIZERS
from model_foundry.errors import ConfigError
from model_foundry.foundation.plugins import load_plugin
from model_foundry.registry import (
    DuplicateNameError,
    Registry,
    UnknownNameError,
    load_target,
    nearest,
)


@dataclass(frozen=True)
class Shape:
    name: str
    target: str = "math:pi"


def shapes(*names: str) -> Registry[Shape]:
    return Registry("shape", tuple(map(Shape, names)), entry_points="model_foundry.no_such_group")


def test_names_are_found_and_come_sorted() -> None:
    registry = shapes("square", "circle")
    assert list(registry) == ["circle", "square"]
    assert len(registry) == 2
    assert registry["square"] == Shape("square")
    assert "circle" in registry and "line" not in registry


def test_the_message_of_an_unknown_name_lists_the_nearest_and_all() -> None:
    with pytest.raises(UnknownNameError) as caught:
        shapes("square", "circle")["sqaure"]
    assert str(caught.value) == (
        "Unknown shape: 'sqaure'; did you mean 'square'? Available: circle, square; "
        "others come with --plugin FILE.py, in Python with load_plugin('FILE.py')."
    )


def test_the_nearest_name_is_found_in_any_case() -> None:
    for given, near in (("SQUARE", "square"), ("Ring", "Rings")):
        with pytest.raises(UnknownNameError, match=f"did you mean '{near}'"):
            shapes("square", "Rings")[given]


def test_nothing_is_suggested_where_nothing_is_similar() -> None:
    assert nearest("xyz", ["square", "circle"]) is None
    with pytest.raises(UnknownNameError, match=r"^Unknown shape: 'xyz'\. Available"):
        shapes("square")["xyz"]


def test_a_name_is_given_once() -> None:
    registry = shapes("square")
    with pytest.raises(
        DuplicateNameError, match="'square' is already registered, for math:pi; m:x"
    ):
        registry.add(Shape("square", "m:x"))
    assert registry["square"].target == "math:pi"


def test_two_plugins_with_one_name_are_both_named(tmp_path: Path) -> None:
    lines = "from model_foundry.training.optimizer import register_optimizer"
    for name in ("one.py", "two.py"):
        function = f"def of_{name[:3]}(groups, training):\n    return {name[:3]!r}\n"
        (tmp_path / name).write_text(f"{lines}\n@register_optimizer('rolls')\n{function}")
    load_plugin(tmp_path / "one.py")
    try:
        with pytest.raises(ConfigError) as caught:
            load_plugin(tmp_path / "two.py")
    finally:
        OPTIMIZERS.remove("rolls")
    both = f"for of_one in {tmp_path / 'one.py'}; of_two in {tmp_path / 'two.py'} needs another"
    assert both in str(caught.value)
    assert str(caught.value).startswith(f"plugin {tmp_path / 'two.py'}:2: Optimizer 'rolls' is alr")


def test_the_same_spec_may_come_twice() -> None:
    registry = shapes("square")
    registry.add(Shape("square"))
    assert len(registry) == 1


def test_the_implementation_is_imported_when_it_is_asked_for() -> None:
    registry = shapes("square")
    registry.add(Shape("lazy", "model_foundry.no_such_module:Class"))
    assert registry.load("square") == load_target("math:pi")
    with pytest.raises(ModuleNotFoundError):
        registry.load("lazy")


def test_an_implementation_at_hand_is_not_imported() -> None:
    registry = shapes()
    registry.add(Shape("mine", "nowhere:nothing"), implementation="here")
    assert registry.load("mine") == "here"


def test_what_was_removed_is_unknown_and_its_name_free() -> None:
    registry = shapes("square")
    registry.add(Shape("mine"), implementation="here")
    registry.remove("mine")
    assert "mine" not in registry
    registry.add(Shape("mine", "math:e"))
    assert registry.load("mine") == load_target("math:e")
    with pytest.raises(UnknownNameError):
        registry.remove("never")


@pytest.fixture
def foreign_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An installed package that announces the shape `star`; the name of its module."""
    module, information = "foreign_shapes_for_a_test", tmp_path / "foreign_shapes-1.dist-info"
    (tmp_path / f"{module}.py").write_text(
        f"from {__name__} import SHAPES, Shape\nSHAPES.add(Shape('star'))\n"
    )
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: foreign-shapes\nVersion: 1\n"
    )
    (information / "entry_points.txt").write_text(f"[shapes_of_a_test]\nstar = {module}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield module
    sys.modules.pop(module, None)


SHAPES: Registry[Shape] = Registry("shape", (Shape("square"),), entry_points="shapes_of_a_test")


def test_another_package_is_loaded_only_for_its_name(foreign_package: str) -> None:
    assert [point.name for point in metadata.entry_points(group="shapes_of_a_test")] == ["star"]
    assert list(SHAPES) == ["square", "star"]
    assert SHAPES["square"] and "star" in SHAPES
    assert foreign_package not in sys.modules
    assert SHAPES["star"] == Shape("star")
    assert foreign_package in sys.modules

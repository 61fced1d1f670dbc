"""Overrides that set, add and remove, on plain data."""

from typing import Any

import pytest

from model_foundry.config.layers import Layer
from model_foundry.config.origins import OVERRIDE, Origin
from model_foundry.config.overrides import apply_override, parse_override
from model_foundry.errors import ConfigError

LINE = Origin(kind="file", file="a.yaml", line=1, column=1)


def changed(data: dict[str, Any], *overrides: str) -> dict[str, Any]:
    layer = Layer(data)
    for text in overrides:
        apply_override(layer, parse_override(text))
    return layer.data


@pytest.mark.parametrize(
    ("text", "action", "name", "value"),
    [
        ("a.b=1", "set", "a.b", 1),
        (" a =x=y", "set", "a", "x=y"),
        ("a=", "set", "a", None),
        ("+a.b=[1]", "add", "a.b", [1]),
        ("~a.b", "remove", "a.b", None),
        ("a=~b", "set", "a", "~b"),
    ],
)
def test_an_override_says_what_it_does_with_which_key(text, action, name, value):
    override = parse_override(text)
    assert (override.action, override.name, override.value) == (action, name, value)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["a.b=1"], {"a": {"b": 1}, "list": ["x"]}),
        (["list=y"], {"list": "y"}),
        (["+list=y"], {"list": ["x", "y"]}),
        (["+list=[y, z]"], {"list": ["x", "y", "z"]}),
        (["+list={b: 1}"], {"list": ["x", {"b": 1}]}),
        (["+a={b: 1}", "+a={c: 2}", "+a.d=3"], {"list": ["x"], "a": {"b": 1, "c": 2, "d": 3}}),
        (["~list"], {}),
        (["a.b=1", "~a.b"], {"list": ["x"], "a": {}}),
        (["~list", "+list=[y]"], {"list": ["y"]}),
    ],
)
def test_it_changes_the_data(overrides, expected):
    assert changed({"list": ["x"]}, *overrides) == expected


def test_an_entry_is_added_to_a_list_that_is_not_given():
    data = changed({}, "+training.metrics=loss", "+data.interventions={step: lowercase}")
    assert data["training"]["metrics"] == ["loss"]
    assert data["data"]["interventions"] == [{"step": "lowercase"}]
    assert changed({}, "+data.train=a.txt")["data"]["train"] == "a.txt"  # may be a path, too
    assert changed({"seed": None}, "+seed=3")["seed"] == 3


def test_what_is_there_is_not_added_again():
    with pytest.raises(ConfigError, match="'x' is in list already; leave it out"):
        changed({"list": ["x"]}, "+list=x")


def test_origins_follow():
    given = dict.fromkeys(("a", "a.b", "list", "list.0", "seed"), LINE)
    layer = Layer({"a": {"b": 1}, "list": ["x"], "seed": 3}, given)
    for text in ("+list={c: 1}", "~a.b", "seed.init=4", "+a.d=5"):
        apply_override(layer, parse_override(text))
    new = dict.fromkeys(("list.1", "list.1.c", "seed.init", "a.d"), OVERRIDE)
    old = dict.fromkeys(("a", "list", "list.0", "seed", "seed.data", "seed.dropout"), LINE)
    assert layer.given == {**new, **old}

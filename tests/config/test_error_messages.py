"""Messages about sources of two kinds, and of none."""

import pytest

from model_foundry.config.shipped import shipped_configs
from tests.config.conftest import Foundry

REPLACE = "a source has one kind, and another is given; write data.train={hub: ...} to replace it"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.train.hub=a/b", f"data.train.hub: {REPLACE}"),
        ("+data.train={hub: a/b}", f"data.train.hub: {REPLACE}"),
        ("data.train.name=x", "data.train.name: is a setting of another kind of source; drop it"),
        ("~data.train.language", "data.train: names no source; give a path, or a kind with its"),
    ],
)
def test_a_source_has_one_kind(override: str, message: str, foundry: Foundry) -> None:
    ended = foundry("validate", str(shipped_configs() / "tiny_gpt2.yaml"), override)
    assert ended.code == 2
    assert [message in line for line in ended.faults] == [True], ended.err

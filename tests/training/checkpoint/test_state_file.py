"""`state.json` of a checkpoint: what is not what this version writes is refused by name."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from model_foundry.errors import CheckpointError
from model_foundry.training.checkpoint.state_file import read_state, write_state
from tests.training.checkpoint.test_save_load import made


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made("rnn").save(tmp_path_factory.mktemp("saved") / "step-00000003")


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / saved.name))


def test_a_gradient_scaler_gets_its_state_back_type_by_type(copied: Path) -> None:
    """torch takes no float for the number of steps between two growths."""
    state = torch.amp.GradScaler("cpu").state_dict()
    write_state(copied, read_state(copied).model_copy(update={"scaler": state}))
    found = read_state(copied).scaler
    assert found == state and {k: type(v) for k, v in (found or {}).items()} == {
        k: type(v) for k, v in state.items()
    }


NUMBERS = ["step", "examples_seen", "seen.tokens", "evaluations_since_best", "best.step"]
FORGED = {
    **{
        f"counters.{name}={value}": rf"counters\.{name}: "
        for name in NUMBERS
        for value in ("-1", "1e400", "3.0", '"3"', "true", "null", "[3]")
    },
    **{
        f"counters.best.value={value}": r"counters\.best\.value: "
        for value in ("1e400", "NaN", "-Infinity", '"1.5"', "false")
    },
    "counters.best.metric=7": r"counters\.best\.metric: ",
    "counters.best.luck=1": r"counters\.best\.luck: unknown",
    "counters.best=1.5": r"counters\.best: ",
    "counters.seen=7": r"counters\.seen: ",
    "train_metrics=[7]": r"train_metrics\.0: ",
    "counters.evaluated_step=-1": r"counters\.evaluated_step: ",
    "counters.luck=1": r"counters\.luck: unknown",
    "luck=1": "luck: unknown",
    "counters.step=4": "is of step 4, but its directory is of another",
    "counters.examples_seen=25": "25 examples do not make its steps",
    "identity.examples_per_step=9": "24 examples do not make its steps",
    "identity.examples_per_step=0": r"identity\.examples_per_step: ",
    "identity.total_steps=-1": r"identity\.total_steps: ",
    "identity.content=[]": r"identity\.content: ",
    "format=1": "has the format 1, and this version reads 3",
    "format=2": "has the format 2, and this version reads 3",
    "format=null": "has the format None",
    "run_id=7": "run_id: ",
    'attempt="1"': "attempt: ",
    "milestone=0": "milestone: ",
    "random=[]": "random: ",
    "counters=null": "counters: ",
}


def set_field(state: dict[str, Any], field: str, value: Any) -> None:
    *above, last = field.split(".")
    for name in above:
        state = state[name]
    state[last] = value


@pytest.mark.parametrize("edit", sorted(FORGED))
def test_a_state_that_was_edited_by_hand_is_refused(edit: str, copied: Path) -> None:
    path = copied / "state.json"
    state = json.loads(path.read_text())
    field, value = edit.split("=")
    set_field(state, field, json.loads(value))
    text = json.dumps(state).replace("Infinity", "1e400" if "1e400" in value else "Infinity")
    path.write_text(text)
    with pytest.raises(CheckpointError, match=rf"state\.json: {FORGED[edit]}"):
        read_state(copied)


@pytest.mark.parametrize("name", ["format", "counters", "identity", "random", "run_id", "scaler"])
def test_a_state_that_lacks_a_field_is_refused(name: str, copied: Path) -> None:
    state = json.loads((copied / "state.json").read_text())
    del state[name]
    (copied / "state.json").write_text(json.dumps(state))
    with pytest.raises(CheckpointError, match=name):
        read_state(copied)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b"null", b"\xff", b"[" * 10**5])
def test_a_state_that_is_none_is_refused(content: bytes, copied: Path) -> None:
    (copied / "state.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"state\.json: "):
        read_state(copied)

"""Changes between two starts of a run: allowed, or refused with a table."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

import model_foundry.experiment.resume
from model_foundry import train
from model_foundry.architectures import load_plugin
from model_foundry.doctor.same_run import differences
from model_foundry.errors import LockedError, ResumeError
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.foundation.failpoints import watching
from model_foundry.training.run_fingerprint import as_settings, changed_settings
from tests.children import STOPPED, Fault, in_child, train_in_child, train_with
from tests.experiments import snapshot, three_passes, tiny_experiment
from tests.foundation.test_atomic_files import reseal

pytestmark = pytest.mark.slow

KIND = "gpt2"
OTHER_RUN = 5


class Place:
    """A run that stopped after step 10, one that did not stop, and what they were made from."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.settings = three_passes(directory)
        self.whole = directory / "whole" / "run"
        train_in_child(KIND, self.whole.parent, *self.settings, code=0)
        self.stopped = directory / "stopped" / "run"
        fault = Fault("step 10 made", signal=15)
        train_in_child(KIND, self.stopped.parent, *self.settings, fault=fault, code=STOPPED)

    def but_for(self, section: str) -> list[str]:
        """Return the settings without those that begin with `section`."""
        return [each for each in self.settings if not each.startswith(section)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("changes"))


@pytest.fixture
def stopped(place: Place, tmp_path: Path) -> Path:
    """The directory of a run that stopped, and of nothing else."""
    shutil.copytree(place.stopped, tmp_path / "run")
    return tmp_path


@pytest.fixture
def text(place: Place, tmp_path: Path) -> Path:
    """The training text, to be changed."""
    return shutil.copy2(place.directory / "corpus.txt", tmp_path / "text.txt")


def refused(place: Place, directory: Path, *overrides: str, **options: Any) -> list[str]:
    """Start the run again, which must be refused without a change; return the table."""
    before = snapshot(directory / "run")
    with pytest.raises(ResumeError) as error:
        train(tiny_experiment(KIND, directory, *place.settings, *overrides), **options)
    assert error.value.exit_code == OTHER_RUN
    assert snapshot(directory / "run") == before
    first, *table = str(error.value).split("\n")
    assert first.startswith(f"output_dir: {directory / 'run'} holds a run ")
    assert all(line.startswith("  ") for line in table)
    return [line.strip() for line in table]


def resume(place: Place, directory: Path, *overrides: str, **options: Any) -> str:
    """Start the run again, which must resume and end; return its messages."""
    stderr = train_in_child(KIND, directory, *place.settings, *overrides, code=0, **options).stderr
    assert "attempt 2 resumes from " in stderr
    return stderr


def is_the_same_model(place: Place, directory: Path) -> bool:
    name = "model.safetensors"
    weights = [(run / "model" / name).read_bytes() for run in (place.whole, directory / "run")]
    return weights[0] == weights[1]


# --- refused --------------------------------------------------------------------------------------

CHANGES = {
    "seed=1": ["seed.data: 42 -> 1", "seed.dropout: 42 -> 1", "seed.init: 42 -> 1"],
    "seed={dropout: 7}": ["seed.dropout: 42 -> 7"],
    "data.max_sequence_length=32": [
        "data.max_sequence_length: 16 -> 32",
        "model.transformer.max_position_embeddings: 16 -> 32",
    ],
    "data.content_tokens=13": ["data.content_tokens: 14 -> 13"],
    "data.document=paragraph": ["data.document: line -> paragraph"],
    "tokenizer.tokenizer_type=bpe": ["tokenizer.tokenizer_type: character -> bpe"],
    "tokenizer.vocab_size=290": ["tokenizer.vocab_size: "],
    "model.transformer.hidden_size=16": [
        "model.transformer.embedding_size: 32 -> 16",
        "model.transformer.hidden_size: 32 -> 16",
        "model.transformer.intermediate_hidden_size: 128 -> 64",
    ],
    "model.transformer.layers=3": ["model.transformer.layers: 2 -> 3"],
    "model.transformer.dropout=0.2": ["model.transformer.dropout: 0.1 -> 0.2"],
    "training.learning_rate=0.02": ["training.learning_rate: 0.01 -> 0.02"],
    "training.lr_scheduler_type=linear": ["training.lr_scheduler_type: cosine -> linear"],
    "training.warmup_steps=3": ["training.warmup_steps: 2 -> 3"],
    "training.weight_decay=0.0": ["training.weight_decay: 0.1 -> 0.0"],
    "training.adam_beta2=0.95": ["training.adam_beta2: 0.999 -> 0.95"],
    "training.max_grad_norm=null": ["training.max_grad_norm: 1.0 -> None"],
    "training.max_grad_value=0.5": [
        "training.max_grad_norm: 1.0 -> None",
        "training.max_grad_value: None -> 0.5",
    ],
    "training.optimizer=radam": ["training.optimizer: adamw -> radam"],
    "training.mixed_precision=bf16": ["training.mixed_precision: no -> bf16"],
    "training.per_device_train_batch_size=3": ["examples in one step: 6 -> 9"],
    "training.gradient_accumulation_steps=1": ["examples in one step: 6 -> 2"],
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_experiment_is_refused(change: str, place: Place, stopped: Path) -> None:
    table = refused(place, stopped, change)
    assert len(table) == len(CHANGES[change])
    for line, start in zip(table, CHANGES[change], strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize("kind", ["bert", "lstm"])
def test_another_architecture_is_refused(kind: str, place: Place, stopped: Path) -> None:
    with pytest.raises(ResumeError) as error:
        train(tiny_experiment(kind, stopped, *place.settings))
    table = str(error.value).split("\n")
    assert f"  model.architecture: gpt2 -> {kind}" in table
    assert ("  training.objective: causal_lm -> masked_lm" in table) == (kind == "bert")


def test_all_changes_are_reported_at_once(place: Place, stopped: Path) -> None:
    table = refused(place, stopped, "training.warmup_steps=3", "training.learning_rate=0.02")
    assert [line.split(":")[0] for line in table] == [
        "training.learning_rate",
        "training.warmup_steps",
    ]


# --- text -----------------------------------------------------------------------------------------


def edit_in_place(path: Path) -> None:
    """Change one letter, and neither the size nor the time of change."""
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"t", b"d", 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def append(path: Path) -> None:
    path.write_text(path.read_text() + "the cat\n")


def reorder(path: Path) -> None:
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))


@pytest.mark.parametrize("change", [edit_in_place, append, reorder])
def test_changed_text_is_refused(
    change: Callable[[Path], None], place: Place, stopped: Path, text: Path
) -> None:
    change(text)
    (line,) = refused(place, stopped, f"data.train={text}")
    assert line.startswith("training text: SHA-256 ")


def test_changed_held_out_text_is_refused(place: Place, stopped: Path, text: Path) -> None:
    (line,) = refused(place, stopped, f"data.validation={text}")
    assert line.startswith("validation text: SHA-256 ")


def test_the_same_text_under_another_name_is_the_same_run(
    place: Place, stopped: Path, text: Path
) -> None:
    resume(place, stopped, f"data.train={text}")
    assert differences(place.whole, stopped / "run") == []


# --- tokenizer ------------------------------------------------------------------------------------


@pytest.fixture
def with_own_tokenizer(place: Place, tmp_path: Path) -> tuple[str, Path]:
    """A run whose tokenizer is named, stopped after step 3; the override, and the tokenizer."""
    tokenizer = tmp_path / "own-tokenizer"
    shutil.copytree(place.whole / "tokenizer", tokenizer)
    override = f"tokenizer={{path: {tokenizer}}}"
    plain, fault = place.but_for("tokenizer."), Fault("step 3 made", signal=15)
    train_in_child(KIND, tmp_path, *plain, override, fault=fault, code=STOPPED)
    return override, tokenizer


def permute_ids(state: dict[str, Any]) -> None:
    """Swap the ids of two letters."""
    vocabulary = state["model"]["vocab"]
    letters = [token for token in vocabulary if len(token) == 1 and token.isalpha()]
    one, other = sorted(letters)[:2]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]


def lower_case(state: dict[str, Any]) -> None:
    state["normalizer"] = {"type": "Lowercase"}


@pytest.mark.parametrize("change", [permute_ids, lower_case])
def test_another_tokenizer_of_the_same_size_is_refused(
    change: Callable[[dict[str, Any]], None],
    with_own_tokenizer: tuple[str, Path],
    place: Place,
    tmp_path: Path,
) -> None:
    override, tokenizer = with_own_tokenizer
    path = tokenizer / "tokenizer.json"
    state = json.loads(path.read_text())
    size = Tokenizer.from_file(str(path)).get_vocab_size()
    change(state)
    text = json.dumps(state)
    assert Tokenizer.from_str(text).get_vocab_size() == size
    path.write_text(text)
    reseal(tokenizer)
    with pytest.raises(ResumeError, match=r"\n  tokenizer: SHA-256 \w+ -> SHA-256 \w+$"):
        train(tiny_experiment(KIND, tmp_path, *place.but_for("tokenizer."), override))


def test_the_same_tokenizer_elsewhere_is_the_same_run(
    with_own_tokenizer: tuple[str, Path], place: Place, tmp_path: Path
) -> None:
    _, tokenizer = with_own_tokenizer
    moved = tokenizer.rename(tmp_path / "moved")
    override = f"tokenizer={{path: {moved}}}"
    train_in_child(KIND, tmp_path, *place.but_for("tokenizer."), override, code=0)
    assert is_the_same_model(place, tmp_path)


# --- allowed --------------------------------------------------------------------------------------


def test_settings_that_only_watch_may_change(place: Place, stopped: Path) -> None:
    watching = (
        "experiment_name=renamed",
        f"data.cache_dir={stopped / 'cache'}",
        "training.logging_steps=5",
        "training.eval_steps=7",
        "training.save_steps=1",
        "training.save_total_limit=2",
        "training.milestones={steps: [12]}",
        "training.dataloader_num_workers=1",
        "training.per_device_eval_batch_size=2",
    )
    resume(place, stopped, *watching)
    assert is_the_same_model(place, stopped)


@pytest.mark.parametrize("move", [False, True])
def test_a_run_that_was_moved_resume(move: bool, place: Place, stopped: Path) -> None:
    if move:
        (stopped / "elsewhere").mkdir()
        (stopped / "run").rename(stopped / "elsewhere" / "run")
        stopped /= "elsewhere"
    assert "bit for bit" not in resume(place, stopped)
    assert differences(place.whole, stopped / "run") == []


def test_another_cut_into_micro_batches_warns_of_the_last_bits(place: Place, stopped: Path) -> None:
    cut = ("training.per_device_train_batch_size=3", "training.gradient_accumulation_steps=2")
    stderr = resume(place, stopped, *cut)
    (line,) = [line for line in stderr.splitlines() if "bit for bit" in line]
    assert "training.per_device_train_batch_size: 2 -> 3" in line
    assert "training.gradient_accumulation_steps: 3 -> 2" in line
    digests = [
        [x["train/batch_digest"] for x in map(json.loads, lines) if "train/batch_digest" in x]
        for run in (place.whole, stopped / "run")
        for lines in [(run / "metrics.jsonl").read_text().splitlines()]
    ]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("state", ["stopped", "whole"])
def test_a_longer_run_needs_extend(state: str, place: Place, tmp_path: Path) -> None:
    shutil.copytree(getattr(place, state), tmp_path / "run")
    longer = "training.max_steps=24"
    assert refused(place, tmp_path, longer) == ["optimizer steps: 18 -> 24"]
    assert refused(place, tmp_path, "training.learning_rate=0.02")
    stderr = resume(place, tmp_path, longer, extend=True)
    last = {"stopped": 10, "whole": 18}[state]
    assert f"extended from 18 to 24 steps: the learning rate after step {last} is " in stderr
    status = RunDirectory(tmp_path / "run").status()
    assert status is not None and (status.state, status.step) == ("completed", 24)


def test_a_shorter_run_is_refused_even_then(place: Place, stopped: Path) -> None:
    for extend in (False, True):
        table = refused(place, stopped, "training.max_steps=12", extend=extend)
        assert table == ["optimizer steps: 18 -> 12"]


def test_epochs_that_come_to_the_same_steps_are_the_same_length(place: Place) -> None:
    steps = tiny_experiment(KIND, place.directory, *place.settings)
    plain, length = place.but_for("training.max_steps"), "training.epochs=3"
    epochs = tiny_experiment(KIND, place.directory, *plain, "training.max_steps=null", length)
    assert changed_settings(as_settings(steps), as_settings(epochs)) == []


# --- the machine, and the code --------------------------------------------------------------------


def test_another_number_of_threads_warns(place: Place, stopped: Path) -> None:
    stderr = resume(place, stopped, threads=2)
    (line,) = [line for line in stderr.splitlines() if "bit for bit" in line]
    assert line.endswith("(saved -> now): threads: 1 -> 2")


def test_other_versions_and_another_device_warn(place: Place, stopped: Path) -> None:
    stderr = in_child(train_elsewhere, stopped, place.settings, code=0).stderr
    (line,) = [line for line in stderr.splitlines() if "bit for bit" in line]
    assert " -> cuda (another)" in line and "torch: " in line and " -> 99.0" in line


def train_elsewhere(directory: Path, settings: tuple[str, ...]) -> None:
    facts = model_foundry.experiment.resume.environment
    other = {"torch": "99.0", "device": "cuda (another)"}
    model_foundry.experiment.resume.environment = lambda device: facts(device) | other
    train_with(KIND, directory, settings, None, {})


def test_a_plugin_that_changed_is_refused(place: Place, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text("FIRST = 1\n")
    arguments = (train_with_plugin, plugin, tmp_path, place.settings)
    in_child(*arguments, True, code=STOPPED)
    plugin.write_text("SECOND = 2\n")
    assert "plugin plugin.py: SHA-256 " in in_child(*arguments, False, code=OTHER_RUN).stderr
    plugin.write_text("FIRST = 1\n")
    in_child(*arguments, False, code=0)


def test_lines_that_the_log_has_lost_are_reported(place: Place, stopped: Path) -> None:
    log = stopped / "run" / "metrics.jsonl"
    copy = Path(shutil.copytree(stopped, stopped.with_name("copy")))
    assert "were written" not in resume(place, copy)
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:1] + lines[2:]))
    stderr = resume(place, stopped)
    assert f"has {len(lines) - 1} lines up to step" in stderr and f"but {len(lines)} were" in stderr


@pytest.mark.parametrize("how", ["moved", "deleted", "taken over"])
def test_a_run_whose_directory_is_lost_writes_nothing_more_there(how: str, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def lose(point: str) -> None:
        if point != "step 3 made":
            return
        run.rename(tmp_path / "elsewhere")
        if how == "deleted":
            shutil.rmtree(tmp_path / "elsewhere")
        elif how == "taken over":
            run.mkdir()
            (run / ".lock").write_text("another")

    with watching(lose), pytest.raises(LockedError, match="moved, deleted or taken over"):
        train(tiny_experiment("gpt2", tmp_path, "training.save_steps=1"))
    assert [path.name for path in run.rglob("*")] == ([".lock"] if how == "taken over" else [])


def train_with_plugin(plugin: Path, directory: Path, settings: tuple[str, ...], stop: bool) -> None:
    load_plugin(plugin)
    fault = Fault("step 3 made", signal=15) if stop else None
    train_with(KIND, directory, settings, fault, {})

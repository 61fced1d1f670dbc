"""Transforms: values by hand and by NumPy, draws that follow from the record, wiring, mistakes.

That a run with them is resumed and divided as any other is tested in `tests/test_task_runs.py`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model_foundry.architectures import ModelOutput
from model_foundry.config import TRANSFORMS, ExperimentConfig, Section
from model_foundry.data.batches.examples import Examples, Key, Ragged
from model_foundry.data_collators import PaddingCollator
from model_foundry.errors import ConfigError
from model_foundry.foundation.plugins import load_plugin
from model_foundry.model import create_model
from model_foundry.objectives import ForwardPass, register_transform
from model_foundry.objectives.measure import Metrics
from model_foundry.objectives.preparation import objective_of, prepare
from model_foundry.objectives.tensor_transforms import (
    add_noise,
    normalize,
    random_shift,
    token_dropout,
)
from model_foundry.objectives.transforms import Transformed, transforms_of
from model_foundry.objectives.trial import check_task
from tests.experiments import tiny_experiment
from tests.task_runs import foundry, task, tasks_loaded, write_data, write_task

IMAGES = torch.arange(8 * 1 * 4 * 5, dtype=torch.float32).view(8, 1, 4, 5)
NOISE = "training.transforms=[{add_noise: {deviation: 0.5, keys: {values: features}}}]"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory with data, while the tasks of `tests/tasks.py` are known."""
    write_data(tmp_path)
    with tasks_loaded():
        yield tmp_path


def config_with(place: Path, transforms: list[dict[str, Any]]) -> ExperimentConfig:
    config = task("arrays", place)
    config.training.transforms = transforms
    return config


def batch_of(
    transforms: list[dict[str, Any]], columns: dict[str, Any], keys: list[Key], seed: int = 0
) -> dict[str, Tensor]:
    """Return the columns of examples as a batch, with transforms."""
    experiment = tiny_experiment("gpt2", Path("nowhere"))
    experiment.training.transforms = transforms
    collate = Transformed(PaddingCollator(), transforms_of(experiment), seed)
    return collate(Examples(keys=keys, columns=columns, counts={}))


def shifted(keys: list[Key], seed: int = 0, pixels: int = 2) -> Tensor:
    step = {"random_shift": {"pixels": pixels, "keys": {"values": "pixel_values"}}}
    columns = {"pixel_values": IMAGES.numpy()[[index for _, index in keys]]}
    return batch_of([step], columns, keys, seed)["pixel_values"]


def test_a_shift_is_one_of_those_that_numpy_makes_and_all_of_them_occur() -> None:
    image, seen = IMAGES[3], set[tuple[int, int]]()
    padded = np.pad(image.numpy(), ((0, 0), (2, 2), (2, 2)), mode="edge")
    windows = {
        (down, right): padded[:, 2 - down : 6 - down, 2 - right : 7 - right]
        for down in range(-2, 3)
        for right in range(-2, 3)
    }
    for number in range(300):
        found = random_shift(image, pixels=2, generator=np.random.default_rng(number)).numpy()
        seen |= {shift for shift, window in windows.items() if np.array_equal(window, found)}
    assert seen == windows.keys()


def test_a_shift_leaves_a_part_of_each_image() -> None:
    generator = np.random.default_rng(0)
    assert random_shift(IMAGES[0], pixels=3, generator=generator).shape == (1, 4, 5)
    with pytest.raises(ConfigError, match=r"random_shift: pixels \(=4\) must be < 4, as the image"):
        shifted([(0, 0)], pixels=4)


def test_noise_has_its_deviation_and_fixed_figures_normalize() -> None:
    zeros = torch.zeros(40, 500)
    noise = add_noise(zeros, deviation=0.5, generator=np.random.default_rng(0))
    assert noise.dtype == torch.float32
    assert noise.std().item() == pytest.approx(0.5, rel=0.02) and abs(noise.mean()) < 0.02
    found = normalize(torch.tensor([1.0, 3.0]), mean=1.0, deviation=4.0)
    assert found.tolist() == [0.0, 0.5]


def test_token_dropout_replaces_its_share_and_no_other_token() -> None:
    ids = torch.arange(2, 20_002).view(4, 5_000)
    found = token_dropout(ids, share=0.3, replacement=1, generator=np.random.default_rng(0))
    assert found.dtype == ids.dtype
    replaced = found == 1
    assert replaced.double().mean().item() == pytest.approx(0.3, abs=0.02)
    assert torch.equal(found[~replaced], ids[~replaced])


def test_draws_follow_from_seed_pass_and_record_whatever_the_batch() -> None:
    keys = [(0, index) for index in range(8)]
    whole = shifted(keys)
    assert torch.equal(whole, torch.cat([shifted(keys[:3]), shifted(keys[3:])]))
    assert torch.equal(whole.flip(0), shifted(keys[::-1]))
    assert not torch.equal(whole, shifted([(1, index) for _, index in keys]))
    assert not torch.equal(whole, shifted(keys, seed=1))


def test_draws_of_ragged_rows_do_not_depend_on_their_padding() -> None:
    step = {"add_noise": {"deviation": 1.0, "keys": {"values": "frames"}}}
    rows = [np.zeros((length, 3), np.float32) for length in (2, 9, 4)]
    keys = [(0, 0), (0, 1), (0, 2)]
    whole = batch_of([step], {"frames": Ragged.of(rows)}, keys)["frames"]
    for index, row in enumerate(rows):
        alone = batch_of([step], {"frames": Ragged.of([row])}, [keys[index]])["frames"]
        assert torch.equal(alone[0], whole[index, : len(row)]), index


def test_two_transforms_of_one_kind_draw_differently() -> None:
    noise = {"add_noise": {"deviation": 1.0, "keys": {"values": "x"}}}
    again = {"add_noise": {"deviation": 1.0, "keys": {"values": "y"}}}
    columns = {name: np.zeros((2, 3), np.float32) for name in "xy"}
    found = batch_of([noise, again], columns, [(0, 0), (0, 1)])
    assert not torch.equal(found["x"], found["y"])


def test_transforms_are_composed_renamed_and_wired() -> None:
    steps = [
        {"rename": {"x": "values", "y": "x"}},
        {"normalize": {"mean": 1.0}},  # of `values`, the name of its parameter
        {"function": "torch.nn.functional:relu", "keys": {"input": "values"}, "to": "bent"},
        {
            **{"function": "torch.nn.functional:pad", "keys": {"input": "x"}},
            "settings": {"pad": [1, 0], "value": 7.0},
        },
    ]
    columns = {"x": np.array([[0.0, 3.0]], np.float32), "y": np.array([[5.0]], np.float32)}
    found = {name: t.tolist() for name, t in batch_of(steps, columns, [(0, 0)]).items()}
    assert found == {"values": [[-1.0, 2.0]], "bent": [[0.0, 2.0]], "x": [[7.0, 5.0]]}


def test_a_function_of_several_tensors_and_one_of_a_plugin(tmp_path: Path) -> None:
    file = tmp_path / "mixing.py"
    file.write_text("def _hidden(a):\n    return a\n\n\ndef mixed(a, b, *, share=0.5):\n"
                    "    return share * a + (1 - share) * b\n")  # fmt: skip
    load_plugin(file)
    step = {"function": "mixing:mixed", "settings": {"share": 0.25}, "to": "c"}
    columns = {"a": np.array([4.0, 8.0]), "b": np.array([0.0, 4.0])}
    assert batch_of([step], columns, [(0, 0), (0, 1)])["c"].tolist() == [1.0, 5.0]
    with pytest.raises(ConfigError, match="'mixing' has no function '_hidden'"):
        batch_of([{"function": "mixing:_hidden"}], columns, [(0, 0)])


def test_evaluations_are_as_they_were_unless_a_transform_is_on_them(place: Path) -> None:
    step: dict[str, Any] = {"deviation": 0.5, "keys": {"values": "features"}}
    plain = prepare(config_with(place, []))
    examples = plain.train.read([(0, 0), (0, 1)], evaluating=True)
    for on, changed in ((None, (True, False)), ("evaluation", (False, True)), ("both", (1, 1))):
        given = {"add_noise": {**step, **({"on": on} if on else {})}}
        prepared = prepare(config_with(place, [given]))
        for collate, before, differs in zip(
            (prepared.collate, prepared.evaluating), (plain.collate, plain.evaluating), changed,
            strict=True,
        ):  # fmt: skip
            same = torch.equal(collate(examples)["features"], before(examples)["features"])
            assert same is not bool(differs), on


def test_what_is_registered_gets_its_settings_and_is_forgotten() -> None:
    class Strength(Section):
        """Strength of a fade."""

        by: float = 2.0
        """Divisor."""

    @register_transform("fade", on="both", schema=Strength)
    def fade(values: Tensor, *, by: float) -> Tensor:
        return values / by

    try:
        columns = {"values": np.array([4.0])}
        assert batch_of([{"fade": None}], columns, [(0, 0)])["values"].tolist() == [2.0]
        assert batch_of([{"fade": {"by": 8.0}}], columns, [(0, 0)])["values"].tolist() == [0.5]
    finally:
        TRANSFORMS.remove("fade")
    with pytest.raises(TypeError, match="'rename': its name has another meaning"):
        register_transform("rename", on="both")

    class On(Section):
        """Settings with a name that is taken."""

        on: bool = True

    with pytest.raises(TypeError, match="'fade': its setting 'on' has another meaning"):
        register_transform("fade", on="both", schema=On)


MISTAKES = [  # entry of training.transforms, and the message after its place
    (
        "{random_shfit: {pixels: 1}}",
        ".0: Unknown transform: 'random_shfit'; did you mean 'random",
    ),
    ("{add_noise: {}}", ".0.add_noise.deviation: is required"),
    ("{add_noise: {deviation: -1}}", ".0.add_noise.deviation: must be > 0, got -1"),
    (
        "{add_noise: {deviatoin: 1}}",
        ".0.add_noise.deviatoin: unknown key; did you mean 'dev",
    ),
    ("{add_noise: {deviation: 1}, rename: {a: b}}", ".0: must be {name: settings} with one name, "),
    ("{rename: 3}", ".0.rename: must be {old name: new name}, got 3"),
    ("{rename: {feature: x}}", ".0.rename: the batch has no 'feature'; did you mean 'features'? "),
    ("{rename: {features: labels}}", ".0.rename: the batch has a tensor 'labels' already"),
    (
        "{add_noise: {deviation: 1}}",
        ".0.add_noise: takes 'values', which is no tensor of the batch; name one in keys, as in "
        "keys: {values: features}; the batch has features, labels",
    ),
    ("{random_shift: {pixels: 1, keys: {values: features}}}", ".0.random_shift: needs an image ("),
    (
        "{function: 'torch.nn.functional:one_hot', keys: {tensor: labels}}",
        "its functions 'input': keys: {input: labels}",
    ),
    ("{rename: {features: pixels}}", ".0.rename: gives 'pixels', which Perceptron.forward"),
    ("{rename: {labels: tags}}", ".0.rename: must give a batch 'labels'"),
    (
        "{function: 'torch.nn.functional:pad', keys: {input: features}, settings: {pad: [1, 0]}}",
        ".0.function: plugin ",
    ),
    (
        "{add_noise: {deviation: 1, keys: {values: labels}}}",
        ".0.add_noise: needs real numbers, got int64",
    ),
    (
        "{add_noise: {deviation: 1, keys: {value: x}}}",
        ".0.add_noise: the function takes no 'v",
    ),
    ("{function: 'os:system'}", ".0.function: must be module:name, of torch.nn.functional, torch."),
    ("{function: 'torch.nn.functional:rellu'}", "has no function 'rellu'; did you mean 'relu'?"),
    ("{function: 'torch.nn.functional:importlib'}", "has no function 'importlib'; name another"),
    ("{function: 'torch.nn.functional:os.system'}", "has no function 'os.system'"),
    ("{function: 3}", ".0.function: must be text, got 3"),
    (
        "{function: 'torch.nn.functional:pad', keys: {input: features}, settings: {pad: 3}}",
        ".0.function: ",
    ),
    (
        "{function: 'torch.nn.functional:interpolate', keys: {input: features}}",
        ".0.function: ValueError: ",
    ),
]


@pytest.mark.parametrize(("entry", "message"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_told_in_one_line(entry: str, message: str, place: Path) -> None:
    file = write_task("arrays", place, f"training.transforms=[{entry}]")
    for command in ("validate", "train"):
        code, _, err = foundry(command, file)
        assert code == 2 and err.count("error: ") == 1, err
        assert f"training.transforms{message}" in err or message in err, err
    assert not (place / "run").exists()


def test_records_of_several_shapes_are_refused() -> None:
    step = {"function": "torch.nn.functional:one_hot", "keys": {"input": "a"}}
    with pytest.raises(ConfigError, match=r"gives records of the shapes \(1,\) and \(2,\); give"):
        batch_of([step], {"a": np.array([0, 1])}, [(0, 0), (0, 1)])


def test_text_is_transformed_too_and_a_mistake_is_told_before_training(tmp_path: Path) -> None:
    config = tiny_experiment("gpt2", tmp_path)
    config.training.transforms = [{"rename": {"input_ids": "tokens"}}]
    prepared = prepare(config)
    with pytest.raises(ConfigError, match="gives no 'input_ids', which"):
        check_task(create_model(config, tokenizer=prepared.tokenizer), prepared)
    step = {"function": "torch.nn.functional:threshold", "keys": {"input": "input_ids"}}
    config.training.transforms = [step | {"settings": {"threshold": 20, "value": 20}}]
    prepared = prepare(config)
    check_task(create_model(config, tokenizer=prepared.tokenizer), prepared)
    examples = prepared.train.read([(0, 0), (0, 1)])
    assert prepared.collate(examples)["input_ids"].min() == 20


# --- the keys of losses and metrics ---------------------------------------------------------------


def passed(keys: dict[str, dict[str, str]]) -> ForwardPass:
    """Return a pass of a model with two outputs over a batch with two kinds of labels."""
    output: Any = ModelOutput(logits=torch.tensor([[9.0, 0.0], [9.0, 0.0]]))
    output.tag_logits = torch.tensor([[0.0, 9.0], [0.0, 9.0]])
    inputs = {"labels": torch.tensor([0, 0]), "tags": torch.tensor([1, 0])}
    return ForwardPass(
        model=lambda: output,
        output=output,
        inputs=inputs,
        targets={"tagged": 2},
        terms={"tagged": lambda done: F.cross_entropy(*done.predictions)},
        align=lambda output, inputs: (output.logits, inputs["labels"]),
        keys=keys,
    )


def test_a_loss_and_a_metric_read_what_their_keys_name() -> None:
    keys = {"logits": "tag_logits", "labels": "tags"}
    done = passed({"tagged": keys, "accuracy": {"labels": "tags"}})
    expected = F.cross_entropy(done.output.tag_logits, done.inputs["tags"])  # type: ignore[attr-defined]
    assert torch.equal(done.losses["tagged"], expected)
    assert done.read_by("accuracy").predictions[1].tolist() == [1, 0]
    assert done.read_by("macro_f1") is done
    assert done.predictions[1].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"labels": "tag"},
            "training.keys.tagged.labels: the batch has no 'tag'; it has lab",
        ),
        ({"logits": "other"}, "training.keys.tagged.logits: the model returns no 'other'"),
    ],
)
def test_a_key_that_names_nothing_is_refused(keys: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _ = passed({"tagged": keys}).losses


def test_targets_are_counted_in_what_the_loss_reads(place: Path) -> None:
    config = task("arrays", place)
    config.training.keys = {"model": {"labels": "others"}, "accuracy": {"labels": "others"}}
    objective = objective_of(config)
    inputs = {"labels": torch.tensor([1, 1]), "others": torch.tensor([1, -100])}
    assert objective.targets(inputs) == {"model": 1}
    metrics = Metrics(objective, ["accuracy"])
    output = ModelOutput(loss=torch.tensor(0.0), logits=torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    metrics.add(objective.run(lambda **_: output, inputs, {"model": 1}))
    assert metrics.figures() == {"accuracy": 1.0}


def test_keys_of_what_is_not_measured_are_refused(place: Path) -> None:
    for name, message in (
        ("acuracy", "training.keys.acuracy: is no loss or metric of the experiment; did you mean"),
        (
            "chrf",
            "training.keys.chrf: is no loss or metric of the experiment; it has model, accura",
        ),
    ):
        file = write_task("arrays", place, f"training.keys={{{name}: {{labels: tags}}}}")
        code, _, err = foundry("validate", file)
        assert code == 2 and message in err and err.count("\n") == 1, err
    file = write_task("arrays", place, "training.keys={accuracy: {labels: tags}}")
    code, _, err = foundry("validate", file)
    assert code == 2 and "training.keys.accuracy.labels: the batch has no 'tags'; it has" in err

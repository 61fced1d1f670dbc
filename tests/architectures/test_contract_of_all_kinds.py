"""The laws that models of every kind obey, given a batch for each."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from torch import Tensor

from model_foundry.architectures import (
    MODEL_REGISTRY,
    BaseLanguageModel,
    BaseModel,
    CountedModel,
    create_model_from_config,
    register_architecture,
)
from model_foundry.config import ARCHITECTURES, ExperimentConfig
from model_foundry.errors import ConfigError
from model_foundry.foundation.labels import IGNORE_INDEX
from tests.architectures.conftest import make_config
from tests.architectures.small_models import CountedBigram, experiment, registered
from tests.architectures.test_contract import CASES, IDS, V, random_ids

Inputs = dict[str, Tensor]
ENCODER_DECODERS = [name for name, spec in ARCHITECTURES.items() if spec.kind == "encoder_decoder"]
OTHERS = ["array_classifier", "bert_classifier", "dense", *ENCODER_DECODERS]
FEATURES, CLASSES = 5, ("noun", "verb", "other")


@dataclass
class Case:
    """A model of some kind, and a batch with labels that it can learn by heart."""

    config: ExperimentConfig
    arguments: dict[str, Any]
    inputs: Inputs

    def make(self, *, seed: int = 0) -> BaseModel:
        torch.manual_seed(seed)
        return create_model_from_config(self.config, **self.arguments)


def language_case(key: str) -> Case:
    name, section = CASES[key]
    config, ids = make_config(name, **section), random_ids(4, 12)
    labels = ids.clone()
    if config.training.objective == "masked_lm":
        labels[:, ::2] = IGNORE_INDEX
        ids[:, 1::2] = 3
    return Case(config, {"vocab_size": V, **IDS}, {"input_ids": ids, "labels": labels})


def case_of(key: str) -> Case:
    if key in CASES:
        return language_case(key)
    if key == "counted_bigram":
        ids = random_ids(4, 12)
        return Case(experiment(key), {"vocab_size": V}, {"input_ids": ids, "labels": ids})
    if key == "bert_classifier":
        inputs = {"input_ids": random_ids(6, 12), "labels": torch.arange(6) % len(CLASSES)}
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        return Case(experiment(key), {"vocab_size": V, "num_labels": len(CLASSES)}, inputs)
    if key in ENCODER_DECODERS:
        inputs = {"input_ids": random_ids(4, 12), "labels": random_ids(4, 9, seed=2)}
        return Case(make_config(key), {"vocab_size": V, **IDS}, inputs)
    if key == "dense":
        images = torch.randn(6, 1, 3, 4, generator=torch.Generator().manual_seed(1))
        sizes = {"num_channels": 1, "image_size": [3, 4], "num_labels": len(CLASSES)}
        inputs = {"pixel_values": images, "labels": torch.arange(6) % len(CLASSES)}
        return Case(experiment(key), sizes, inputs)
    features = torch.randn(6, FEATURES, generator=torch.Generator().manual_seed(1))
    inputs = {"features": features, "labels": torch.arange(6) % len(CLASSES)}
    return Case(experiment(key), {"features": FEATURES, "classes": CLASSES}, inputs)


@pytest.fixture(autouse=True)
def _small_models() -> Iterator[None]:
    with registered():
        yield


@pytest.fixture(params=[*CASES, *OTHERS, "counted_bigram"])
def case(request: pytest.FixtureRequest, _small_models: None) -> Case:
    return case_of(request.param)


@pytest.fixture(params=[*CASES, *OTHERS])
def learner(request: pytest.FixtureRequest, _small_models: None) -> Case:
    """A case that learns by gradients."""
    return case_of(request.param)


@pytest.fixture
def model(case: Case) -> BaseModel:
    model = case.make()
    if isinstance(model, CountedModel):
        model.count(**case.inputs)
    return model


def test_a_model_is_what_its_spec_says(case: Case, model: BaseModel) -> None:
    spec = ARCHITECTURES[case.config.model.architecture]
    assert type(model) is MODEL_REGISTRY[spec.name] and model.model_type == spec.name
    assert isinstance(model, BaseLanguageModel) is (spec.kind == "language")
    assert isinstance(model, CountedModel) is (spec.trained_by == "counting")


def test_every_trainable_parameter_gets_a_gradient(learner: Case) -> None:
    model = learner.make()
    model(**learner.inputs).loss.backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_one_batch_can_be_overfitted(learner: Case) -> None:
    model = learner.make()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    before = model(**learner.inputs).loss.item()
    for _ in range(60):
        loss = model(**learner.inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 0.15 * before


def test_without_labels_that_count_the_loss_is_zero_and_has_a_graph(learner: Case) -> None:
    model = learner.make()
    labels = torch.full_like(learner.inputs["labels"], IGNORE_INDEX)
    loss = model(**learner.inputs | {"labels": labels}).loss
    loss.backward()
    assert loss.item() == 0
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert not any(g.any() for g in gradients)


def test_the_loss_is_the_mean_over_the_targets(case: Case, model: BaseModel) -> None:
    """Rows with n targets each: their mean is the loss of the batch."""
    model.eval()
    count = len(case.inputs["labels"])
    rows = [{n: t[i : i + 1] for n, t in case.inputs.items()} for i in range(count)]
    losses = torch.stack([model(**row).loss for row in rows])
    torch.testing.assert_close(model(**case.inputs).loss, losses.mean())


def test_rows_do_not_depend_on_each_other_or_on_labels(case: Case, model: BaseModel) -> None:
    model.eval()
    logits = model(**case.inputs).logits
    reads_targets = ARCHITECTURES[model.model_type].kind == "encoder_decoder"
    unread = set() if reads_targets else {"labels"}
    alone = {name: t[1:2] for name, t in case.inputs.items() if name not in unread}
    torch.testing.assert_close(model(**alone).logits[0], logits[1], rtol=0, atol=1e-5)


def test_a_seed_fixes_the_initial_weights(learner: Case) -> None:
    first, again, other = learner.make(), learner.make(), learner.make(seed=1)
    states = [list(m.state_dict().values()) for m in (first, again, other)]
    assert all(map(torch.equal, states[0], states[1]))
    assert not all(map(torch.equal, states[0], states[2]))


def test_loading_gives_the_same_model(case: Case, model: BaseModel, tmp_path: Path) -> None:
    model.eval().save_pretrained(tmp_path)
    loaded = BaseModel.from_pretrained(tmp_path).eval()
    assert type(loaded) is type(model)
    for key, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[key])
        assert value.dtype == loaded.state_dict()[key].dtype
    saved, again = model(**case.inputs), loaded(**case.inputs)
    torch.testing.assert_close(again.logits, saved.logits, rtol=0, atol=1e-6)
    torch.testing.assert_close(again.loss, saved.loss, rtol=0, atol=1e-6)
    loaded.save_pretrained(tmp_path / "again")
    first, second = ((p / "config.json").read_text() for p in (tmp_path, tmp_path / "again"))
    assert first == second


def test_a_model_can_be_laid_out_without_memory(case: Case) -> None:
    with torch.device("meta"):
        model = case.make()
    assert all(t.is_meta for t in (*model.parameters(), *model.buffers()))


# --- directories of models that are no language models --------------------------------------------


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    case_of("array_classifier").make().save_pretrained(tmp_path)
    return tmp_path


def test_a_record_holds_all_that_a_model_is_made_from(directory: Path) -> None:
    record = json.loads((directory / "config.json").read_text())
    assert record["kind"] == "classifier"
    assert record["objective"] == "classify_arrays"
    assert record["arguments"] == {"features": FEATURES, "classes": list(CLASSES)}
    assert record["model"]["array_classifier"] == {"hidden_size": 16}
    assert case_of("array_classifier").make().classes == list(CLASSES)  # as a loaded one has them


@pytest.mark.parametrize("given", [{}, {"names": ["a"]}])
def test_a_record_holds_the_section_of_its_objective(given: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("model_foundry.config.registered_sections")
    name = "classify_arrays_with"
    config = experiment("array_classifier", objective=name, **({name: given} if given else {}))
    model = create_model_from_config(config, features=2, classes=["a"])
    assert model.build_record is not None
    assert model.build_record["objective_section"] == {"names": [], "smoothing": 0.1} | given
    model.save_pretrained(tmp_path)
    assert BaseModel.from_pretrained(tmp_path).build_record == model.build_record
    file = tmp_path / "config.json"
    file.write_text(file.read_text().replace("0.1", '"much"'))
    with pytest.raises(ConfigError, match=rf"{name}\.smoothing"):
        BaseModel.from_pretrained(tmp_path)


def test_another_kind_is_no_language_model(directory: Path) -> None:
    model = BaseModel.from_pretrained(directory)
    with pytest.raises(ConfigError, match=r"'array_classifier' .*not a BaseLanguageModel"):
        BaseLanguageModel.from_pretrained(directory)
    assert not model.supports_generation
    with pytest.raises(ConfigError, match="'array_classifier' is no language model"):
        model.require_generation()
    with pytest.raises(ConfigError, match="carry_state"):
        model.require_carried_state()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "language"}, "of kind .*, which .* gives only with a head that is not"),
        ({"kind": "encoder"}, "of kind .*, which .* gives only with a head that is not"),
        ({"kind": ["classifier"]}, "of kind .*, which .* gives only with a head that is not"),
        ({"arguments": ["features"]}, "arguments must be a JSON object"),
        ({"arguments": {"features": 5}}, "describes no ArrayClassifier: .*'classes'"),
        ({"arguments": {"features": 5, "classes": 3}}, "describes no ArrayClassifier"),
        ({"arguments": {"features": "5", "classes": []}}, "describes no ArrayClassifier"),
        ({"arguments": {"features": 7, "classes": ["a"]}}, "hold the weights|too few"),
        ({"objective": "causal_lm"}, "does not suit|kind"),
        ({"objective": {}}, "objective"),
        ({"objective_section": 3}, "classify_arrays"),
        ({"vocab_size": 3}, "has a 'vocab_size' it should not"),
        (
            {"foundry_architecture": "counted_bigram", "kind": "language"},
            "another architecture or kind",
        ),
    ],
)
def test_a_record_that_does_not_fit_is_refused(
    change: dict[str, Any], message: str, directory: Path
) -> None:
    file = directory / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ConfigError, match=message) as caught:
        BaseModel.from_pretrained(directory)
    assert "\n" not in str(caught.value)


def test_arguments_are_plain_json() -> None:
    with pytest.raises(TypeError, match="plain JSON"):
        create_model_from_config(case_of("array_classifier").config, classes=torch.ones(1))


class Headed(CountedBigram):
    """A language model with arguments besides its vocabulary."""

    model_type = "headed"
    given: dict[str, Any]

    @classmethod
    def from_config(cls, config: ExperimentConfig, *, vocab_size: int, **ids: Any) -> Self:
        model = cls(vocab_size)
        model.given = ids
        return model


def test_a_language_model_is_loaded_with_any_argument(tmp_path: Path) -> None:
    register_architecture("headed", trained_by="counting")(Headed)
    try:
        given = {"num_labels": 3, "decoder_start_token_id": 2, "heads": {"tags": ["a", "b"]}}
        model = create_model_from_config(experiment("headed"), vocab_size=V, **IDS, **given)
        model.save_pretrained(tmp_path)
        loaded = BaseModel.from_pretrained(tmp_path)
    finally:
        del MODEL_REGISTRY["headed"]
    assert isinstance(loaded, Headed) and loaded.given == IDS | given
    assert loaded.build_record == model.build_record


def test_a_record_without_arguments_is_refused(directory: Path) -> None:
    file = directory / "config.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | record.pop("arguments")))
    with pytest.raises(ConfigError, match=r"json: lacks arguments; save the model again\.$"):
        BaseModel.from_pretrained(directory)

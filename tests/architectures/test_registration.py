"""Registration of architectures: accepted, refused, and the messages."""

import hashlib
import math
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
import torch
from torch import Tensor, nn

from model_foundry import architectures
from model_foundry.architectures import (
    MODEL_REGISTRY,
    BaseLanguageModel,
    GPT2Model,
    ModelOutput,
    create_model_from_config,
    load_plugin,
    register_architecture,
)
from model_foundry.architectures.decoding import Sampling
from model_foundry.architectures.losses import language_model_loss
from model_foundry.config import (
    ARCHITECTURES,
    ExperimentConfig,
    RNNModelConfig,
    Section,
    TransformerModelConfig,
)
from model_foundry.errors import ConfigError, DataError
from model_foundry.registry import DuplicateNameError
from tests.architectures.small_models import ArrayClassifier, CountedBigram


class BigramSection(Section):
    """A section that no built-in architecture has."""

    width: int = 8


class Bigram(BaseLanguageModel):
    """The smallest architecture of an outsider: tied matrices, and nothing of transformers."""

    model_type = "bigram"
    supports_generation = True

    def __init__(self, width: int, vocab_size: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, width)
        self.output = nn.Linear(width, vocab_size)
        nn.init.normal_(self.embed.weight, std=0.1)
        self.output.weight = self.embed.weight

    @classmethod
    def from_config(cls, config: ExperimentConfig, *, vocab_size: int, **kwargs: Any) -> Self:
        return cls(config.model.section.width, vocab_size)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> ModelOutput:
        logits = self.output(self.embed(input_ids))
        return ModelOutput(loss=language_model_loss(logits, labels, causal=True), logits=logits)

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def resize_token_embeddings(self, new_num_tokens: int) -> nn.Module:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _registry_as_before() -> Iterator[None]:
    before = set(ARCHITECTURES)
    yield
    for name in set(ARCHITECTURES) - before:
        del MODEL_REGISTRY[name]


@pytest.fixture
def bigram() -> BaseLanguageModel:
    register_architecture("bigram", section="bigram", schema=BigramSection)(Bigram)
    return create_model_from_config(bigram_config(), vocab_size=11, eos_token_id=2)


def config_for(architecture: str, **sections: Any) -> ExperimentConfig:
    return ExperimentConfig.model_validate(
        {
            "experiment_name": "outsider",
            "data": {"train": "unread.txt", "max_sequence_length": 16},
            "model": {"architecture": architecture, **sections},
            "training": {"max_steps": 1},
        }
    )


def bigram_config(**section: Any) -> ExperimentConfig:
    return config_for("bigram", bigram=section)


# --- the registry ---------------------------------------------------------------------------------


def test_the_built_in_architectures_are_registered() -> None:
    assert set(MODEL_REGISTRY) >= {"gpt2", "bert", "lstm", "gru", "rnn"}
    for name, cls in MODEL_REGISTRY.items():
        spec = ARCHITECTURES[name]
        assert spec.target == f"{cls.__module__}:{cls.__qualname__}"


def test_the_classes_are_reached_through_the_package() -> None:
    assert architectures.LSTMModel is MODEL_REGISTRY["lstm"]
    assert all(hasattr(architectures, name) for name in architectures.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'XLSTMModel'"):
        _ = architectures.XLSTMModel


def test_a_name_is_taken_once() -> None:
    with pytest.raises(DuplicateNameError, match=r"'gpt2' is already registered.*gpt:GPT2Model"):
        register_architecture("gpt2")(Bigram)
    register_architecture("bigram")(Bigram)
    with pytest.raises(DuplicateNameError):
        register_architecture("bigram")(GPT2Model)
    assert MODEL_REGISTRY["bigram"] is Bigram


def test_what_is_known_of_a_built_in_cannot_be_changed() -> None:
    with pytest.raises(DuplicateNameError):
        register_architecture("gpt2", objectives=("masked_lm",))(GPT2Model)
    assert ARCHITECTURES["gpt2"].objectives == ("causal_lm",)


def test_the_decorator_returns_the_class_itself() -> None:
    assert register_architecture("bigram")(Bigram) is Bigram
    assert MODEL_REGISTRY.pop("bigram") is Bigram
    assert "bigram" not in MODEL_REGISTRY


@pytest.mark.parametrize("thing", [nn.Linear, dict, "text", Bigram.forward])
def test_what_is_no_language_model_is_refused(thing: Any) -> None:
    with pytest.raises(TypeError, match="must be a subclass of BaseLanguageModel"):
        register_architecture("strange")(thing)
    assert "strange" not in MODEL_REGISTRY


def test_kind_and_class_agree() -> None:
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (ArrayClassifier, {}, "must be a subclass of BaseLanguageModel"),
        (Bigram, {"kind": "classifier"}, "of kind 'classifier': it is a BaseLanguageModel"),
        (dict, {"kind": "classifier"}, "must be a subclass of BaseModel"),
        (Bigram, {"trained_by": "counting"}, "trained_by='counting': it is no CountedModel"),
        (CountedBigram, {}, "trained_by='gradient': it is a CountedModel"),
        (Bigram, {"objectives": ()}, r"objectives= is a tuple, got \(\)"),
        (Bigram, {"objectives": "causal_lm"}, "objectives= is a tuple, got 'causal_lm'"),
        (ArrayClassifier, {"kind": "classifier", "objectives": "x"}, "objectives= is a tuple"),
    ]
    for cls, facts, law in cases:
        with pytest.raises(TypeError, match=law):
            register_architecture("strange", **facts)(cls)
        assert "strange" not in MODEL_REGISTRY


def test_another_kind_may_leave_the_objectives_open() -> None:
    register_architecture("strange", kind="classifier", objectives=())(ArrayClassifier)
    assert (ARCHITECTURES["strange"].kind, ARCHITECTURES["strange"].objectives) == (
        "classifier",
        (),
    )
    register_architecture("counts", trained_by="counting")(CountedBigram)
    assert ARCHITECTURES["counts"].trained_by == "counting"


@pytest.mark.parametrize("name", ["", "a b", ".a", 3])
def test_a_name_that_no_file_could_hold_is_refused(name: Any) -> None:
    with pytest.raises(TypeError, match="name of a registered architecture"):
        register_architecture(name)


def test_a_built_in_section_brings_its_schema_and_another_must_be_given_one() -> None:
    register_architecture("bigram", section="rnn")(Bigram)
    assert ARCHITECTURES["bigram"].schema is RNNModelConfig
    with pytest.raises(TypeError, match="needs schema="):
        register_architecture("other", section="own")
    with pytest.raises(TypeError, match="schema= needs section="):
        register_architecture("other", schema=BigramSection)
    built_in = {name for name in ARCHITECTURES if name != "bigram"}
    sections = {name for each in built_in for name in ARCHITECTURES[each].sections()}
    assert sections >= {"transformer", "bert", "huggingface", "dense", "rnn", "backbone", "vit"}
    for taken in (*sections, "architecture"):
        with pytest.raises(TypeError, match=f"section '{taken}' is taken"):
            register_architecture("other", section=taken, schema=BigramSection)


# --- an outsider's plain module -------------------------------------------------------------------


def test_an_own_section_is_validated_by_its_schema(bigram: BaseLanguageModel) -> None:
    config = bigram_config(width=4)
    assert config.model.section == BigramSection(width=4)
    model = create_model_from_config(config, vocab_size=11)
    assert model.get_parameter_count() == 11 * 4 + 11
    with pytest.raises(ValueError, match="bigram"):
        bigram_config(widht=4)


def test_a_plain_module_saves_tied_weights_once_and_ties_them_again(
    bigram: BaseLanguageModel, tmp_path: Path
) -> None:
    bigram.save_pretrained(tmp_path)
    loaded = BaseLanguageModel.from_pretrained(tmp_path)
    assert isinstance(loaded, Bigram)
    assert loaded.output.weight is loaded.embed.weight
    ids = torch.arange(11)[None]
    assert torch.equal(loaded(ids).logits, bigram(ids).logits)
    assert (tmp_path / "model.safetensors").stat().st_size < 2 * 4 * 11 * 8
    loaded.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "config.json").read_text() == (
        tmp_path / "config.json"
    ).read_text()


def test_a_plain_module_with_other_weights_is_refused(
    bigram: BaseLanguageModel, tmp_path: Path
) -> None:
    bigram.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(ConfigError, match=str(weights)):
        BaseLanguageModel.from_pretrained(tmp_path)
    create_model_from_config(bigram_config(width=3), vocab_size=11).save_pretrained(
        tmp_path / "narrow"
    )
    (tmp_path / "narrow" / "model.safetensors").replace(weights)
    with pytest.raises(ConfigError, match=str(weights)):
        BaseLanguageModel.from_pretrained(tmp_path)


def test_a_plain_module_that_was_made_by_hand_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="create_model_from_config"):
        Bigram(4, 11).save_pretrained(tmp_path)


def test_a_plain_module_continues_text(bigram: BaseLanguageModel) -> None:
    follower = torch.arange(11).roll(-1)
    with torch.no_grad():  # token i is followed by i + 1
        bigram.embed.weight.zero_()
    bigram.output = nn.Linear(8, 11)
    bigram.forward = lambda input_ids, **_: ModelOutput(
        logits=50.0 * nn.functional.one_hot(follower[input_ids], 11)
    )
    assert bigram.generate(torch.tensor([[3, 4]]), max_new_tokens=3).tolist() == [[3, 4, 5, 6, 7]]
    rows = bigram.generate(
        torch.tensor([[3], [5]]), max_new_tokens=9, eos_token_id=6, pad_token_id=0, do_sample=True
    )
    assert rows.tolist() == [[3, 4, 5, 6], [5, 6, 0, 0]]


def test_sampling_keeps_the_likeliest_tokens() -> None:
    logits = torch.tensor([[0.5, 0.1, 0.25, 0.15]]).log()

    def kept(**limits: Any) -> list[int]:
        return Sampling(**limits).filter(logits)[0].isfinite().nonzero().flatten().tolist()

    assert kept(top_k=0, top_p=1.0) == [0, 1, 2, 3]
    assert kept(top_k=2, top_p=1.0) == [0, 2]
    assert kept(top_k=0, top_p=0.4) == [0]
    assert kept(top_k=0, top_p=0.7) == [0, 2]
    assert kept(top_k=0, top_p=0.8) == [0, 2, 3]


def test_gradient_checkpointing_is_refused_where_nothing_was_written_for_it(
    bigram: BaseLanguageModel,
) -> None:
    with pytest.raises(ConfigError, match=r"training\.gradient_checkpointing.*'bigram'"):
        bigram.gradient_checkpointing_enable()


# --- from a config to a model ---------------------------------------------------------------------


def test_a_missing_section_is_named(tiny_config: Callable[..., ExperimentConfig]) -> None:
    config = tiny_config("gpt2")
    config.model.__dict__["transformer"] = None  # past the validation on assignment
    with pytest.raises(ConfigError, match="Architecture 'gpt2' requires 'transformer' config"):
        create_model_from_config(config, vocab_size=11)


def test_a_special_token_outside_the_vocabulary_is_refused(
    tiny_config: Callable[..., ExperimentConfig],
) -> None:
    with pytest.raises(DataError, match=r"mask_token_id \(=11\).*11 entries"):
        create_model_from_config(tiny_config("bert"), vocab_size=11, mask_token_id=11)
    with pytest.raises(DataError, match=r"eos_token_id \(=\[1, 2\]\).*11 entries"):
        create_model_from_config(tiny_config("gpt2"), vocab_size=11, eos_token_id=[1, 2])


def test_a_subclass_of_a_built_in_is_an_architecture_too(tmp_path: Path) -> None:
    class WiderModel(GPT2Model):
        model_type = "wider"

    register_architecture(
        "wider",
        section="transformer",
        settings=("attn_implementation",),
        isolates_documents=True,
    )(WiderModel)
    assert ARCHITECTURES["wider"].isolates_documents
    raw = TransformerModelConfig(layers=1, hidden_size=8, attention_heads=1).model_dump()
    config = config_for("wider", transformer=raw)
    model = create_model_from_config(config, vocab_size=11)
    ids = torch.arange(11)[None]
    assert model(ids, labels=ids).loss.item() == pytest.approx(math.log(11), abs=0.3)
    model.save_pretrained(tmp_path)
    assert type(BaseLanguageModel.from_pretrained(tmp_path)) is WiderModel


# --- directories ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"config\.json: cannot be read"),
        ("{", r"config\.json: not valid JSON"),
        ("[]", r"config\.json: must hold a JSON object"),
        ("{}", "names the architecture null, which is not registered"),
        ('{"model_type": "bart"}', "names the architecture 'bart', which is not registered"),
        ('{"foundry_architecture": "os:system"}', "names the architecture 'os:system'"),
    ],
)
def test_a_directory_without_a_known_model_is_refused(
    tmp_path: Path, content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=words):
        BaseLanguageModel.from_pretrained(tmp_path)


# --- plugins and entry points ---------------------------------------------------------------------

PLUGIN = """
from model_foundry.architectures import GPT2Model, register_architecture

@register_architecture("{name}", section="transformer")
class Mine(GPT2Model):
    model_type = "{name}"
"""


def test_a_plugin_file_registers_once_and_returns_its_digest(tmp_path: Path) -> None:
    files = []
    for name in ("first", "second"):
        file = tmp_path / name / "plugin.py"
        file.parent.mkdir()
        file.write_text(PLUGIN.format(name=f"plugged-{name}"))
        files.append(file)
    digests = [load_plugin(file) for file in files]
    classes = [MODEL_REGISTRY[f"plugged-{name}"] for name in ("first", "second")]
    assert digests[0] == hashlib.sha256(files[0].read_bytes()).hexdigest() == load_plugin(files[0])
    assert MODEL_REGISTRY["plugged-first"] is classes[0]
    assert classes[0].__module__ != classes[1].__module__


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.py", None, "no such file"),
        ("broken.py", "1 / 0", "ZeroDivisionError: division by zero"),
        ("syntax.py", "def", "SyntaxError"),
        ("notes.txt", "x = 1", r"must end in \.py"),
    ],
)
def test_a_plugin_that_cannot_be_run_is_named(
    tmp_path: Path, name: str, content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=rf"{name}:(\d+:)? .*{words}"):
        load_plugin(tmp_path / name)


def test_an_entry_point_is_loaded_when_its_name_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = []

    def load() -> None:
        loaded.append("announced")
        register_architecture("announced")(Bigram)

    point = SimpleNamespace(name="announced", load=load)

    def entry_points(*, group: str, name: str | None = None) -> list[Any]:
        fits = group == "model_foundry.architectures" and name in (None, "announced")
        return [point] if fits else []

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    monkeypatch.setattr(ARCHITECTURES, "_points", None)  # as in a process that has not looked yet
    assert "announced" in MODEL_REGISTRY
    assert loaded == []
    assert MODEL_REGISTRY["announced"] is Bigram
    assert loaded == ["announced"]
    del MODEL_REGISTRY["announced"]

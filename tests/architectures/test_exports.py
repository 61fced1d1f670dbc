"""Exported models in other programs: arguments, files, training, compilation."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    Trainer,
    TrainingArguments,
)

from model_foundry.architectures import BaseLanguageModel, create_model_from_config
from model_foundry.architectures.classifier import TextClassifier, TokenClassifier
from model_foundry.architectures.modeling.configuration_recurrent import RecurrentConfig
from model_foundry.architectures.modeling.modeling_recurrent import (
    RecurrentForCausalLM,
    RecurrentForMaskedLM,
    RecurrentForSequenceClassification,
    RecurrentForTokenClassification,
    RecurrentModel,
)
from model_foundry.config import ExperimentConfig
from model_foundry.errors import ConfigError

V, B, T, H = 31, 3, 7, 5
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
KINDS = ("gru", "lstm", "min_gru", "min_lstm", "rnn")
HEADS = (
    RecurrentModel,
    RecurrentForCausalLM,
    RecurrentForMaskedLM,
    RecurrentForSequenceClassification,
    RecurrentForTokenClassification,
)
NATIVE = ("transformer_decoder", "transformer_encoder")
ARCHITECTURES = ("bert", "gpt2", "huggingface", *KINDS, *NATIVE)
MakeConfig = Callable[..., ExperimentConfig]


def recurrent(cls: type = RecurrentForCausalLM, kind: str = "lstm", **fields: Any) -> nn.Module:
    """Return a small model with weights that make a difference."""
    sizes = {"embedding_size": 6, "hidden_size_per_direction": H, "num_hidden_layers": 2}
    model = cls(RecurrentConfig(vocab_size=V, rnn_type=kind, **IDS, **(sizes | fields)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model.eval()


def padded(ids: Tensor, left: int, right: int) -> dict[str, Tensor]:
    """Return rows with padding on both sides, and their mask."""
    size = {"pad": (left, right)}
    mask = torch.ones_like(ids)
    return {
        "input_ids": nn.functional.pad(ids, **size),
        "attention_mask": nn.functional.pad(mask, **size),
    }


def random_ids(*shape: int) -> Tensor:
    return torch.randint(3, V, shape)


# --- what others pass -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cach", "position_ids", "cache_position", "labels_", "mems"])
@pytest.mark.parametrize("cls", HEADS)
def test_an_exported_model_refuses_by_name_what_it_does_not_know(cls: type, name: str) -> None:
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
        recurrent(cls)(random_ids(B, T), **{name: None})


@pytest.mark.parametrize("name", ["cach", "positions", "num_items_in_batch"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("alone", [False, True])
def test_our_models_refuse_by_name_what_is_not_known(
    tiny_config: MakeConfig, architecture: str, name: str, alone: bool
) -> None:
    model = create_model_from_config(tiny_config(architecture), vocab_size=V)
    ids = random_ids(B, T)
    with pytest.raises(TypeError, match=f"does not know '{name}'; it takes .*input_ids"):
        model(ids, labels=ids, return_logits=not alone, **{name: None})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["past_key_values", "cache"])
def test_a_state_goes_by_both_of_its_names(kind: str, name: str, tiny_config: MakeConfig) -> None:
    exported, ids = recurrent(kind=kind), random_ids(B, T)
    whole = exported(ids).logits[:, -1]
    state = exported(ids[:, :4], use_cache=True)[1]
    assert torch.allclose(exported(ids[:, 4:], **{name: state}).logits[:, -1], whole, atol=1e-6)
    with pytest.raises(ValueError, match="one argument"):
        exported(ids, past_key_values=state, cache=copy.copy(state))
    ours = create_model_from_config(tiny_config(kind), vocab_size=V).eval()
    state = ours(ids[:, :4], use_cache=True).past_key_values
    last = ours(ids[:, 4:], use_cache=True, **{name: state}).logits[:, -1]
    torch.testing.assert_close(last, ours(ids).logits[:, -1])


def test_a_state_of_another_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="must be the RecurrentCache of an earlier output, got a"):
        recurrent()(random_ids(B, T), past_key_values=((torch.zeros(1),),))


@pytest.mark.parametrize("architecture", ["gpt2", *KINDS])
def test_segments_are_empty_or_refused(tiny_config: MakeConfig, architecture: str) -> None:
    model = create_model_from_config(tiny_config(architecture), vocab_size=V).eval()
    ids = random_ids(B, T)
    empty = model(ids, token_type_ids=torch.zeros_like(ids)).logits
    assert torch.equal(empty, model(ids).logits)
    for called in (model, *([model.hf_model] if architecture in KINDS else [])):
        with pytest.raises(ValueError, match="knows no segments; leave them out"):
            called(ids, token_type_ids=torch.ones_like(ids))


@pytest.mark.parametrize("cls", HEADS)
def test_output_settings_of_the_config_take_effect(cls: type) -> None:
    model, ids = recurrent(cls), random_ids(B, T)
    assert isinstance(model(ids, return_dict=False), tuple)
    model.config.return_dict = False
    assert isinstance(model(ids), tuple)
    assert not isinstance(model(ids, return_dict=True), tuple)
    model.config.output_hidden_states = True
    assert len(model(ids, return_dict=True).hidden_states) == 3
    with pytest.raises(ValueError, match="a recurrent model has no attention"):
        model(ids, output_attentions=True)


def test_a_text_that_was_read_already_is_no_prompt() -> None:
    model, ids = recurrent(), random_ids(1, T)
    state = model(ids, use_cache=True)[1]
    with pytest.raises(ValueError, match="has read 7 tokens already, of 7"):
        model.prepare_inputs_for_generation(ids, past_key_values=state)


def test_a_prompt_may_be_embeddings() -> None:
    model, ids = recurrent(), random_ids(2, T)
    embeds, rules = model.recurrent.embed(ids), {"max_new_tokens": 5, "do_sample": False}
    mask = torch.ones_like(ids)
    expected = model.generate(ids, attention_mask=mask, **rules)[:, T:]
    for more in ({}, {"use_cache": False}):  # transformers keeps a state all the same
        rows = model.generate(inputs_embeds=embeds, attention_mask=mask, **more, **rules)
        assert torch.equal(rows, expected)


# --- what others read -----------------------------------------------------------------------------


def test_an_old_config_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="of an older version; save the model again"):
        RecurrentConfig(hidden_size=16)
    with pytest.raises(ValueError, match=r"width of the output, which is 10.*leave it out"):
        RecurrentConfig(hidden_size_per_direction=5, hidden_size=5, bidirectional=True)


@pytest.mark.parametrize(
    ("field", "value"),
    [("vocab_size", 0), ("num_hidden_layers", True), ("bidirectional", "no"), ("dropout", "0")],
)
def test_fields_of_another_type_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"`{field}` must be"):
        RecurrentConfig(**{field: value})


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_recurrent_directory_serves_every_task(
    tiny_config: MakeConfig, tmp_path: Path, bidirectional: bool
) -> None:
    model = create_model_from_config(
        tiny_config("gru", bidirectional=bidirectional), vocab_size=V, **IDS
    ).eval()
    model.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    ids = random_ids(B, T)
    body = AutoModel.from_pretrained(tmp_path).eval()
    output = body(ids).last_hidden_state
    assert output.shape[-1] == config.hidden_size == (32 if bidirectional else 16)
    torch.testing.assert_close(output, model.hf_model.recurrent(ids).last_hidden_state)
    for auto, shape in (
        (AutoModelForSequenceClassification, (B, 3)),
        (AutoModelForTokenClassification, (B, T, 3)),
    ):
        tuned = auto.from_pretrained(tmp_path, num_labels=3).eval()
        assert tuned(ids).logits.shape == shape
        torch.testing.assert_close(tuned.recurrent(ids).last_hidden_state, output)
    fields = json.loads((tmp_path / "config.json").read_text())
    assert fields["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert ("AutoModelForCausalLM" in fields["auto_map"]) is not bidirectional
    assert "max_position_embeddings" not in fields
    if bidirectional:
        with pytest.raises(ValueError, match="shows a causal model the token it must predict"):
            AutoModelForCausalLM.from_pretrained(tmp_path)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_no_label(kind: str, bidirectional: bool) -> None:
    model = recurrent(RecurrentForSequenceClassification, kind, bidirectional=bidirectional)
    ids = random_ids(B, T)
    alone = model(ids).logits
    for left, right in ((2, 0), (0, 3), (1, 2)):
        torch.testing.assert_close(model(**padded(ids, left, right)).logits, alone)
    changed = ids.clone()
    changed[:, 0] = (ids[:, 0] - 2) % (V - 3) + 3
    assert (model(changed).logits != alone).all()


@pytest.mark.filterwarnings("ignore:Using the model-agnostic default")
@pytest.mark.parametrize(("architecture", "limit"), [("gpt2", 12), ("lstm", None)])
def test_the_limits_of_generation_follow_from_the_positions(
    tiny_config: MakeConfig, tmp_path: Path, architecture: str, limit: int | None
) -> None:
    model = create_model_from_config(
        tiny_config(architecture), vocab_size=V, bos_token_id=1, eos_token_id=2
    )
    model.save_pretrained(tmp_path)
    fields = json.loads((tmp_path / "generation_config.json").read_text())
    assert fields.get("max_length") == limit
    ids = [fields[f"{role}_token_id"] for role in ("bos", "eos", "pad")]
    assert ids == [1, 2, 2]
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    prompt = random_ids(1, 8)
    rows = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), eos_token_id=None)
    assert rows.shape[1] == (limit or 28)


# --- what others train ----------------------------------------------------------------------------


def rows_for(cls: type) -> list[dict[str, Any]]:
    """Return 16 rows of unequal numbers of labels."""
    rows = []
    for number in range(16):
        ids = random_ids(T)
        labels = ids.clone()
        labels[number % 5 + 1 :] = -100
        if cls is RecurrentForSequenceClassification:
            labels = torch.tensor(number % 3)
        elif cls is RecurrentForTokenClassification:
            labels = torch.where(labels == -100, labels, labels % 3)
        rows.append({"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels})
    return rows


def trained(model: nn.Module, rows: list[Any], directory: Path, size: int) -> dict[str, Tensor]:
    """Train for one step of 16 rows, `size` at once."""
    arguments = TrainingArguments(
        output_dir=str(directory), per_device_train_batch_size=size, max_steps=1, use_cpu=True,
        gradient_accumulation_steps=16 // size, optim="sgd", learning_rate=1.0, report_to=[],
        save_strategy="no", disable_tqdm=True, max_grad_norm=0.0, lr_scheduler_type="constant",
    )  # fmt: skip
    model = copy.deepcopy(model)
    Trainer(model=model, args=arguments, train_dataset=rows).train()
    return model.state_dict()


@pytest.mark.filterwarnings("ignore")  # of the Trainer, about itself
@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (RecurrentForCausalLM, {}),
        (RecurrentForMaskedLM, {"bidirectional": True}),
        (RecurrentForTokenClassification, {}),
        (RecurrentForSequenceClassification, {"num_labels": 3}),
        (RecurrentForSequenceClassification, {"num_labels": 1}),
    ],
)
def test_four_times_four_rows_teach_what_sixteen_at_once_do(
    cls: type, fields: dict[str, Any], tmp_path: Path
) -> None:
    model = recurrent(cls, **({"num_labels": 3} | fields))
    rows = rows_for(cls)
    if fields.get("num_labels") == 1:
        rows = [row | {"labels": row["labels"].float()} for row in rows]
    at_once, in_parts = (trained(model, rows, tmp_path, size) for size in (16, 4))
    before = model.state_dict()
    assert any((at_once[key] - before[key]).abs().max() > 1e-3 for key in before)
    for key in before:
        torch.testing.assert_close(in_parts[key], at_once[key], rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # of the Trainer, about itself
@pytest.mark.parametrize("architecture", [*NATIVE, "transformer"])
def test_a_native_transformer_learns_from_parts_of_a_step_as_from_the_whole(
    architecture: str, tiny_config: MakeConfig, tmp_path: Path
) -> None:
    model = create_model_from_config(tiny_config(architecture), vocab_size=V, **IDS).hf_model
    rows = rows_for(RecurrentForCausalLM)
    at_once, in_parts = (trained(model, rows, tmp_path, size) for size in (16, 4))
    before = model.state_dict()
    assert any((at_once[key] - before[key]).abs().max() > 1e-3 for key in before)
    for key in before:
        torch.testing.assert_close(in_parts[key], at_once[key], rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # of the Trainer, about itself
@pytest.mark.parametrize(
    ("head", "alike", "several"),
    [
        (TokenClassifier, RecurrentForTokenClassification, False),
        (TextClassifier, RecurrentForSequenceClassification, False),
        (TextClassifier, RecurrentForSequenceClassification, True),
    ],
)
def test_a_head_learns_from_parts_of_a_step_as_from_the_whole(
    head: Any, alike: type, several: bool, tiny_config: MakeConfig, tmp_path: Path
) -> None:
    arguments = {"labels": ["a", "b", "c"], "multi_label": several, "vocab_size": V, **IDS}
    model = head.from_config(tiny_config("lstm"), **arguments).hf_model
    rows = rows_for(alike)[:14]  # the last part has two
    if several:
        rows = [row | {"labels": (row["labels"] == torch.arange(3)).float()} for row in rows]
    at_once, in_parts = (trained(model, rows, tmp_path, size) for size in (16, 4))
    before = model.state_dict()
    assert any((at_once[key] - before[key]).abs().max() > 1e-3 for key in before)
    for key in before:
        torch.testing.assert_close(in_parts[key], at_once[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cls", HEADS[1:])
def test_the_loss_is_divided_by_what_the_caller_counts(cls: type) -> None:
    model = recurrent(cls)
    ids = random_ids(B, T)
    labels = torch.tensor([0, 1, 1]) if cls is RecurrentForSequenceClassification else ids % 2
    counted = B if labels.dim() == 1 else labels[:, cls is RecurrentForCausalLM :].numel()
    loss = model(ids, labels=labels).loss
    twice = model(ids, labels=labels, num_items_in_batch=2 * counted).loss
    torch.testing.assert_close(2 * twice, loss)


@pytest.mark.parametrize("cls", HEADS[1:])
def test_a_batch_without_a_label_that_counts_teaches_nothing(cls: type) -> None:
    model, ids = recurrent(cls), random_ids(B, T)
    shape = (B,) if cls is RecurrentForSequenceClassification else (B, T)
    loss = model(ids, labels=torch.full(shape, -100)).loss
    loss.backward()
    assert loss.item() == 0
    assert not any(p.grad.any() for p in model.parameters() if p.grad is not None)


# --- what others compile --------------------------------------------------------------------------


class Logits(nn.Module):
    """A model as exporters want it: tensors in, a tensor out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        keeps_state = "use_cache" in type(self.model).forward.__annotations__
        more = {"use_cache": False} if keeps_state else {}
        return self.model(input_ids=input_ids, attention_mask=attention_mask, **more).logits


EXPORTED = [  # tracing a recurrent layer takes seconds; all kinds are stacked by the same code
    *((name, {"max_position_embeddings": 32}) for name in ("bert", "gpt2", *NATIVE)),
    *(
        (kind, {"bidirectional": both, "num_layers": 2 if kind == "lstm" else 1})
        for kind in KINDS
        for both in (False, True)
    ),
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch, about itself
@pytest.mark.parametrize(("architecture", "section"), EXPORTED)
def test_an_exported_graph_reads_any_length_and_padding(
    tiny_config: MakeConfig, architecture: str, section: dict[str, Any]
) -> None:
    model = create_model_from_config(tiny_config(architecture, **section), vocab_size=V).eval()
    wrapped = Logits(model.hf_model).eval()
    dynamic = {0: torch.export.Dim("rows"), 1: torch.export.Dim("length", max=32)}
    example = (random_ids(2, 5), torch.ones(2, 5, dtype=torch.long))
    with torch.no_grad():
        graph = torch.export.export(
            wrapped, example, dynamic_shapes=(dynamic, dynamic), strict=False
        ).module()
    for left, right in ((0, 0), (3, 2)):
        batch = padded(random_ids(B, T), left if architecture in KINDS else 0, right)
        inside = batch["attention_mask"].bool()
        expected = wrapped(**batch)[inside]
        torch.testing.assert_close(graph(*batch.values())[inside], expected, rtol=0, atol=1e-5)


# --- a plugin's model -----------------------------------------------------------------------------

PLUGIN = """
from torch import nn
from model_foundry.architectures import BaseLanguageModel, ModelOutput, register_architecture

@register_architecture("exported_plugin")
class Plain(BaseLanguageModel):
    model_type, supports_generation = "exported_plugin", True

    def __init__(self, size):
        super().__init__()
        self.embed, self.output = nn.Embedding(size, 4), nn.Linear(4, size)

    @classmethod
    def from_config(cls, config, *, vocab_size=None, **ids):
        return cls(vocab_size)

    def forward(self, input_ids, attention_mask=None, labels=None, **kwargs):
        return ModelOutput(logits=self.output(self.embed(input_ids)))

    def get_input_embeddings(self):
        return self.embed

    def resize_token_embeddings(self, new_num_tokens):
        return self.embed
"""


def test_a_model_of_a_plugin_names_its_plugin(tmp_path: Path, tiny_config: MakeConfig) -> None:
    from model_foundry.architectures import MODEL_REGISTRY, load_plugin

    file = tmp_path / "mine.py"
    file.write_text(PLUGIN)
    digest = load_plugin(file)
    raw = tiny_config("gpt2").model_dump(exclude_none=True)
    raw["model"] = {"architecture": "exported_plugin"}
    model = create_model_from_config(ExperimentConfig.model_validate(raw), vocab_size=V)
    # versions before 5 take the name of a directory for that of a model
    directory = tmp_path / "gpt2-like"
    model.save_pretrained(directory)
    fields = json.loads((directory / "config.json").read_text())
    assert fields["plugin"] == {"file": "mine.py", "sha256": digest}
    assert "load_plugin('mine.py'), then model_foundry.model.load_model" in fields["load_with"]
    for auto in (AutoConfig, AutoModelForCausalLM):
        with pytest.raises(ValueError, match="model_foundry"):
            auto.from_pretrained(directory)
    assert type(BaseLanguageModel.from_pretrained(directory)) is type(model)
    del MODEL_REGISTRY["exported_plugin"]
    with pytest.raises(ConfigError, match=r"file that registers it \('mine.py'\) with --plugin"):
        BaseLanguageModel.from_pretrained(directory)

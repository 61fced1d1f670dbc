"""Faults that follow from the settings alone are told before the data are read."""

from pathlib import Path

import pytest

from model_foundry.errors import ConfigError
from model_foundry.experiment import check, train
from tests.experiments import tiny_experiment

pytestmark = pytest.mark.usefixtures("without_ninja")

HUB = "model.huggingface={{model_type: {}, hidden_size: 16, num_hidden_layers: 1{}}}"
VIT = "model={{architecture: vit, backbone: {{layers: 1, hidden_size: 8, attention_heads: 2{}}}}}"
IMAGES = "training.objective=image_classification"
CLASSES = "training.objective=sequence_classification"
STACKS = "{layers: 1, hidden_size: 8, attention_heads: 2"


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (
            "gpt2",
            ["model.implementation=native", CLASSES],
            "model.implementation (=native) does not fit training.objective",
        ),
        ("llama", [HUB.format("rwkv", "")], "rwkv cannot be built from these fields: "),
        (
            "llama",
            [HUB.format("llama", ", num_attention_heads: 3")],
            "model.huggingface: llama: The hidden size (16) is not a multiple of the number of att",
        ),
        (
            "llama",
            [HUB.format("llama", ", num_attention_heads: 2, num_key_value_heads: 3")],
            "llama cannot be built from these fields: ",
        ),
        (
            "llama",
            [HUB.format("llama", ", intermediate_size: '8'")],
            "model.huggingface.intermediate_size: must be an integer, got '8' (text)",
        ),
        (
            "llama",
            ["model.huggingface={model_type: llama, hidden_size: '8'}"],
            "model.huggingface.hidden_size: must be an integer, got '8' (text); write it without",
        ),
        (
            "llama",
            [HUB.format("xlstm", ", num_heads: 2")],
            "xlstm cannot generate with these fields, which needs the law 'cache' (transformers ",
        ),
        (
            "llama",
            [HUB.format("llama", ", num_attention_heads: 2, max_position_embeddings: 8")],
            "data.max_sequence_length: texts of up to 16 tokens need model.huggingface.max_posi",
        ),
        (
            "llama",
            [HUB.format("mamba", ""), "data.packing=documents"],
            "data.packing (=documents) needs the law 'documents'",
        ),
        (
            "llama",
            [
                HUB.format("albert", ", num_attention_heads: 2"),
                "training.objective=masked_lm",
                "training.gradient_checkpointing=true",
            ],
            "training.gradient_checkpointing (=true) is not supported by model_type 'albert'",
        ),
        (
            "gpt2",
            [VIT.format(", tie_word_embeddings: false"), IMAGES],
            "model.backbone.tie_word_embeddings (=false) is a setting of text",
        ),
        (
            "gpt2",
            [VIT.format(""), IMAGES, "training.image_classification.image_size=20"],
            "model.vit.patch_size (=16) must divide height and width of the images, which are 20",
        ),
    ],
)
def test_a_fault_of_the_settings_comes_before_those_of_the_data(
    kind: str, settings: list[str], message: str, tmp_path: Path
) -> None:
    config = tiny_experiment(kind, tmp_path, f"data.train={tmp_path}/none.jsonl", *settings)
    for use in (check, train):
        with pytest.raises(ConfigError) as caught:
            use(config)
        assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_body_for_labels_need_not_generate(tmp_path: Path) -> None:
    """The fields of xLSTM are those that cannot."""
    hub = HUB.format("xlstm", ", num_heads: 2")
    given = (f"data.train={tmp_path}/none.jsonl", hub, CLASSES)
    with pytest.raises(ValueError, match=r"none\.jsonl"):
        train(tiny_experiment("llama", tmp_path, *given))

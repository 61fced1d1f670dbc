"""Settings of kernels, shards and other places in a file are refused, or change nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model_foundry.model import load_model
from model_foundry.tokenizer.loading import load_tokenizer
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory
from tests.hostile.directories import PLAIN, V, bounded, change, refusal

Refused = tuple[str, str, dict[str, object], str]
NO_MODEL: list[tuple[str, object]] = [
    ("quantization_config", {"quant_method": "bitsandbytes", "load_in_4bit": True}),
    ("quantization_config", {"quant_method": "evil"}),
    ("fusion_config", {"patch_embeddings": True}),
    *(("transformers_weights", name) for name in ("../outside.safetensors", "pytorch_model.bin")),
    *(("dtype", name) for name in ("load", "evil")),
    ("activation_function", "os.system"),
    ("id2label", {"evil": 1}),
    *(("n_layer", number) for number in ("many", 10**9, -1)),
    ("n_embd", 10**7),
    ("n_positions", 10**13),
    ("vocab_size", 10**15),
    ("n_head", 0),
]
RECORD = ["foundry_architecture", "model", "objective", "max_sequence_length", "arguments", "x"]
TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "[X]", "type_id": 0}}],
    "pair": [],
    "special_tokens": {},
}
BROKEN_TOKENIZERS: list[tuple[str, object]] = [
    ("normalizer", {"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
    ("pre_tokenizer", {"type": "Split", "pattern": {"Regex": "("}}),
    ("post_processor", TEMPLATE),
    ("model", {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}),
    ("model", {"type": "Evil"}),
]
OTHER_VERSIONS = ["../other/tokenizer.4.0.json", "tokenizer.4.0.json", "/x"]
# kind of directory, file, its changes, part of the message
REFUSED: list[Refused] = [
    *(("transformer", "config.json", {name: value}, "") for name, value in NO_MODEL),
    *(
        ("plain", "config.json", {name: value}, "")
        for name in RECORD
        for value in ("os:system", None, {}, 10**15, -3)
    ),
    *(
        ("plain", "config.json", {"arguments": {"vocab_size": value}}, "")
        for value in ("os:system", None, {}, 10**15, -3)
    ),
    *(("tokenizer", "tokenizer.json", {name: value}, "") for name, value in BROKEN_TOKENIZERS),
    *(
        ("tokenizer", "tokenizer_config.json", {"fast_tokenizer_files": [name]}, "other files")
        for name in OTHER_VERSIONS
    ),
    *(
        ("tokenizer", "special_tokens_map.json", {"tokenizer_file": value}, "is no role of a token")
        for value in ("/x/tokenizer.json", None)
    ),
]


@pytest.mark.parametrize(("kind", "file", "says", "message"), REFUSED)
def test_what_describes_nothing_is_refused_at_once(
    kind: str, file: str, says: dict[str, object], message: str, fresh: Callable[[str], Path]
) -> None:
    directory = fresh(kind)
    change(directory / file, **says)
    with bounded():
        assert message in refusal(kind, directory)


@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation"])
@pytest.mark.parametrize("value", ["evil/kernel", "evil/kernel:function", "flash_attention_2"])
def test_a_model_directory_does_not_choose_kernels(
    name: str, value: str, fresh: Callable[[str], Path]
) -> None:
    directory = fresh("transformer")
    change(directory / "config.json", **{name: value, f"{name}_internal": value})
    loaded = load_model(directory)
    assert loaded.hf_config._attn_implementation == "sdpa"  # type: ignore[union-attr]


def test_settings_of_generation_are_not_taken_from_the_directory(
    fresh: Callable[[str], Path],
) -> None:
    directory = fresh("transformer")
    change(directory / "generation_config.json", suppress_tokens=list(range(1, V)))
    ids = torch.tensor([[3, 4]])
    rows = [load_model(each).generate(ids, max_new_tokens=3) for each in (directory,)]
    (directory / "generation_config.json").unlink()
    assert torch.equal(rows[0], load_model(directory).generate(ids, max_new_tokens=3))


def test_a_record_that_lacks_something_is_refused(fresh: Callable[[str], Path]) -> None:
    directory = fresh("plain")
    (directory / "config.json").write_text(json.dumps({"foundry_architecture": PLAIN}))
    assert "lacks kind" in refusal("plain", directory)


def save_shards(directory: Path) -> None:
    model = load_model(directory)
    (directory / "model.safetensors").unlink()
    model.hf_model.save_pretrained(directory, max_shard_size="2KB")  # type: ignore[operator, union-attr]


def test_weights_in_shards_are_loaded(
    fresh: Callable[[str], Path], originals: dict[str, Path]
) -> None:
    directory, whole = fresh("transformer"), load_model(originals["transformer"]).state_dict()
    save_shards(directory)
    assert len(list(directory.glob("model-*.safetensors"))) > 1
    loaded = load_model(directory).state_dict()
    assert all(torch.equal(whole[name], loaded[name]) for name in whole)


@pytest.mark.parametrize(
    "name",
    [
        "../outside.safetensors",
        "../transformer/../outside.safetensors",
        "{root}/outside.safetensors",
        "model-00001-of-00001.safetensors/../../outside.safetensors",
        "pytorch_model.bin",
        "model-00001-of-00001.safetensors\n",
        "model-00001-of-00001.safetensors\0",
        "",
        3,
        None,
        ["model-00001-of-00001.safetensors"],
    ],
)
def test_an_index_names_shards_and_nothing_else(
    name: object, fresh: Callable[[str], Path], tmp_path: Path
) -> None:
    directory = fresh("transformer")
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").rename(tmp_path / "outside.safetensors")
    shard = name.format(root=tmp_path) if isinstance(name, str) else name
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, shard)}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "is no name of a shard" in refusal("transformer", directory)


@pytest.mark.parametrize("index", ["{}", "[]", '{"weight_map": ["x"]}', '{"weight_map": {}}'])
def test_an_index_of_nothing_is_refused(index: str, fresh: Callable[[str], Path]) -> None:
    directory = fresh("transformer")
    (directory / "model.safetensors").unlink()
    (directory / "model.safetensors.index.json").write_text(index)
    refusal("transformer", directory)


def test_a_shard_that_leads_out_is_refused(fresh: Callable[[str], Path], tmp_path: Path) -> None:
    directory = fresh("transformer")
    save_shards(directory)
    shard = sorted(directory.glob("model-*.safetensors"))[0]
    shard.rename(tmp_path / "outside")
    shard.symlink_to(tmp_path / "outside")
    assert "leads out of the directory" in refusal("transformer", directory)


@pytest.mark.parametrize(
    "key", ["tokenizer_file", "vocab_file", "merges_file", "name_or_path", "gguf_file", "vocab"]
)
def test_settings_of_a_tokenizer_name_no_other_place(
    key: str, fresh: Callable[[str], Path], tmp_path: Path
) -> None:
    directory = fresh("tokenizer")
    expected = load_tokenizer(directory).get_vocab()
    other = TokenizerFactory.train_character(documents=["xyz"], output_dir=tmp_path / "other")
    assert other.get_vocab() != expected
    place = tmp_path / "other" / ("" if key == "name_or_path" else "tokenizer.json")
    change(directory / "tokenizer_config.json", **{key: str(place)})
    assert load_tokenizer(directory).get_vocab() == expected

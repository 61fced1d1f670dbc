"""What a file says of kernels, shards and other places is refused, or changes nothing."""

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


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("quantization_config", {"quant_method": "bitsandbytes", "load_in_4bit": True}),
        ("quantization_config", {"quant_method": "evil"}),
        ("fusion_config", {"patch_embeddings": True}),
        ("transformers_weights", "../outside.safetensors"),
        ("transformers_weights", "pytorch_model.bin"),
        ("dtype", "load"),
        ("dtype", "evil"),
        ("activation_function", "os.system"),
        ("id2label", {"evil": 1}),
        ("n_layer", "many"),
        ("n_layer", 10**9),
        ("n_layer", -1),
        ("n_embd", 10**7),
        ("n_positions", 10**13),
        ("vocab_size", 10**15),
        ("n_head", 0),
    ],
)
def test_a_field_that_describes_no_model_is_refused_at_once(
    field: str, value: object, fresh: Callable[[str], Path]
) -> None:
    directory = fresh("transformer")
    change(directory / "config.json", **{field: value})
    with bounded():
        refusal("transformer", directory)


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


@pytest.mark.parametrize(
    "name",
    ["foundry_architecture", "model", "objective", "max_sequence_length", "vocab_size", "stray"],
)
@pytest.mark.parametrize("value", ["os:system", None, {}, 10**15, -3])
def test_a_record_that_we_did_not_write_is_refused(
    name: str, value: object, fresh: Callable[[str], Path]
) -> None:
    directory = fresh("plain")
    change(directory / "config.json", **{name: value})
    with bounded():
        refusal("plain", directory)


def test_a_record_that_lacks_something_is_refused(fresh: Callable[[str], Path]) -> None:
    directory = fresh("plain")
    (directory / "config.json").write_text(json.dumps({"foundry_architecture": PLAIN}))
    assert "lacks max_sequence_length" in refusal("plain", directory)


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


def test_the_roles_of_tokens_name_no_other_place(
    fresh: Callable[[str], Path], tmp_path: Path
) -> None:
    directory = fresh("tokenizer")
    TokenizerFactory.train_character(documents=["xyz"], output_dir=tmp_path / "other")
    outside = str(tmp_path / "other" / "tokenizer.json")
    change(directory / "special_tokens_map.json", pad_token="<pad>", tokenizer_file=outside)
    assert "'tokenizer_file' is no role of a token" in refusal("tokenizer", directory)
    change(directory / "special_tokens_map.json", tokenizer_file=None)
    assert "'tokenizer_file'" in refusal("tokenizer", directory)


@pytest.mark.parametrize("name", ["../other/tokenizer.4.0.json", "tokenizer.4.0.json", "{root}/x"])
def test_other_versions_of_a_tokenizer_are_not_looked_for(
    name: str, fresh: Callable[[str], Path], tmp_path: Path
) -> None:
    directory = fresh("tokenizer")
    change(directory / "tokenizer_config.json", fast_tokenizer_files=[name.format(root=tmp_path)])
    assert "names other files" in refusal("tokenizer", directory)

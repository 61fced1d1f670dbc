"""Files made to harm whoever loads them: no code of theirs runs, nothing else is opened, one line.

A kind of directory is a line in `KINDS`, a file that a loader could open one in `FILES`.
"""

import io
import json
import os
import pickle
import resource
import shutil
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from model_foundry.architectures import (
    MODEL_REGISTRY,
    BaseLanguageModel,
    ModelOutput,
    create_model_from_config,
    register_architecture,
)
from model_foundry.cli import main
from model_foundry.config import ExperimentConfig
from model_foundry.data.packing import TokenStream, _read, _write
from model_foundry.errors import ConfigError, DataError, FoundryError
from model_foundry.model import load_model
from model_foundry.tokenizer.loading import copy_tokenizer, load_tokenizer
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory
from tests.experiments import tiny_experiment

V = 40
PLAIN = "plain_for_hostile_files"


class Plain(BaseLanguageModel):
    """The least that is a language model and saves itself by the methods of its base."""

    model_type = PLAIN
    supports_generation = True

    def __init__(self, size: int) -> None:
        super().__init__()
        self.embed, self.output = nn.Embedding(size, 4), nn.Linear(4, size)

    @classmethod
    def from_config(cls, config: ExperimentConfig, *, vocab_size: Any = None, **_: Any) -> Self:
        return cls(vocab_size)

    def forward(self, input_ids: Tensor, *_: Any, **__: Any) -> ModelOutput:
        return ModelOutput(logits=self.output(self.embed(input_ids)))

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def resize_token_embeddings(self, new_num_tokens: int) -> nn.Module:
        return self.embed


# --- what is loaded -------------------------------------------------------------------------------


def save_transformer(directory: Path) -> None:
    config = GPT2Config(vocab_size=V, n_positions=8, n_embd=8, n_layer=2, n_head=2)
    GPT2LMHeadModel(config).save_pretrained(directory)


def save_recurrent(directory: Path) -> None:
    config = tiny_experiment("lstm", directory)
    create_model_from_config(config, vocab_size=V).save_pretrained(directory)


def save_plain(directory: Path) -> None:
    raw = tiny_experiment("gpt2", directory).model_dump(exclude_none=True)
    raw["model"] = {"architecture": PLAIN}
    config = ExperimentConfig.model_validate(raw)
    create_model_from_config(config, vocab_size=V).save_pretrained(directory)


def save_tokenizer(directory: Path) -> None:
    TokenizerFactory.train_sentencepiece(
        documents=["the dogs see a cat"] * 9, vocab_size=300, output_dir=directory
    )


def save_stream(directory: Path) -> None:
    directory.mkdir()
    row = np.arange(9, dtype=np.uint16)
    values = {"documents": 1, "text_sha256": "0"}
    fields = {name: values[name] for name in TokenStream.__dataclass_fields__ if name in values}
    _write(TokenStream(row, row, row, **fields), directory)


@dataclass(frozen=True)
class Kind:
    """A kind of directory that somebody else may have made."""

    save: Callable[[Path], None]
    load: Callable[[Path], object]
    error: type[FoundryError]


KINDS = {
    "transformer": Kind(save_transformer, load_model, ConfigError),
    "recurrent": Kind(save_recurrent, load_model, ConfigError),
    "plain": Kind(save_plain, load_model, ConfigError),
    "tokenizer": Kind(save_tokenizer, load_tokenizer, DataError),
    "token cache": Kind(save_stream, _read, DataError),
}
READ, UNREAD = True, False
FILES = [
    ("transformer", "config.json", READ),
    ("transformer", "model.safetensors", READ),
    ("transformer", "generation_config.json", UNREAD),
    ("transformer", "pytorch_model.bin", UNREAD),
    ("transformer", "adapter_config.json", UNREAD),
    ("transformer", "training_args.bin", UNREAD),
    ("recurrent", "config.json", READ),
    ("recurrent", "model.safetensors", READ),
    ("recurrent", "modeling_recurrent.py", UNREAD),
    ("plain", "config.json", READ),
    ("plain", "model.safetensors", READ),
    ("plain", "pytorch_model.bin", UNREAD),
    ("tokenizer", "tokenizer.json", READ),
    ("tokenizer", "tokenizer_config.json", READ),
    ("tokenizer", "special_tokens_map.json", READ),
    ("tokenizer", "tokenizer.model", UNREAD),
    ("tokenizer", "vocab.txt", UNREAD),
    ("tokenizer", "vocab.json", UNREAD),
    ("tokenizer", "merges.txt", UNREAD),
    ("tokenizer", "tokenizer.pkl", UNREAD),
    ("token cache", "tokens.npy", READ),
    ("token cache", "num_bytes.npy", READ),
    ("token cache", "num_words.npy", READ),
    ("token cache", "stream.json", READ),
]


JSON_FILES = [(kind, file) for kind, file, read in FILES if read and file.endswith(".json")]


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    register_architecture(PLAIN)(Plain)
    yield
    MODEL_REGISTRY.pop(PLAIN)


@pytest.fixture(autouse=True)
def _nobody_is_asked_and_nothing_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def asked(*_: object) -> str:
        raise AssertionError("a question was asked")

    def too_long(*_: object) -> None:
        raise AssertionError("took too long")

    monkeypatch.setattr("builtins.input", asked)
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("originals")
    register_architecture(PLAIN)(Plain)
    for name, kind in KINDS.items():
        kind.save(root / name)
    MODEL_REGISTRY.pop(PLAIN)
    return {name: root / name for name in KINDS}


@pytest.fixture
def fresh(originals: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """Copy the directory of a kind, to be tampered with."""
    return lambda kind: Path(shutil.copytree(originals[kind], tmp_path / kind))


def refusal(kind: str, directory: Path) -> str:
    """Return the message with which loading ends; it is of the right class and one line."""
    with pytest.raises(KINDS[kind].error) as caught:
        KINDS[kind].load(directory)
    message = str(caught.value)
    assert str(directory) in message
    assert "\n" not in message and len(message) < 1200
    return message


def change(path: Path, **values: object) -> None:
    """Set keys of a JSON file."""
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | values))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_as_it_was_saved_is_loaded(kind: str, fresh: Callable[[str], Path]) -> None:
    assert KINDS[kind].load(fresh(kind)) is not None


# --- payloads -------------------------------------------------------------------------------------


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.sentinel,)


def as_pickle(payload: Payload) -> bytes:
    return pickle.dumps(payload)


def as_torch(payload: Payload) -> bytes:
    buffer = io.BytesIO()
    torch.save({"transformer.wte.weight": payload}, buffer)
    return buffer.getvalue()


def as_numpy(payload: Payload) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([payload], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def as_archive(payload: Payload) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, tokens=np.array([payload], dtype=object))
    return buffer.getvalue()


PAYLOADS = [as_pickle, as_torch, as_numpy, as_archive]


@pytest.mark.parametrize("wrap", PAYLOADS)
def test_the_payload_is_real(wrap: Callable[[Payload], bytes], tmp_path: Path) -> None:
    data = io.BytesIO(wrap(Payload(tmp_path / "ran")))
    if wrap is as_torch:
        torch.load(data, weights_only=False)
    elif wrap is as_pickle:
        pickle.loads(data.getvalue())
    else:
        loaded = np.load(data, allow_pickle=True)
        _ = loaded["tokens"] if wrap is as_archive else loaded
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("wrap", PAYLOADS)
@pytest.mark.parametrize(("kind", "file", "read"), FILES)
def test_a_pickle_in_place_of_a_file_never_runs(
    kind: str,
    file: str,
    read: bool,
    wrap: Callable[[Payload], bytes],
    fresh: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    directory, sentinel = fresh(kind), tmp_path / "ran"
    (directory / file).write_bytes(wrap(Payload(sentinel)))
    if read:
        assert file in refusal(kind, directory) or kind in ("tokenizer", "token cache")
    else:
        KINDS[kind].load(directory)
    assert not sentinel.exists()


@pytest.mark.parametrize("kind", ["transformer", "recurrent", "plain"])
def test_pickled_weights_alone_are_no_weights(
    kind: str, fresh: Callable[[str], Path], tmp_path: Path
) -> None:
    directory = fresh(kind)
    (directory / "model.safetensors").unlink()
    (directory / "pytorch_model.bin").write_bytes(as_torch(Payload(tmp_path / "ran")))
    assert "pickled weights are not read" in refusal(kind, directory)
    assert not (tmp_path / "ran").exists()


# --- what stands in place of a file ---------------------------------------------------------------


def pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


def folder(path: Path, _: Path) -> None:
    path.mkdir()


def link(path: Path, original: Path) -> None:
    """Lead to a file outside that would be loaded."""
    outside = path.parent.parent / "outside"
    outside.write_bytes(original.read_bytes() if original.exists() else b"{}")
    path.symlink_to(outside)


def endless(path: Path, _: Path) -> None:
    path.symlink_to("/dev/zero")


def loop(path: Path, _: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("put", [pipe, folder, link, endless, loop])
@pytest.mark.parametrize(("kind", "file"), [(kind, file) for kind, file, read in FILES if read])
def test_only_regular_files_of_the_directory_are_opened(
    kind: str,
    file: str,
    put: Callable[[Path, Path], None],
    fresh: Callable[[str], Path],
    originals: dict[str, Path],
) -> None:
    directory = fresh(kind)
    (directory / file).unlink(missing_ok=True)
    put(directory / file, originals[kind] / file)
    assert file in refusal(kind, directory)


def test_a_link_within_the_directory_is_followed(fresh: Callable[[str], Path]) -> None:
    directory = fresh("transformer")
    (directory / "model.safetensors").rename(directory / "weights")
    (directory / "model.safetensors").symlink_to("weights")
    load_model(directory)


@pytest.mark.parametrize("file", ["tokenizer.model", "config.json", "chat_template.jinja"])
@pytest.mark.parametrize("put", [pipe, link])
def test_a_tokenizer_is_not_copied_from_elsewhere(
    file: str,
    put: Callable[[Path, Path], None],
    fresh: Callable[[str], Path],
    originals: dict[str, Path],
    tmp_path: Path,
) -> None:
    directory = fresh("tokenizer")
    (directory / file).unlink(missing_ok=True)
    put(directory / file, originals["tokenizer"] / file)
    refusal("tokenizer", directory)
    with pytest.raises(DataError, match=file):
        copy_tokenizer(directory, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_only_files_of_a_tokenizer_are_copied(fresh: Callable[[str], Path], tmp_path: Path) -> None:
    directory = fresh("tokenizer")
    for stray in ("evil.py", "model.safetensors", "tokenizer.pkl"):
        (directory / stray).write_bytes(b"")
    copy_tokenizer(directory, tmp_path / "copy")
    copied = {path.name for path in (tmp_path / "copy").iterdir()}
    assert copied == {"tokenizer.json", "tokenizer_config.json", "tokenizer.model", "manifest.json"}
    assert load_tokenizer(tmp_path / "copy")("a cat") == load_tokenizer(directory)("a cat")


# --- code beside a model --------------------------------------------------------------------------

CODE = """
from pathlib import Path
from transformers import GPT2Config as Config, GPT2LMHeadModel as Model, GPT2Tokenizer as Tokenizer
Path({sentinel!r}).touch()
"""
MODEL_CODE = {
    "AutoConfig": "evil.Config",
    "AutoModel": "evil.Model",
    "AutoModelForCausalLM": "evil.Model",
}


@pytest.fixture
def sentinel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that would come to be if `evil.py` were run."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "ran"
    assert not (tmp_path / "ran").exists()
    assert "evil" not in sys.modules


def plant(directory: Path, sentinel: Path) -> None:
    for place in (directory, directory / "question_encoder_tokenizer"):
        place.mkdir(exist_ok=True)
        (place / "evil.py").write_text(CODE.format(sentinel=str(sentinel)))


@pytest.mark.parametrize("model_type", ["evil", "llama", None, 3, "os:system", "evil\nname"])
def test_an_unknown_model_with_code_is_refused_without_asking(
    model_type: object, fresh: Callable[[str], Path], sentinel: Path
) -> None:
    directory = fresh("transformer")
    plant(directory, sentinel)
    change(directory / "config.json", model_type=model_type, auto_map=MODEL_CODE)
    assert "code of a model directory (auto_map) is never run" in refusal("transformer", directory)


def test_the_command_line_refuses_it_with_one_line(
    fresh: Callable[[str], Path],
    sentinel: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    directory = fresh("transformer")
    plant(directory, sentinel)
    change(directory / "config.json", model_type="evil", auto_map=MODEL_CODE)
    monkeypatch.setattr(sys, "argv", ["foundry", "generate", str(directory)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "is never run" in err


def test_code_beside_a_known_model_is_not_run_and_not_passed_on(
    fresh: Callable[[str], Path], sentinel: Path, tmp_path: Path
) -> None:
    directory = fresh("transformer")
    plant(directory, sentinel)
    change(directory / "config.json", auto_map=MODEL_CODE)
    load_model(directory).save_pretrained(tmp_path / "again")
    assert "evil" not in (tmp_path / "again" / "config.json").read_text()


@pytest.mark.parametrize(
    "auto_map",
    [
        {"AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"]},
        ["evil.Tokenizer", None],
        {"AutoTokenizer": ["evil/repository--evil.Tokenizer", None]},
        "evil.Tokenizer",
    ],
)
def test_a_tokenizer_with_code_is_refused_without_asking(
    auto_map: object, fresh: Callable[[str], Path], sentinel: Path
) -> None:
    directory = fresh("tokenizer")
    plant(directory, sentinel)
    change(directory / "tokenizer_config.json", auto_map=auto_map, tokenizer_class="Tokenizer")
    message = refusal("tokenizer", directory)
    assert "code of a tokenizer directory is never run" in message


@pytest.mark.parametrize(
    "name",
    ["AutoTokenizer", "AutoModel", "RagTokenizer", "pipeline", "evil.Tokenizer", "os:system", 3],
)
@pytest.mark.parametrize("place", ["tokenizer_config.json", "config.json"])
def test_the_class_of_a_tokenizer_is_no_way_to_code(
    name: object, place: str, fresh: Callable[[str], Path], sentinel: Path
) -> None:
    directory = fresh("tokenizer")
    expected = load_tokenizer(directory)("a cat")
    plant(directory, sentinel)
    change(directory / "config.json", model_type="rag", auto_map=MODEL_CODE)
    inner = directory / "question_encoder_tokenizer"
    change(inner / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Tokenizer", None]})
    change(directory / place, tokenizer_class=name)
    assert load_tokenizer(directory)("a cat") == expected


# --- what a file says -----------------------------------------------------------------------------


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


# --- sizes and types ------------------------------------------------------------------------------


class bounded:
    """Asserts that a block takes a few seconds and a few hundred megabytes at the most."""

    def __enter__(self) -> None:
        self.start, self.peak = time.monotonic(), self._peak()

    def __exit__(self, *_: object) -> None:
        assert time.monotonic() - self.start < 10
        assert self._peak() - self.peak < 500_000

    @staticmethod
    def _peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes


def header(content: dict[str, Any], data: bytes = b"", *, length: int | None = None) -> bytes:
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape: list[int], offsets: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"x": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


SAFETENSORS = {
    "empty": b"",
    "seven bytes": b"1234567",
    "header of 2^63 bytes": header({}, length=2**63),
    "header of 2^64 - 1 bytes": header({}, length=2**64 - 1),
    "header of 99 MB that is not there": header({}, length=99_000_000),
    "no tensor": header({}),
    "nested header": struct.pack("<Q", 10_000_000) + b"[" * 10_000_000,
    "tensor of 2^60 numbers": header(tensor([2**60], [0, 2**62])),
    "overflowing shape": header(tensor([2**40, 2**40], [0, 4]), b"0000"),
    "offsets turned round": header(tensor([1], [4, 0]), b"0000"),
    "data cut off": header(tensor([9], [0, 36]), b"0000"),
    "unknown type": header(tensor([1], [0, 4], "PICKLE"), b"0000"),
    "many tensors": header(
        {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(100_000)}
    ),
}


@pytest.mark.parametrize("content", SAFETENSORS)
@pytest.mark.parametrize("kind", ["transformer", "recurrent", "plain"])
def test_weights_that_lie_are_refused_at_once(
    kind: str, content: str, fresh: Callable[[str], Path]
) -> None:
    directory = fresh(kind)
    (directory / "model.safetensors").write_bytes(SAFETENSORS[content])
    with bounded():
        refusal(kind, directory)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64, torch.uint8])
@pytest.mark.parametrize("kind", ["transformer", "recurrent", "plain"])
def test_weights_that_are_no_real_numbers_are_refused(
    kind: str, dtype: torch.dtype, fresh: Callable[[str], Path]
) -> None:
    directory = fresh(kind)
    path = directory / "model.safetensors"
    tensors = {name: value.to(dtype) for name, value in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})
    assert "floating-point" in refusal(kind, directory)


@pytest.mark.parametrize("kind", ["transformer", "recurrent", "plain"])
def test_weights_of_other_shapes_are_refused(kind: str, fresh: Callable[[str], Path]) -> None:
    directory = fresh(kind)
    path = directory / "model.safetensors"
    tensors = {
        name: torch.zeros(value.shape[0] + 1, *value.shape[1:])
        for name, value in load_file(path).items()
    }
    save_file(tensors, path, metadata={"format": "pt"})
    refusal(kind, directory)


def test_no_memory_is_taken_for_weights_that_are_missing(fresh: Callable[[str], Path]) -> None:
    directory = fresh("transformer")
    path = directory / "model.safetensors"
    tensors = {name: value for name, value in load_file(path).items() if "wpe" not in name}
    save_file(tensors, path, metadata={"format": "pt"})
    change(directory / "config.json", n_positions=40_000_000)  # 1.3 GB
    with bounded():
        assert "too few for the" in refusal("transformer", directory)


def test_names_of_weights_stay_on_one_line(fresh: Callable[[str], Path]) -> None:
    directory = fresh("transformer")
    path = directory / "model.safetensors"
    stray = {"a\nb": torch.zeros(1), "\x1b[2J": torch.zeros(1), "c" * 9000: torch.zeros(1)}
    save_file(load_file(path) | stray, path, metadata={"format": "pt"})
    assert "unexpected keys" in refusal("transformer", directory)


JSON = {
    "nested lists": b"[" * 10_000_000,
    "nested objects": b'{"a":' * 2_000_000,
    "a long number": b'{"vocab_size": ' + b"9" * 1_000_000 + b"}",
    "another encoding": "{}".encode("utf-16"),
    "a list": b"[1]",
    "nothing": b"",
}


@pytest.mark.parametrize("content", JSON)
@pytest.mark.parametrize(("kind", "file"), JSON_FILES)
def test_json_that_is_none_is_refused_at_once(
    kind: str, file: str, content: str, fresh: Callable[[str], Path]
) -> None:
    directory = fresh(kind)
    (directory / file).write_bytes(JSON[content])
    with bounded():
        refusal(kind, directory)


@pytest.mark.parametrize(("kind", "file"), JSON_FILES)
def test_huge_json_is_not_even_read(kind: str, file: str, fresh: Callable[[str], Path]) -> None:
    directory = fresh(kind)
    with (directory / file).open("ab") as opened:
        opened.truncate(2**40)  # a hole takes no room
    with bounded():
        assert "larger than" in refusal(kind, directory)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("normalizer", {"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        ("pre_tokenizer", {"type": "Split", "pattern": {"Regex": "("}}),
        (
            "post_processor",
            {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "[X]", "type_id": 0}}],
                "pair": [],
                "special_tokens": {},
            },
        ),
        ("model", {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}),
        ("model", {"type": "Evil"}),
    ],
)
def test_a_tokenizer_on_which_the_library_fails_is_refused(
    part: str, value: object, fresh: Callable[[str], Path]
) -> None:
    directory = fresh("tokenizer")
    change(directory / "tokenizer.json", **{part: value})
    refusal("tokenizer", directory)


def test_a_stream_whose_arrays_differ_is_refused(fresh: Callable[[str], Path]) -> None:
    directory = fresh("token cache")
    for wrong in (
        np.arange(5, dtype=np.uint16),
        np.arange(9, dtype=np.float32),
        np.arange(9, dtype=np.int64),
        np.zeros((9, 1), np.uint16),
        np.array(3, np.uint16),
    ):
        np.save(directory / "num_words.npy", wrong)
        assert "is no token stream" in refusal("token cache", directory)

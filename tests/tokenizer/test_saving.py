"""Tokenizer directories that other versions and tools read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoProcessor, AutoTokenizer, BertConfig, GPT2Config, pipeline

from model_foundry.model import create_model
from model_foundry.objectives.processors import TextTokenizer
from model_foundry.tokenizer.framing import framed
from model_foundry.tokenizer.loading import load_tokenizer
from model_foundry.tokenizer.saving import CLASS, save_tokenizer
from model_foundry.tokenizer.tokenizer_factory import TRAINERS, TokenizerFactory
from model_foundry.training.checkpoint.save_load import save_model
from tests.data.corpora import tokenizer_of
from tests.experiments import MODELS, tiny_experiment
from tests.tokenizer.loaded import LOADED, TEXTS, loaded

KINDS = [*sorted(TRAINERS), *LOADED]
OF_ONE_VERSION = {"backend", "is_local", "local_files_only", "name_or_path", "tokenizer_file"}
REBUILD = {"add_bos_token", "add_eos_token", "add_prefix_space", "extra_special_tokens"}
# types in tokenizer.json that tokenizers 0.21 does not support
NEWER = {"FixedLength"}


def settings_of(directory: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((directory / "tokenizer_config.json").read_text())
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_all_versions_read_the_settings_alike(kind: str, tmp_path: Path) -> None:
    tokenizer = loaded(kind) if kind in LOADED else tokenizer_of(kind)
    tokenizer.init_kwargs |= {"add_bos_token": True, "local_files_only": True, "is_local": True}
    save_tokenizer(tokenizer, tmp_path)
    settings = settings_of(tmp_path)
    assert settings["tokenizer_class"] == CLASS == "PreTrainedTokenizerFast"
    assert not settings.keys() & (OF_ONE_VERSION | REBUILD)
    # their defaults differ between versions
    always = {
        "model_input_names",
        "padding_side",
        "truncation_side",
        "clean_up_tokenization_spaces",
    }
    assert always < settings.keys()
    steps = json.loads((tmp_path / "tokenizer.json").read_text())["pre_tokenizer"] or {}
    assert not NEWER & {step["type"] for step in [steps, *steps.get("pretokenizers", [])]}


def test_further_special_tokens_have_the_name_that_all_versions_read(tmp_path: Path) -> None:
    tokenizer = loaded("llama")
    tokenizer.add_special_tokens({"extra_special_tokens": ["<speaker>"]})
    save_tokenizer(tokenizer, tmp_path)
    assert settings_of(tmp_path)["additional_special_tokens"] == ["<speaker>"]
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.all_special_ids == tokenizer.all_special_ids
    assert again("a <speaker> b")["input_ids"] == tokenizer("a <speaker> b")["input_ids"]


def test_sentencepiece_keeps_the_model_that_it_was_made_from(tmp_path: Path) -> None:
    trained = TokenizerFactory.train_sentencepiece(
        documents=TEXTS, vocab_size=330, output_dir=tmp_path / "trained"
    )
    (tmp_path / "kept").mkdir()
    save_tokenizer(trained, tmp_path / "kept", source=tmp_path / "trained")
    model = (tmp_path / "trained" / "tokenizer.model").read_bytes()
    assert (tmp_path / "kept" / "tokenizer.model").read_bytes() == model
    again = AutoTokenizer.from_pretrained(tmp_path / "kept")
    assert again(TEXTS[0])["input_ids"] == trained(TEXTS[0])["input_ids"]


@pytest.mark.parametrize("architecture", sorted(MODELS))
def test_a_text_is_cut_at_the_positions_of_the_model_where_it_has_any(
    architecture: str, tmp_path: Path
) -> None:
    tokenizer = framed(loaded("gpt2"), ([], []))  # its own limit is 1024
    model = create_model(tiny_experiment(architecture, tmp_path), tokenizer=tokenizer).eval()
    save_model(tmp_path / "model", model, {"tokenizer": TextTokenizer(tokenizer, tmp_path)})
    for auto in (AutoTokenizer, AutoProcessor):
        opened = auto.from_pretrained(tmp_path / "model", trust_remote_code=True)
        cut = opened("the dog " * 700, truncation=True, return_tensors="pt")
        limit = model.num_positions
        assert cut["input_ids"].shape[1] == limit if limit else cut["input_ids"].shape[1] > 1400
        model(cut["input_ids"][:, : limit or 20])


def test_a_pipeline_cuts_a_text_that_is_too_long(tmp_path: Path) -> None:
    tokenizer = framed(tokenizer_of("bpe", TEXTS), ([], []))
    model = create_model(tiny_experiment("gpt2", tmp_path), tokenizer=tokenizer)
    save_model(tmp_path / "model", model, {"tokenizer": TextTokenizer(tokenizer, tmp_path)})
    features = pipeline("feature-extraction", model=str(tmp_path / "model"))
    assert len(features("the dog " * 50, truncation=True)[0]) == 16


@pytest.mark.slow
def test_the_directory_is_read_where_this_package_is_not(tmp_path: Path) -> None:
    """In another process, beside the configuration of any model."""
    expected, places = [], []
    for kind in KINDS:
        tokenizer = loaded(kind) if kind in LOADED else tokenizer_of(kind, TEXTS)
        for config in (None, GPT2Config(), BertConfig()):
            place = tmp_path / f"{kind}-{type(config).__name__}"
            save_tokenizer(framed(tokenizer, ([], [])), place)
            if config is not None:
                config.save_pretrained(place)
            places.append(str(place))
            expected.append(load_tokenizer(place)(TEXTS)["input_ids"])
    script = (
        "import json, sys; from transformers import AutoTokenizer as A\n"
        "places, texts = json.load(sys.stdin)\n"
        "json.dump([A.from_pretrained(p)(texts)['input_ids'] for p in places], sys.stdout)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps([places, TEXTS]),
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected

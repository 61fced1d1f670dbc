"""`create_model`: the size, the special ids, and weights that depend on the seed alone."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from model_foundry.cli import main
from model_foundry.config import OBJECTIVES
from model_foundry.data_collators import get_data_collator
from model_foundry.errors import ConfigError, DataError
from model_foundry.generation import generate_texts
from model_foundry.model import create_model, load_model
from model_foundry.objectives import RecordObjective, register_objective
from model_foundry.tokenizer.special_tokens import special_token_ids
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory
from tests.architectures.small_models import experiment, registered
from tests.experiments import MODELS, tiny_experiment

DOCUMENTS = ["the quick brown fox"]


@pytest.fixture(scope="module")
def character() -> PreTrainedTokenizerFast:
    return TokenizerFactory.train_character(documents=DOCUMENTS)


def rows(model: torch.nn.Module) -> int:
    return model.get_input_embeddings().weight.shape[0]  # type: ignore[operator, no-any-return]


def test_the_size_is_given_else_the_tokenizers_else_configured(
    tmp_path: Path, character: PreTrainedTokenizerFast
) -> None:
    config = tiny_experiment("gpt2", tmp_path)
    assert rows(create_model(config)) == 300
    assert rows(create_model(config, tokenizer=character)) == len(character)
    assert rows(create_model(config, tokenizer=character, vocab_size=77)) == 77
    character.save_pretrained(tmp_path / "run" / "tokenizer")
    assert rows(create_model(config)) == len(character)


def test_tokenizer_named_by_path_gives_the_size(
    tmp_path: Path, character: PreTrainedTokenizerFast
) -> None:
    character.save_pretrained(tmp_path / "mine")
    config = tiny_experiment("lstm", tmp_path, f"tokenizer.path={tmp_path / 'mine'}")
    assert rows(create_model(config)) == len(character)


def test_the_labels_of_a_task_come_from_its_data(tmp_path: Path) -> None:
    table = tmp_path / "texts.csv"
    table.write_text("text,label\n" + "dogs run,yes\ncats see,no\n" * 4)
    given = (f"data.train={table}", f"data.validation={table}")
    given += ("data.max_sequence_length=16", "training.objective=sequence_classification")
    model: Any = create_model(tiny_experiment("lstm", tmp_path, *given))
    assert model.hf_config.id2label == {0: "no", 1: "yes"}
    table.unlink()
    with pytest.raises(DataError, match="no such file"):
        create_model(tiny_experiment("lstm", tmp_path, *given))


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_weights_follow_from_the_seed_whatever_ran_before(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    one = create_model(tiny_experiment(kind, tmp_path)).state_dict()
    state = torch.get_rng_state()
    torch.rand(3)
    again = create_model(tiny_experiment(kind, tmp_path)).state_dict()
    other = create_model(tiny_experiment(kind, tmp_path, "seed=7")).state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    torch.set_rng_state(state)


def test_begin_and_end_fall_back_to_cls_and_sep() -> None:
    bert_style = TokenizerFactory.train_wordpiece(documents=DOCUMENTS, vocab_size=40)
    ids = special_token_ids(bert_style)
    assert ids["bos_token_id"] == bert_style.cls_token_id
    assert ids["eos_token_id"] == bert_style.sep_token_id
    assert special_token_ids(None) == {}


def test_special_ids_reach_the_model(tmp_path: Path, character: PreTrainedTokenizerFast) -> None:
    for kind in ("gpt2", "lstm"):
        hf_config = create_model(tiny_experiment(kind, tmp_path), tokenizer=character).hf_config
        ids = hf_config.pad_token_id, hf_config.bos_token_id, hf_config.eos_token_id
        expected = character.pad_token_id, character.bos_token_id, character.eos_token_id
        assert ids == expected


def test_vocabulary_too_small_for_the_special_tokens_is_refused(
    tmp_path: Path, character: PreTrainedTokenizerFast
) -> None:
    with pytest.raises(DataError, match="outside the vocabulary"):
        create_model(tiny_experiment("gpt2", tmp_path), tokenizer=character, vocab_size=2)


def test_another_kind_is_made_from_the_arguments_of_the_caller(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with registered():
        config = experiment("array_classifier")
        sizes = {"features": 5, "classes": ["a", "b"]}
        one, again = (create_model(config, **sizes) for _ in range(2))
        assert one.classes == ["a", "b"]
        states = [list(model.state_dict().values()) for model in (one, again)]
        assert all(map(torch.equal, *states))
        one.save_pretrained(tmp_path)
        assert type(load_model(tmp_path)) is type(one) and not load_model(tmp_path).training
        monkeypatch.setattr(sys, "argv", ["foundry", "generate", str(tmp_path)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: 'array_classifier' is no language model and cannot generate")


def test_a_counting_model_gets_its_vocabulary(
    tmp_path: Path, character: PreTrainedTokenizerFast
) -> None:
    with registered():
        model = create_model(experiment("counted_bigram"), tokenizer=character)
        assert model.vocabulary_size == len(character)
        assert generate_texts(model, character, ["the"], max_new_tokens=3)[0].startswith("the")


def test_a_task_without_a_token_stream_has_a_model_and_no_collator_of_rows(
    tmp_path: Path, character: PreTrainedTokenizerFast
) -> None:
    config = tiny_experiment("gpt2", tmp_path)
    character.save_pretrained(config.output_dir / "tokenizer")
    methods = dict.fromkeys(("encode", "model_arguments"), lambda *_: {})
    task = type("OfRecords", (RecordObjective,), {"columns": (), **methods})
    register_objective("of_records")(task)
    config.training.objective = "of_records"
    try:
        assert rows(create_model(config)) == len(character)
        with pytest.raises(ConfigError, match="'of_records' reads no token stream, and has no"):
            get_data_collator(config, character)
    finally:
        OBJECTIVES.remove("of_records")

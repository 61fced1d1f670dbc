"""The frame of a text in training, in evaluations and in exported tokenizers."""

import json
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer
from transformers import PreTrainedTokenizerFast as Fast

from model_foundry.data.batches.loaders import evaluation_batches
from model_foundry.data.tokens.document_frame import document_frame, text_prefix
from model_foundry.data.tokens.tokenize import tokenizer_hash
from model_foundry.data_collators.text import collate_text
from model_foundry.errors import DataError
from model_foundry.evaluation.minimal_pairs import sentence_log_probabilities
from model_foundry.foundation.file_hashes import FileHashes
from model_foundry.generation import generate_texts
from model_foundry.model import create_model
from model_foundry.objectives import LanguageObjective
from model_foundry.objectives.measure import measure
from model_foundry.objectives.preparation import objective_of
from model_foundry.objectives.processors import TextTokenizer
from model_foundry.objectives.text import ExampleReader
from model_foundry.tokenizer.framing import framed
from model_foundry.tokenizer.loading import load_tokenizer
from model_foundry.tokenizer.special_tokens import special_token_ids
from model_foundry.tokenizer.tokenizer_factory import TRAINERS
from model_foundry.training.checkpoint.save_load import save_model
from tests.data.corpora import stream_from, tokenizer_of
from tests.experiments import MASKED, MODELS, tiny_experiment
from tests.tokenizer.loaded import LOADED, TEXTS, loaded

KINDS = [*sorted(TRAINERS), *LOADED]
TEXT = "the dog runs over </s> and jumps"
IN_FRONT = {
    "wordpiece": "[CLS]",
    "bert": "[CLS]",
    "gpt2": "<|endoftext|>",
    "no bos in its template": "</s>",
}


@cache
def neutral(kind: str) -> Fast:
    return loaded(kind) if kind in LOADED else tokenizer_of(kind, [*TEXTS, TEXT])


def objective_named(name: str) -> LanguageObjective:
    kind = "bert" if name == "masked_lm" else "gpt2"
    objective: LanguageObjective = objective_of(tiny_experiment(kind, Path("nowhere")))
    return objective


def adapted(kind: str, objective: str) -> Fast:
    tokenizer = neutral(kind)
    return framed(tokenizer, objective_named(objective).frame(tokenizer))


def plain_ids(tokenizer: Fast, text: str) -> list[int]:
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return list(ids)


@pytest.mark.parametrize("kind", KINDS)
def test_causal_text_begins_as_documents_do_and_does_not_end(kind: str) -> None:
    tokenizer = adapted(kind, "causal_lm")
    found = tokenizer(TEXT, split_special_tokens=True)
    first = tokenizer.convert_tokens_to_ids(IN_FRONT.get(kind, "<s>"))
    assert found["input_ids"] == [first, *plain_ids(tokenizer, TEXT)]
    assert list(found) == ["input_ids", "attention_mask"]
    assert tokenizer.bos_token_id == first == text_prefix(tokenizer)[0]
    assert [tokenizer.eos_token_id] == document_frame(tokenizer)[1]
    assert tokenizer.pad_token_id is not None


@pytest.mark.parametrize("kind", KINDS)
def test_masked_text_has_the_frame_of_a_block(kind: str) -> None:
    tokenizer = adapted(kind, "masked_lm")
    before, after = objective_named("masked_lm").frame(neutral(kind))
    found = tokenizer(TEXT, split_special_tokens=True)
    assert found["input_ids"] == [*before, *plain_ids(tokenizer, TEXT), *after]
    assert list(found) == ["input_ids", "attention_mask"]
    assert ([tokenizer.cls_token_id], [tokenizer.sep_token_id]) == (before, after)


@pytest.mark.parametrize("objective", ["causal_lm", "masked_lm"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_pair_is_two_documents_and_all_of_it_is_one_segment(kind: str, objective: str) -> None:
    tokenizer = adapted(kind, objective)
    one, other = (tokenizer(text)["input_ids"] for text in ("the dog", "runs"))
    between = document_frame(tokenizer)[1] if objective == "causal_lm" else []
    pair = tokenizer("the dog", "runs", return_token_type_ids=True)
    assert pair["input_ids"] == [*one, *between, *other]
    assert not any(pair["token_type_ids"])


@pytest.mark.parametrize("objective", ["causal_lm", "masked_lm"])
@pytest.mark.parametrize("kind", KINDS)
def test_corpora_are_tokenised_alike_before_and_after(
    kind: str, objective: str, tmp_path: Path
) -> None:
    """A cached stream serves all objectives; a resumed run has its own tokenizer."""
    tokenizer = adapted(kind, objective)
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    for other in (tokenizer, again, framed(again, objective_named(objective).frame(again))):
        assert document_frame(other) == document_frame(neutral(kind))
        assert tokenizer_hash(other) == tokenizer_hash(neutral(kind))
        assert other(TEXT)["input_ids"] == tokenizer(TEXT)["input_ids"]


def test_words_keep_the_offsets_that_a_byte_level_tokenizer_gives_them() -> None:
    spans = neutral("gpt2")("the dog", return_offsets_mapping=True)["offset_mapping"]
    found = adapted("gpt2", "causal_lm")("the dog", return_offsets_mapping=True)["offset_mapping"]
    assert found == [(0, 0), *spans]


def test_the_tokenizer_itself_stays_as_it_was() -> None:
    tokenizer = loaded("gpt2")
    before = tokenizer.backend_tokenizer.to_str()
    framed(tokenizer, ([0], [0]))
    assert tokenizer.backend_tokenizer.to_str() == before
    assert tokenizer.cls_token is None and tokenizer.pad_token is None


def test_a_frame_of_unknown_tokens_is_refused(tmp_path: Path) -> None:
    adapted("bpe", "causal_lm").save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    for given in ([["<nowhere>"], ["</s>"]], "</s>", [["</s>"]], 3, [[["</s>"]], []]):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"document_frame": given}))
        with pytest.raises(DataError, match="document_frame is not a pair of lists"):
            document_frame(load_tokenizer(tmp_path))


@pytest.mark.parametrize("architecture", sorted(MODELS))
@pytest.mark.parametrize("kind", KINDS)
def test_an_export_reads_a_text_as_training_did_and_gives_our_own_score(
    kind: str, architecture: str, tmp_path: Path
) -> None:
    """Compare ids, validation loss and sentence scores on a row of training."""
    objective = "masked_lm" if architecture in MASKED else "causal_lm"
    tokenizer = adapted(kind, objective)
    config = tiny_experiment(
        architecture, tmp_path, "data.max_sequence_length=64", "data.packing=documents"
    )
    torch.manual_seed(0)
    model = create_model(config, tokenizer=tokenizer).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # the initial ones hardly distinguish tokens
            parameter.add_(0.2 * torch.randn_like(parameter))
    save_model(tmp_path / "model", model, {"tokenizer": TextTokenizer(tokenizer, tmp_path)})
    goal = objective_of(config)
    stream = stream_from(["the dog runs over and jumps"], tokenizer, tmp_path)
    reader = ExampleReader(
        config,
        tokenizer,
        frame=goal.frame(tokenizer),
        word_starts=goal.needs_word_starts,
        hashes=FileHashes(tmp_path),
    )
    collate = partial(collate_text, collator=goal.collator(tokenizer, seed=0), scored=goal.scored)
    rows = reader.cut(stream, trains=False).first(1)
    (batch,) = evaluation_batches(rows, collate, batch_size=1)

    outside = AutoTokenizer.from_pretrained(tmp_path / "model", trust_remote_code=True)
    auto = AutoModelForMaskedLM if architecture in MASKED else AutoModelForCausalLM
    theirs = auto.from_pretrained(tmp_path / "model", trust_remote_code=True).eval()
    given = outside("the dog runs over and jumps", return_tensors="pt")
    if architecture in MASKED:
        labels = batch.inputs["labels"]
        read = torch.where(labels == -100, given["input_ids"], batch.inputs["input_ids"])
        assert torch.equal(read, batch.inputs["input_ids"])
        given["input_ids"] = read
        with torch.no_grad():
            logits = theirs(**given).logits
        if int((labels != -100).sum()):
            ours = measure(model, [batch], goal)["loss"]
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
            assert float(loss) == pytest.approx(ours, abs=1e-5)
        return
    ids = given["input_ids"][0].tolist()
    rows_begin = document_frame(tokenizer)[0]
    shown = batch.inputs["input_ids"][0].tolist()
    assert shown == (ids if rows_begin else ids[1:]) + document_frame(tokenizer)[1]
    with torch.no_grad():
        loss = theirs(**given, labels=given["input_ids"]).loss
    [score] = sentence_log_probabilities(model, tokenizer, ["the dog runs over and jumps"])
    assert -float(loss) * (len(ids) - 1) == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_begins_a_document_and_its_special_strings_are_text(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = adapted(kind, "causal_lm")
    config = tiny_experiment("gpt2", tmp_path, "data.max_sequence_length=64")
    model = create_model(config, tokenizer=tokenizer).eval()
    seen: list[tuple[list[int], int]] = []

    def generate(ids: torch.Tensor, **settings: object) -> torch.Tensor:
        seen.append((ids[0].tolist(), int(str(settings["eos_token_id"]))))
        return ids

    monkeypatch.setattr(model, "generate", generate)
    strings = [tokenizer.eos_token, tokenizer.mask_token, "the dog"]
    for text in ("", " ".join(strings)):
        generate_texts(model, tokenizer, [text])
        ids, end = seen.pop()
        assert ids == [tokenizer.bos_token_id, *plain_ids(tokenizer, text)]
        assert [end] == document_frame(tokenizer)[1]
        meant = {tokenizer.unk_token_id} if kind in TRAINERS else set()
        assert set(ids[1:]) & set(tokenizer.all_special_ids) <= meant


def test_a_token_that_is_read_is_no_padding_of_the_embedding(tmp_path: Path) -> None:
    """GPT-2's end of text is also its padding, for which BERT's embedding would stay zero."""
    tokenizer = adapted("gpt2", "masked_lm")
    assert tokenizer.pad_token_id == tokenizer.sep_token_id
    assert special_token_ids(tokenizer)["pad_token_id"] is None
    model = create_model(tiny_experiment("bert", tmp_path), tokenizer=tokenizer)
    ids = torch.tensor([tokenizer("the dog")["input_ids"]])
    model(ids, labels=ids).loss.backward()
    gradient = model.get_input_embeddings().weight.grad  # type: ignore[operator, union-attr]
    assert bool(gradient[tokenizer.sep_token_id].abs().sum() > 0)

"""Classification of words: alignment with pieces, CoNLL-U, three families, mistakes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from model_foundry.config import ExperimentConfig
from model_foundry.doctor.same_run import differences
from model_foundry.errors import DataError
from model_foundry.experiment.train import train
from model_foundry.model import create_model, load_model
from model_foundry.objectives.column_texts import TextEncoder
from model_foundry.objectives.labelled_texts import labels_of
from model_foundry.objectives.preparation import prepare
from model_foundry.tokenizer.framing import block_frame, framed
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory
from tests.children import KILLED, Fault, train_in_child
from tests.experiments import tiny_experiment

SECTION = "training.token_classification"
TAGS = {"the": "DET", "a": "DET", "cat": "NOUN", "dogs": "NOUN", "sees": "VERB", "run": "VERB"}
TEXTS = ["the cat sees a cat", "dogs run", "a cat sees dogs", "the cat sees the dogs"]


def conllu(sentences: list[str]) -> str:
    """Return a treebank with a token of two words and an empty node in each sentence."""
    blocks = []
    for text in sentences:
        rows = ["1-2\tx" + "\t_" * 8]
        rows += [
            f"{n}\t{word}\t_\t{TAGS[word]}" + "\t_" * 6 for n, word in enumerate(text.split(), 1)
        ]
        blocks.append("\n".join(["# text = of another kind", *rows, "5.1\tempty" + "\t_" * 8]))
    return "\n\n".join(blocks) + "\n\n"


def overrides(here: Path, *more: str) -> tuple[str, ...]:
    if not (here / "bank.conllu").exists():
        (here / "bank.conllu").write_text(conllu(TEXTS * 4))
    return (
        f"data.train={here / 'bank.conllu'}",
        f"data.validation={here / 'bank.conllu'}",
        "data.max_sequence_length=48",
        "tokenizer.vocab_size=264",
        "training.objective=token_classification",
        f"{SECTION}={{words: form, labels: upos}}",
        *("training.max_steps=40", "training.eval_steps=20"),
        *more,
    )


def experiment(kind: str, here: Path, *more: str) -> ExperimentConfig:
    return tiny_experiment(kind, here, *overrides(here, *more))


@pytest.mark.parametrize("kind", ["bert", "bidirectional lstm", "transformer_encoder"])
def test_tags_are_learned_saved_and_loaded(kind: str, tmp_path: Path) -> None:
    result = train(experiment(kind, tmp_path))
    assert result.metrics["eval/accuracy"] == result.metrics["eval/macro_f1"] == 1.0
    model: Any = load_model(tmp_path / "run")
    assert sorted(model.hf_config.id2label.values()) == ["DET", "NOUN", "VERB"]


@pytest.mark.parametrize("kind", ["gpt2", "lstm", "transformer_decoder"])
def test_a_causal_model_is_a_tagger_too(kind: str, tmp_path: Path) -> None:
    assert train(experiment(kind, tmp_path)).metrics["eval/accuracy"] > 0.6


WORDS = ["can't", "the", "na\u00efve", ",", "x"]


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "sentencepiece", "character", "word"])
def test_the_first_piece_of_a_word_has_its_label(kind: str) -> None:
    plain = TokenizerFactory.train(kind, documents=[" ".join(WORDS)] * 9, vocab_size=300)
    tokenizer = framed(plain, block_frame(plain))
    ids, targets = TextEncoder(tokenizer, 99).encode_words([WORDS], [np.arange(len(WORDS))])
    labelled = np.flatnonzero(targets[0] != -100)
    assert targets[0][labelled].tolist() == list(range(len(WORDS)))
    # what stands between a labelled piece and the next one spells the word
    for word, start, end in zip(WORDS, labelled, [*labelled[1:], len(ids[0])], strict=True):
        spelled = tokenizer.decode(ids[0][start:end].tolist(), skip_special_tokens=True)
        assert spelled.replace(" ", "") == word
        assert tokenizer.decode([int(ids[0][start])]).strip()  # not the space before the word


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "sentencepiece", "character", "word"])
def test_the_last_piece_of_a_word_may_have_its_label(kind: str) -> None:
    plain = TokenizerFactory.train(kind, documents=[" ".join(WORDS)] * 9, vocab_size=300)
    tokenizer = framed(plain, block_frame(plain))
    given = [WORDS], [np.arange(len(WORDS))]
    ids, targets = TextEncoder(tokenizer, 99).encode_words(*given, "last")
    labelled = np.flatnonzero(targets[0] != -100)
    assert targets[0][labelled].tolist() == list(range(len(WORDS)))
    # what stands between the piece before and a labelled one, which is included, spells the word
    for word, start, end in zip(WORDS, [-1, *labelled[:-1]], labelled, strict=True):
        spelled = tokenizer.decode(ids[0][start + 1 : end + 1].tolist(), skip_special_tokens=True)
        assert spelled.replace(" ", "") == word


def test_words_that_are_cut_have_no_label() -> None:
    plain = TokenizerFactory.train("character", documents=["ab c"], vocab_size=None)
    encoder = TextEncoder(framed(plain, block_frame(plain)), 5)
    ids, targets = encoder.encode_words([["ab", "c"], ["a"]], [np.array([7, 8]), np.array([9])])
    assert targets.lengths.tolist() == ids.lengths.tolist() == [5, 3]
    assert [row[row != -100].tolist() for row in targets.rows()] == [[7], [9]]
    assert (encoder.cut, encoder.seen) == (1, 2)
    _, targets = TextEncoder(framed(plain, block_frame(plain)), 3).encode_words(
        [["ab"], ["b"]], [np.array([7]), np.array([8])], "last"
    )
    assert [row[row != -100].tolist() for row in targets.rows()] == [[], [8]]


def test_lists_and_texts_of_a_table_are_what_the_treebank_is(tmp_path: Path) -> None:
    rows = [(text.split(), [TAGS[word] for word in text.split()]) for text in TEXTS * 4]
    hashes = {prepare(experiment("lstm", tmp_path)).train.content_sha256}
    for name, joined in (("lists.jsonl", list), ("texts.jsonl", " ".join)):
        lines = [json.dumps({"words": joined(w), "labels": joined(t)}) for w, t in rows]
        (tmp_path / name).write_text("\n".join(lines))
        table = tmp_path / name
        settings = (f"data.train={table}", f"data.validation={table}", f"{SECTION}={{}}")
        hashes.add(prepare(experiment("lstm", tmp_path, *settings)).train.content_sha256)
    assert len(hashes) == 1


def test_more_labels_than_words_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepare(experiment("lstm", tmp_path))
    assert "swapped" not in caplog.text
    prepare(experiment("lstm", tmp_path, f"{SECTION}={{words: upos, labels: form}}"))
    [told] = [each.message for each in caplog.records if "swapped" in each.message]
    assert told == (
        f"{SECTION}.labels: 6 labels of 3 different words; if they are swapped, swap them in "
        f"{SECTION}.words and {SECTION}.labels, or in data.train"
    )


def test_numbers_of_labels_in_lists_are_labels(tmp_path: Path) -> None:
    rows = ({"words": text.split(), "labels": list(range(len(text.split())))} for text in TEXTS)
    (tmp_path / "ids.jsonl").write_text("\n".join(map(json.dumps, rows)))
    files = [f"data.{name}={tmp_path}/ids.jsonl" for name in ("train", "validation")]
    prepared = prepare(experiment("lstm", tmp_path, *files, f"{SECTION}={{}}"))
    assert labels_of(prepared.processors).names == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("row", "law"),
    [
        ({"words": "a b c", "labels": "x y"}, "'words' has 3 words, but 'labels' 2 labels; give"),
        ({"words": ["a", "b"], "labels": ["x"]}, "'words' has 2 words, but 'labels' 1 labels;"),
        ({"words": [], "labels": []}, "'words' has no words; write some, or remove the row"),
        ({"words": " ", "labels": ""}, "'words' has no words; write some, or remove the row"),
        ({"words": ["the"], "labels": [" "]}, "'labels' has a blank entry, which is no word and"),
        ({"words": ["the", ""], "labels": ["DET"] * 2}, "'words' has a blank entry"),
        ({"words": "the", "labels": "ADP"}, "'labels' is 'ADP', a label that the training data"),
    ],
)
def test_a_mistake_is_told_with_its_line(row: Any, law: str, tmp_path: Path) -> None:
    lists = isinstance(row["words"], list)
    good: Any = {"words": "the cat", "labels": "DET NOUN"}
    good = {name: text.split() if lists else text for name, text in good.items()}
    (tmp_path / "train.jsonl").write_text(json.dumps(good) + "\n")
    (tmp_path / "other.jsonl").write_text(json.dumps(good) + "\n" + json.dumps(row) + "\n")
    files = (f"data.train={tmp_path}/train.jsonl", f"data.validation={tmp_path}/other.jsonl")
    with pytest.raises(DataError) as caught:
        prepare(experiment("lstm", tmp_path, *files, f"{SECTION}={{}}"))
    assert f"other.jsonl: line 2: {law}" in str(caught.value)


def test_a_frozen_body_is_saved_as_it_was_made(tmp_path: Path) -> None:
    config = experiment("gpt2", tmp_path, f"{SECTION}.freeze_body=true", "training.save_steps=20")
    result = train(config)
    prepared = prepare(config)
    made = create_model(config, **prepared.objective.model_arguments(prepared.processors))
    trained = load_model(tmp_path / "run").state_dict()
    changed = {name for name, w in made.state_dict().items() if not torch.equal(w, trained[name])}
    assert changed == {"hf_model.output.weight", "hf_model.output.bias"}
    assert result.metrics["eval/accuracy"] > 0.9  # random states tell words apart
    optimizer = load_file(tmp_path / "run/checkpoints/step-00000040/optimizer.safetensors")
    assert {key.rpartition("/")[0] for key in optimizer} == changed


def test_words_and_labels_in_text_files(tmp_path: Path) -> None:
    lines = {"words": TEXTS, "tags": [" ".join(TAGS[w] for w in text.split()) for text in TEXTS]}
    for name, texts in lines.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(texts) + "\n")
    files = f"{{pairs: {{source: {tmp_path}/words.txt, target: {tmp_path}/tags.txt}}}}"
    columns = f"{SECTION}={{words: source, labels: target}}"
    given = (f"data.train={files}", f"data.validation={files}", columns)
    found = prepare(experiment("lstm", tmp_path, *given)).train.content_sha256
    (tmp_path / "bank.conllu").write_text(conllu(TEXTS))
    assert found == prepare(experiment("lstm", tmp_path)).train.content_sha256
    (tmp_path / "tags.txt").write_text("\n".join(lines["tags"][:-1]))
    with pytest.raises(DataError, match=r"words\.txt has 4 lines and .*tags\.txt has 3 lines"):
        prepare(experiment("lstm", tmp_path, *given))


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("kind", ["gpt2", "bert", "lstm"])
def test_resumed_equals_uninterrupted(kind: str, frozen: bool, tmp_path: Path) -> None:
    settings = (
        f"{SECTION}.class_weights=balanced",
        f"{SECTION}.freeze_body={str(frozen).lower()}",
        "training.save_steps=3",
        "training.max_steps=9",
    )
    given = overrides(tmp_path, *settings)
    train_in_child(kind, tmp_path / "whole", *given, code=0)
    train_in_child(kind, tmp_path / "cut", *given, fault=Fault("step 5 made"), code=KILLED)
    train_in_child(kind, tmp_path / "cut", *given, code=0)
    assert differences(tmp_path / "whole" / "run", tmp_path / "cut" / "run") == []

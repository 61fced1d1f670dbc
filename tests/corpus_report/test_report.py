"""Figures of corpora that can be counted by hand."""

from pathlib import Path

import pytest

from model_foundry.corpus_report import CorpusReport, build_report
from model_foundry.corpus_report.samples import BORDER
from model_foundry.data.tokens.document_frame import document_frame
from model_foundry.objectives.preparation import prepare
from model_foundry.tokenizer.loading import load_tokenizer
from tests.experiments import tiny_experiment

# a: 3, b: 3, blank: 1, é: 1 in 3 words of 9 bytes
TRAIN = "aab b\nabé\n\n"
VALIDATION = "abé\nz azz z\n"
TOKENS = 8


def report_on(
    directory: Path, *overrides: str, train: str = TRAIN, validation: str = VALIDATION
) -> CorpusReport:
    (directory / "train.txt").write_text(train, encoding="utf-8")
    (directory / "held-out.txt").write_text(validation, encoding="utf-8")
    config = tiny_experiment(
        "gpt2",
        directory,
        f"data.train={directory / 'train.txt'}",
        f"data.validation={directory / 'held-out.txt'}",
        "data.document=line",
        "data.max_sequence_length=4",
        "data.preprocessing_num_workers=0",
        "tokenizer.tokenizer_type=character",
        "training.per_device_train_batch_size=2",
        *overrides,
    )
    return build_report(config, prepare(config))


def test_documents_words_bytes_and_tokens(tmp_path: Path) -> None:
    train, validation = report_on(tmp_path).splits
    assert (train.documents, train.words, train.bytes, train.text_tokens) == (2, 3, 9, TOKENS)
    assert train.ratios["tokens_per_word"] == pytest.approx(TOKENS / 3)
    assert train.ratios["bytes_per_token"] == pytest.approx(9 / TOKENS)
    frame = train.tokens.framed - train.text_tokens
    assert frame % 2 == 0 and frame >= 2  # the same around both documents
    assert train.lengths.longest == 5 + frame // 2
    assert (validation.shared, train.shared) == (1, 0)
    assert not validation.lossless and train.lossless


def test_unknown_tokens_and_the_words_that_begin_in_one(tmp_path: Path) -> None:
    train, validation = report_on(tmp_path).splits
    assert (train.unknown_tokens, train.unknown_words) == (0, 0)
    assert (validation.unknown_tokens, validation.unknown_words) == (4, 2)
    assert validation.ratios["unknown_share_of_tokens"] == pytest.approx(4 / 10)
    assert validation.ratios["unknown_share_of_words"] == pytest.approx(2 / 4)


def test_an_end_of_text_that_is_the_unknown_token_too_is_not_unknown(tmp_path: Path) -> None:
    config = tiny_experiment("gpt2", tmp_path, "tokenizer.tokenizer_type=character")
    tokenizer = load_tokenizer(prepare(config).processors["tokenizer"].source)
    tokenizer.unk_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path / "joined")
    path = f"tokenizer={{path: {tmp_path / 'joined'}}}"
    text = "The cat.\nA dog.\n"
    train, _ = report_on(tmp_path, path, train=text, validation="The cat.\n").splits
    assert tokenizer.unk_token_id in document_frame(tokenizer)[1]
    assert (train.unknown_tokens, train.text_tokens) == (0, len(text) - 2)


def test_the_vocabulary_and_its_most_frequent_entries(tmp_path: Path) -> None:
    report = report_on(tmp_path)
    known = report.vocabulary
    assert (known.ordinary, known.used) == (4, 4)
    assert known.bulk == 4  # 3 + 3 + 1 of 8 are less than 90%
    top = known.most_frequent
    assert [(token.text, token.count) for token in top[:2]] == [("a", 3), ("b", 3)]
    assert sum(token.count for token in top) == TOKENS
    assert top[0].share == pytest.approx(3 / TOKENS)


def test_entries_that_do_not_occur_are_not_covered(tmp_path: Path) -> None:
    config = tiny_experiment("gpt2", tmp_path, "tokenizer.tokenizer_type=character")
    kept = prepare(config).processors["tokenizer"].source
    report = report_on(tmp_path, f"tokenizer={{path: {kept}}}", train="aaab a\nbaa\n")
    known = report.vocabulary
    assert known.used == 3 < known.ordinary
    assert known.size > known.ordinary
    assert known.bulk == 3  # 6 and 2 of 9 are 89%


def test_byte_level_tokens_are_shown_as_text(tmp_path: Path) -> None:
    text = "naïve cats naïve cats naïve cats\n" * 5
    report = report_on(tmp_path, "tokenizer={tokenizer_type: bpe, vocab_size: 300}", train=text)
    shown = {token.text for token in report.vocabulary.most_frequent}
    assert "␣naïve" in shown and "␣cats" in shown


def test_left_out_documents_have_a_reason(tmp_path: Path) -> None:
    columns = tmp_path / "train.jsonl"
    columns.write_text('{"text": "aab b"}\n{"text": " "}\n{"text": "X"}\n{"text": "ab"}\n')
    report = report_on(
        tmp_path,
        f"data.train={columns}",
        "data.interventions=[{step: replace, pattern: X, by: ''}, {step: filter_length, min: 2}]",
        "data.shared_documents=drop",
        validation="aab b\nabé c\n",
    )
    train, validation = report.splits
    assert train.left_out["blank documents"] == 1
    assert train.documents == 1  # `ab` is a single word, and `X` has become none
    assert [step["step"] for step in train.interventions] == ["replace", "filter_length"]
    assert train.interventions[1]["dropped"] == 2
    assert (validation.left_out, validation.shared) == ({"in the training text too": 1}, 0)


@pytest.mark.parametrize("packing", ["blocks", "documents"])
def test_rows_are_shown_with_special_tokens_and_borders(tmp_path: Path, packing: str) -> None:
    settings = (f"data.packing={packing}", "data.max_sequence_length=12")
    samples = report_on(tmp_path, *settings, train="ab\nba\naab b\nabab\n" * 6).samples
    assert len(samples) <= 10
    assert [sample.index for sample in samples] == sorted({s.index for s in samples})
    assert all("</s>" in sample.text for sample in samples)
    assert any(BORDER in sample.text for sample in samples) == (packing == "documents")


def test_masked_rows_are_shown_as_they_are_read(tmp_path: Path) -> None:
    config = tiny_experiment("bert", tmp_path, "data.preprocessing_num_workers=0")
    prepared = prepare(config)
    samples = build_report(config, prepared).samples
    assert len(samples) == 10
    assert any(prepared.tokenizer.mask_token in sample.text for sample in samples)


def test_the_record_is_plain_data(tmp_path: Path) -> None:
    record = report_on(tmp_path).as_json()
    train = record["splits"][0]
    assert train["tokens"]["framed"] == train["tokens"]["in_rows"] + sum(
        train["tokens"]["left_over"].values()
    )
    assert train["tokens_per_word"] == pytest.approx(TOKENS / 3)

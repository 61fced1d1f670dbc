"""Treebanks: sentences, paragraphs and files of CoNLL-U, and the errors of invalid lines."""

import gzip
import hashlib
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from model_foundry.data.sources import conllu
from model_foundry.errors import DataError
from tests.data.sources.reading import read, refusal, source_of, write


def word(number: int | str, form: str, misc: str = "_") -> str:
    return "\t".join([str(number), form, *"_______", misc]) + "\n"


def sentence(*comments: str, words: str = word(1, "a")) -> str:
    return "".join(f"# {comment}\n" for comment in comments) + words + "\n"


# Two documents, the second with two paragraphs; the ids and the last sentence without a text are as
# treebanks have them.
BANK = (
    sentence("global.Entity = x", "newdoc id = d1", "newpar id = d1-p1", "text = One two.")
    + sentence("sent_id = 2", "text = Three\u2028four.", "text_en = no")
    + sentence("newdoc", "text = Five.")
    + sentence("newpar", "text = Six.")
    + sentence("sent_id = 5", words=word(1, "Seven", "SpaceAfter=No") + word(2, "."))
)
SENTENCES = ["One two.", "Three\u2028four.", "Five.", "Six.", "Seven."]
PARAGRAPHS = ["One two.\nThree\u2028four.", "Five.", "Six.\nSeven."]


def test_a_document_is_a_sentence_a_paragraph_or_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conllu", BANK)
    assert read(path, document="line") == SENTENCES
    assert read(path, document="paragraph") == PARAGRAPHS
    assert read(path, document="file") == ["\n\n".join(PARAGRAPHS)]


def test_the_packing_line_ends_and_the_last_blank_line_change_nothing(tmp_path: Path) -> None:
    packed = write(tmp_path / "a.conllu.gz", gzip.compress(BANK.encode()))
    windows = write(tmp_path / "b.CONLLU", "\ufeff\n" + BANK.rstrip("\n").replace("\n", "\r\n"))
    assert read(packed, document="paragraph") == PARAGRAPHS
    assert read(windows, document="paragraph") == PARAGRAPHS


def test_a_file_without_paragraph_marks_is_one_paragraph(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conllu", sentence("text = One.") + sentence("text = Two."))
    assert read(path, document="paragraph") == ["One.\nTwo."]


def test_a_paragraph_begins_below_a_head_of_comments_alone(tmp_path: Path) -> None:
    head = "# newdoc\n\n"
    path = write(tmp_path / "a.conllu", sentence("text = One.") + head + sentence("text = Two."))
    assert read(path, document="paragraph") == ["One.", "Two."]


def test_a_file_without_sentences_has_no_documents(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conllu", "\n# newdoc\n\n")
    assert [read(path, document=kind) for kind in ("file", "line", "paragraph")] == [[], [], []]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (word(1, "Hello", "SpaceAfter=No") + word(2, "!"), "Hello!"),
        (word(1, "a", "Gloss=x|SpaceAfter=No") + word(2, "b", "SpaceAfter=Not"), "ab"),
        (word(1, "New York") + word(2, "_"), "New York _"),
        # "vámonos al mar", the example of the format's own page
        (
            word("1-2", "vámonos") + word(1, "vamos") + word(2, "nos")
            + word("3-4", "al") + word(3, "a") + word(4, "el") + word(5, "mar"),
            "vámonos al mar",
        ),
        (
            word("1-2", "don't", "SpaceAfter=No") + word(1, "do") + word(2, "n't") + word(3, "."),
            "don't.",
        ),
        (word("0.1", "x") + word(1, "eats") + word("1.1", "y") + word(2, "it"), "eats it"),
    ],
)  # fmt: skip
def test_without_a_text_the_forms_are_joined(tmp_path: Path, words: str, text: str) -> None:
    path = write(tmp_path / "a.conllu", sentence("sent_id = 1", "text =", words=words))
    assert read(path) == [text]


GOOD = sentence("text = Good.")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            "plain text\n",
            "line 4: not CoNLL-U, which has 10 columns separated by tabs, not 1; correct it",
        ),
        (
            word(1, "a").replace("\t_\n", "\n"),
            "line 4: not CoNLL-U, which has 10 columns separated",
        ),
        (
            "# x\n" + word(1, "a\tb"),
            "line 5: not CoNLL-U, which has 10 columns separated by tabs, not",
        ),
        (
            word("ID", "FORM"),
            "line 4: does not begin with the number of a word, such as 3, 3-4 or 5.1; ",
        ),
        (word("1-", "a"), "line 4: does not begin with the number of a word"),
        (word("²", "a"), "line 4: does not begin with the number of a word"),
        (word("9" * 5000, "a"), "line 4: does not begin with the number of a word"),
        (word(1, ""), "line 4: the column FORM is empty; correct the line"),
        (word(1, "a") + "# text = b\n", "line 5: is a comment below the words of a sentence; end "),
        (
            word(1, "a") + word(2, "b") + word(1, "c"),
            "line 6: the word has the number 1 instead of 3; end each sentence with an empty",
        ),
        (word("1-2", "ab") + word(2, "b"), "line 5: the word has the number 2 instead of 1; end "),
        ("# text = a\n# text = b\n", "line 5: is the second '# text' of a sentence; end each sent"),
    ],
)
def test_invalid_conllu_is_reported_with_its_line(tmp_path: Path, lines: str, message: str) -> None:
    error = refusal(write(tmp_path / "bad.conllu", GOOD + lines))
    assert error.startswith(f"bad.conllu: {message}")


def test_a_sentence_is_not_held_at_any_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conllu, "LONGEST_SENTENCE", 1000)
    assert len(read(write(tmp_path / "a.conllu", GOOD * 100), document="line")) == 100
    error = refusal(write(tmp_path / "b.conllu", GOOD + word(1, "a") * 100))
    assert error.startswith("b.conllu: line 56: a sentence is longer than 1,000 characters; end ")


def test_memory_does_not_grow_with_the_treebank(tmp_path: Path) -> None:
    def peak(sentences: int) -> int:
        path = write(tmp_path / "a.conllu", sentence(f"text = {'x' * 1000}") * sentences)
        tracemalloc.start()
        batches = source_of(path, document="paragraph").batches()
        assert sum(len(text) for text, _ in batches) == sentences * 1001 - 1
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(12_000) < 1.5 * peak(4_000)  # of 12 MB, of 4 MB


def test_the_key_depends_on_content_and_document_setting(tmp_path: Path) -> None:
    def cache_key(name: str, **settings: str) -> Any:
        path = write(tmp_path / name, BANK)
        source = source_of(path, **settings)
        return source.cache_key(lambda path: hashlib.sha256(path.read_bytes()).hexdigest())

    assert cache_key("a.conllu") == cache_key("b.conllu", text_column="body")
    assert cache_key("a.conllu") != cache_key("a.conllu", document="line")
    assert cache_key("a.conllu") != cache_key("a.txt")


def test_columns_are_those_that_the_library_conllu_reads() -> None:
    theirs = pytest.importorskip("conllu")
    words = (word("1-2", "don't"), word(1, "do"), word(2, "n't"), word("2.1", "gone"), word(3, "."))
    bank = BANK + sentence("text = don't.", words="".join(words)).replace("_\n", "A=1|B=2\n")
    bank = bank.replace("\t_" * 7, "\ta\tX\tY\t_\t0\tZ\t_")
    columns = ["form", "lemma", "upos", "xpos", "deprel", "misc"]
    [ours] = conllu.read_sentences([bank], "bank", columns)
    expected = [[t for t in s if isinstance(t["id"], int)] for s in theirs.parse(bank)]
    assert len(ours) == len(expected) == 6
    for name in columns[:-1]:
        values = [[token[name] or "_" for token in row] for row in expected]
        assert ours.text_lists(name) == values
    assert ours.text_lists("misc")[-1] == ["A=1|B=2"] * 3
    assert [token["misc"] for token in expected[-1]] == [{"A": "1", "B": "2"}] * 3


@pytest.mark.parametrize(
    ("column", "place"), [("upos", 3), ("xpos", 4), ("head", 6), ("deprel", 7)]
)
def test_a_word_that_is_not_annotated_is_refused_where_its_label_is_read(
    column: str, place: int
) -> None:
    columns = [["1", "a", *"XXXXXXX", "_"], ["2", "_", *"XXXXXXX", "_"]]
    columns[1][place] = "_"
    words = word("1-2", "a_") + "".join("\t".join(each) + "\n" for each in columns)
    bank = GOOD.replace("\t_", "\tX") + sentence("text = a_", words=words)
    [read] = conllu.read_sentences([bank], "bank", ["form", "feats", "misc"])
    assert read.text_lists("form")[1] == ["a", "_"]
    assert read.text_lists("misc")[1] == ["_", "_"]
    with pytest.raises(DataError) as caught:
        list(conllu.read_sentences([bank], "bank", ["form", column]))
    law = f"bank: line 7: '{column}' is _, so the word is not annotated; annotate it, remove the "
    assert str(caught.value).startswith(law)

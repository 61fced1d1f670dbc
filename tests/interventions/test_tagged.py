"""Steps on tags and lemmas, with rule-based pipelines: nothing is downloaded."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from model_foundry.errors import ConfigError, DataError
from tests.interventions.passes import chain_of, taken, texts_after

spacy = pytest.importorskip("spacy")

PASSIVE = [{"LEMMA": "be"}, {"TAG": "VBN"}]
TAGS = {
    "was": {"LEMMA": "be", "TAG": "VBD"},
    "is": {"LEMMA": "be", "TAG": "VBZ"},
    "eaten": {"LEMMA": "eat", "TAG": "VBN"},
    "seen": {"LEMMA": "see", "TAG": "VBN"},
}
TEXTS = [
    "It was eaten. It ate.  He is seen\nHe sees.",
    "She was here.",
    "It is eaten.",
    "He had eaten. Yes.",
]


@pytest.fixture
def pipeline(tmp_path: Path) -> str:
    """Return the directory of a spaCy pipeline that tags a few words."""
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("attribute_ruler")
    for word, attributes in TAGS.items():
        ruler.add(patterns=[[{"LOWER": word}]], attrs=attributes)
    ruler.add(patterns=[[{"LOWER": {"NOT_IN": list(TAGS)}}]], attrs={"LEMMA": "-", "TAG": "XX"})
    nlp.to_disk(tmp_path / "pipeline")
    return str(tmp_path / "pipeline")


def step(kind: str, pipeline: str, /, **settings: Any) -> dict[str, Any]:
    given = {"pipeline": pipeline, "token_pattern": PASSIVE} | settings
    return {"step": f"{kind}_tagged_sentences"} | given


def test_matching_sentences_are_dropped_or_kept(pipeline: str) -> None:
    assert texts_after(step("drop", pipeline), texts=TEXTS) == [
        "It ate.  He sees.",
        *("She was here.", "He had eaten. Yes."),
    ]
    assert texts_after(step("keep", pipeline), texts=TEXTS) == [
        "It was eaten. He is seen\n",
        "It is eaten.",
    ]


def test_the_control_drops_as_many_and_none_that_matches(pipeline: str) -> None:
    passive = {"It was eaten. ", "He is seen\n", "It is eaten."}
    treated = taken(step("drop", pipeline), texts=TEXTS)
    control = taken(step("drop", pipeline, control=True), texts=TEXTS)
    left = "".join(text for _, text in control.texts)
    assert all(sentence in left for sentence in passive)
    for applied in (treated, control):
        assert applied.report.steps[0].sentences_removed == 3


def test_the_content_of_the_pipeline_is_in_the_cache_key(pipeline: str) -> None:
    (cache_key,) = chain_of(step("drop", pipeline)).cache_key()
    assert cache_key["beside"]["spaCy"] == spacy.__version__
    copies = [Path(f"{pipeline}-{number}") for number in (1, 2)]
    for copy in copies:
        shutil.copytree(pipeline, copy)
    meta = copies[1] / "meta.json"
    meta.write_text(meta.read_text(encoding="utf-8") + " ", encoding="utf-8")
    same, other = (chain_of(step("drop", str(copy))).cache_key()[0]["beside"] for copy in copies)
    assert same == cache_key["beside"]
    assert other["pipeline"] != same["pipeline"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pipeline": "blank:english"}, "pipeline: must be a directory with a config.cfg"),
        ({"pipeline": "pytest"}, "got 'pytest'"),  # installed, but no pipeline
        ({"token_pattern": []}, "token_pattern: must not be empty"),
        (
            {"token_pattern": [{"LEMA": "be"}]},
            "token_pattern: must be a pattern of spaCy",
        ),
        ({"token_pattern": ["be"]}, "token_pattern.0: must be a mapping, got 'be'"),
        ({"pipeline": "blank:xq"}, "and 'blank:xq' cannot"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        chain_of(step("drop", "blank:en", **settings))
    assert message in str(error.value)
    assert str(error.value).startswith("data.interventions.0.")
    assert len(str(error.value).splitlines()) == 1


def test_a_pipeline_without_the_tags_of_the_pattern_is_refused() -> None:
    with pytest.raises(DataError, match=r"0 \(drop_tagged_sentences\): document 0.*Matcher"):
        texts_after(step("drop", "blank:en"), texts=["It was eaten."])


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'model-foundry\[spacy\]'"):
        chain_of(step("drop", "blank:en"))

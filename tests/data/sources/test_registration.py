"""Sources of plugins: registered with a schema, opened with their settings, named in errors."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from model_foundry.config import (
    SOURCES,
    DataConfig,
    PluginSource,
    settings_without_effect,
    validate,
)
from model_foundry.config.error_messages import describe
from model_foundry.data.corpus.record_splits import open_record_splits
from model_foundry.data.corpus.splits import open_splits
from model_foundry.data.sources.base import Hash, Reading, Source
from model_foundry.data.sources.opening import open_source
from model_foundry.data.sources.records import Records
from model_foundry.data.sources.registration import identity_of, register_source
from model_foundry.data.sources.row_source import RowSource
from model_foundry.data.sources.text_batch import TextBatch
from model_foundry.errors import DataError
from model_foundry.foundation.atomic_files import file_sha256
from model_foundry.foundation.plugins import load_plugin, plugin_errors
from model_foundry.registry import PLUGIN_MODULE, DuplicateNameError
from tests.data.corpora import texts_of

READING = Reading("file", "text", "strict")


class Bounds(BaseModel):
    """Settings of the source of these tests."""

    last: int = Field(gt=0)
    word: str = "number"


class Numbers(RowSource):
    """Rows with a text and a number."""

    def __init__(self, settings: Bounds, reading: Reading) -> None:
        super().__init__("the numbers", reading.text_column)
        self.settings = settings

    def records(self, columns: Sequence[str]) -> Iterator[Records]:
        numbers = range(1, self.settings.last + 1)
        known: dict[str, Any] = {"n": list(numbers)}
        known["text"] = [f"{self.settings.word} {number}" for number in numbers]
        yield Records(columns={c: known[c] for c in columns}, source=self.name, places=numbers)

    def cache_key(self, sha256: Hash) -> Any:
        return ["numbers", self.settings.model_dump()]


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    register_source("numbers", schema=Bounds)(Numbers)
    yield
    SOURCES.remove("numbers")


def faults(train: Any) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        DataConfig(train=train)
    return describe(caught.value, DataConfig)


def test_a_registered_source_is_text_and_records() -> None:
    data = DataConfig(train={"numbers": {"last": 3}}, validation={"numbers": {"last": 1}})
    assert isinstance(data.train, PluginSource)
    assert data.train.settings == Bounds(last=3)
    assert texts_of(open_splits(data, seed=0).train) == ["number 1", "number 2", "number 3"]
    source = open_source(data.train, READING)
    (records,) = source.records(["n"])
    assert records.numbers("n").tolist() == [1, 2, 3]


def test_it_may_be_in_a_mixture_and_survives_saving() -> None:
    part = {"source": {"numbers": {"last": 3, "word": "row"}}, "documents": 2}
    data = DataConfig(train={"mixture": [part, {"source": {"language": {"sentences": 2}}}]})
    again = DataConfig.model_validate(data.model_dump())
    assert again == data == DataConfig.model_validate(data)
    assert data.model_dump()["train"]["mixture"][0]["source"] == part["source"]
    split = open_splits(again.model_copy(update={"validation": again.train}), seed=0).train
    assert sum(text.startswith("row ") for text in texts_of(split)) == 2


@pytest.mark.parametrize(
    ("train", "fault"),
    [
        ({"numbers": {"last": 0}}, ("train.numbers.last", "must be > 0, got 0")),
        ({"numbers": None}, ("train.numbers.last", "is required")),
        ({"numbers": {"last": 1, "wrd": "a"}}, ("train.numbers.wrd", "did you mean 'word'?")),
        (
            {"numbers": {"last": 1}, "split": "a"},
            ("train.split", "does not stand beside 'numbers'"),
        ),
        ({"number": {"last": 1}}, ("train.number", "unknown source; did you mean 'numbers'?")),
        (
            {"mixture": [{"source": {"numbers": {}}}]},
            ("train.mixture.0.source.numbers.last", "is required"),
        ),
    ],
)
def test_a_wrong_setting_is_named(train: Any, fault: tuple[str, str]) -> None:
    ((field, message),) = faults(train)
    assert field == fault[0]
    assert fault[1] in message


def test_an_unknown_kind_is_refused() -> None:
    ((field, message),) = faults({"parchment": {"file": "a"}})
    assert field == "train.parchment"
    assert message == (
        "unknown source; there are disk, hub, images, language, mixture, numbers, pairs; others "
        "come with --plugin FILE.py, in Python with load_plugin('FILE.py')"
    )
    assert faults({"langage": {"sentences": 1}}) == [
        ("train.langage", "unknown source; did you mean 'language'?")
    ]
    for other in ({"parchment": "a"}, {"name": {}}):
        assert ("train.hub", "is required") in faults(other)
    [(field, message)] = faults({})
    assert field == "train" and message.startswith("names no source; give a path")


def test_a_required_setting_that_is_misspelt_is_named() -> None:
    assert faults({"numbers": {"lst": 1}}) == [
        ("train.numbers.lst", "unknown key; did you mean 'last'?")
    ]


def test_a_file_that_a_plugin_misses_is_a_fault_of_the_data(tmp_path: Path) -> None:
    plugin = tmp_path / "reads.py"
    plugin.write_text("from pathlib import Path\n\n\ndef read(path):\n    Path(path).read_text()\n")
    load_plugin(plugin)
    [module] = [
        each for name, each in sys.modules.items() if name.startswith(f"{PLUGIN_MODULE}reads")
    ]
    missing = tmp_path / "gone.csv"
    with pytest.raises(DataError) as caught, plugin_errors():
        module.read(missing)
    assert str(caught.value) == f"{missing}: no such file (read at {plugin}:5)"


def test_a_source_without_schema_has_no_settings() -> None:
    register_source("bare")(type("Bare", (Numbers,), {"__module__": __name__}))
    try:
        for settings in (None, {}):
            assert DataConfig(train={"bare": settings}).train.settings is None  # type: ignore[union-attr]
        ((field, message),) = faults({"bare": {"last": 1}})
        assert (field, message) == ("train.bare", "source 'bare' has no settings; write {bare: {}}")
    finally:
        SOURCES.remove("bare")


def test_an_experiment_with_it_is_valid() -> None:
    config = validate(
        {
            "experiment_name": "one",
            "data": {"train": {"numbers": {"last": 9}}},
            "model": {"architecture": "lstm", "rnn": {"embedding_size": 8, "hidden_size": 8}},
            "training": {"max_steps": 1},
        },
        "one.yaml",
    )
    assert config.model_dump(mode="json")["data"]["train"] == {
        "numbers": {"last": 9, "word": "number"}
    }
    assert list(settings_without_effect(config)) == []


def test_the_code_of_a_plugin_is_part_of_the_identity(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    built_in = open_source(str(tmp_path / "a.txt"), READING)
    assert identity_of(built_in, file_sha256) == built_in.cache_key(file_sha256)
    source = Numbers(Bounds(last=1), READING)
    key, code = identity_of(source, file_sha256)
    assert (key, code) == (source.cache_key(file_sha256), file_sha256(Path(__file__)))


class Rows(Source):
    """Rows without text."""

    def __init__(self, settings: Any, reading: Reading) -> None:
        self.name = "the rows"

    def records(self, columns: Sequence[str]) -> Iterator[Records]:
        known = Records(columns={"n": [1, 2, 3]}, source=self.name, places=[1, 2, 3])
        yield known.select(columns)

    def cache_key(self, sha256: Hash) -> Any:
        return []


class Texts(Rows):
    """Text without rows."""

    records = Source.records

    def __init__(self, settings: Any, reading: Reading) -> None:
        self.name = "the texts"

    def batches(self) -> Iterator[TextBatch]:
        yield TextBatch.of(["one", "two", "three"])


def test_a_source_may_have_records_only_or_text_only() -> None:
    register_source("rows")(Rows)
    register_source("texts")(Texts)
    try:
        rows, texts = (DataConfig(train={name: {}}) for name in ("rows", "texts"))
        (records,) = open_record_splits(rows, seed=0).validation.records(["n"])
        assert len(records) == 1
        assert len(texts_of(open_splits(texts, seed=0).train)) == 2
        with pytest.raises(DataError) as caught:
            texts_of(open_splits(rows, seed=0).train)
        assert str(caught.value) == (
            "the rows: holds records without text; name a source of text, or an objective that "
            "reads records"
        )
        with pytest.raises(DataError, match=r"^the texts: is read as text without columns, so"):
            next(open_record_splits(texts, seed=0).train.records(["n"]))
    finally:
        SOURCES.remove("rows")
        SOURCES.remove("texts")


class Keyless(Source):
    """A source without a cache key."""

    def batches(self) -> Iterator[Any]:
        yield from ()


class Empty(Source):
    """A source with neither text nor records."""

    def cache_key(self, sha256: Hash) -> Any:
        return []


@pytest.mark.parametrize(
    ("name", "cls", "facts", "message"),
    [
        ("keyless", Keyless, {}, "Keyless cannot be source 'keyless': it lacks cache_key"),
        ("empty", Empty, {}, "Empty cannot be source 'empty': it lacks batches .* or records"),
        ("other", dict, {}, "dict cannot be source 'other': it must be a subclass of Source"),
        ("a b", Numbers, {}, "the name of a registered source consists of letters"),
        ("mixture", Numbers, {}, "source 'mixture': the name has another meaning"),
        ("other", Numbers, {"schema": dict}, "source 'other': schema= is a pydantic class"),
        ("other", type("A", (Numbers,), {"__module__": "builtins"}), {}, "it must be in a file"),
    ],
)
def test_a_class_that_cannot_be_a_source_is_refused(
    name: str, cls: Any, facts: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        register_source(name, **facts)(cls)


def test_a_name_is_given_once() -> None:
    for name in ("numbers", "hub", "files"):
        with pytest.raises(DuplicateNameError, match=f"Source '{name}' is already registered"):
            register_source(name)(Numbers)


def test_the_built_in_kinds_are_registered() -> None:
    assert {"files", "hub", "disk", "language"} <= set(SOURCES)
    assert SOURCES["hub"].schema is not None
    assert "streaming" in SOURCES["hub"].schema.model_fields
    assert issubclass(SOURCES.load("disk"), Source)

"""Saved models open without this package; the tables hold the findings, and nothing else."""

from pathlib import Path

import pytest

from compatibility import page, versions, wheel
from compatibility.__main__ import ask, diagonal
from compatibility.environments import overlay
from compatibility.exports import ARCHITECTURES, PAIRS, TOKENIZERS, export
from model_foundry.foundation.tested_versions import open_with

GOOD = dict.fromkeys([*page.BASIC, *page.FURTHER], "yes")


def test_diagonal_has_every_architecture_and_every_tokenizer() -> None:
    architectures, tokenizers = zip(*diagonal(), strict=True)
    assert [*architectures] == [*ARCHITECTURES]
    assert {*tokenizers} == {*TOKENIZERS}
    assert {*diagonal()} <= {*PAIRS}


@pytest.mark.slow
def test_what_is_saved_opens_without_this_package(tmp_path: Path) -> None:
    for architecture, tokenizer in diagonal():
        export(architecture, tokenizer, tmp_path)
    found = {"installed": ask("opening.py", tmp_path)}
    answers = found["installed"]["exports"].values()
    assert [[*each] for each in answers] == [[*page.BASIC, *page.FURTHER]] * len(ARCHITECTURES)
    assert page.faults(found) == []


@pytest.mark.slow
def test_what_is_wrong_with_an_export_is_found(tmp_path: Path) -> None:
    place = export("gpt2", "bpe", tmp_path)
    expected = place / "expected.json"
    text = expected.read_text(encoding="utf-8")
    other = export("gpt2", "character", tmp_path)
    (place / "logits.safetensors").write_bytes((other / "logits.safetensors").read_bytes())
    expected.write_text(text.replace('"continued": [\n  [\n   ', '"continued": [\n  [\n   1'))
    (other / "model" / "config.json").unlink()
    results = ask("opening.py", tmp_path)["exports"]
    assert results[place.name]["ids"] == "yes"
    assert "Error" in results[place.name]["logits"]
    assert "generated" in results[place.name]["generation"]
    assert "Error" in results[other.name]["loads"]
    assert page.cell(results[other.name], page.BASIC) == "no: it does not load"


def test_cells_tell_what_went_wrong_or_was_not_tried() -> None:
    assert page.cell(GOOD | {"generation": "-"}, page.BASIC) == "yes"
    assert page.cell(GOOD | {"logits": "off"}, page.BASIC) == "no: logits"
    assert page.cell({"loads": "yes"}, page.BASIC) == "no: ids, logits, generation"


def test_page_is_filled_between_its_marks_only() -> None:
    places = [page.key(*pair) for pair in PAIRS]
    exports = dict.fromkeys(places, GOOD)
    exports[page.key("lstm", "word")] = GOOD | {"ids": "other", "fill-mask": "broke"}
    found = {"old": {"transformers": "4.0", "exports": exports}}
    before = "# Title\n<!-- basic -->\nstale\n<!-- end -->\nb\n<!-- tools -->\nkept\n<!-- end -->\n"
    filled = page.fill(before, found, {})
    assert filled.startswith(
        "# Title\n<!-- basic -->\n|  |  | 4.0 |\n|---|---|---|\n| gpt2 | bpe |"
    )
    assert "| lstm | word | no: ids |" in filled
    assert "stale" not in filled
    assert filled.endswith("<!-- end -->\nb\n<!-- tools -->\nkept\n<!-- end -->\n")
    assert "| lstm | yes | yes | yes | yes | not in 4.0 | yes |" in page.further_table(found)
    assert page.faults(found) == [
        "4.0: lstm,_word: ids: other",
        "4.0: lstm,_word: fill-mask: broke",
    ]


def test_page_of_the_documentation_has_a_row_for_each_and_a_column_for_each_version(
    project: Path,
) -> None:
    text = (project / "docs" / "compatibility.md").read_text(encoding="utf-8")
    versions = [each["transformers"] for each in open_with().values()]
    assert f"|  |  | {' | '.join(versions)} |" in text
    for architecture, tokenizer in PAIRS:
        assert f"| {architecture} | {tokenizer} |{' yes |' * len(versions)}\n" in text


def test_tools_are_faults_only_where_they_fail_and_what_is_known_is_none() -> None:
    results = {"LoRA": "query, value", "ONNX": "no: Error", page.FURTHER[1]: "asks"}
    used = {"old": {"transformers": "4.0", "exports": {"bert,_bpe": results}}}
    assert page.faults(used) == ["4.0: bert,_bpe: ONNX: no: Error"]


@pytest.mark.slow
def test_a_version_that_cannot_be_installed_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(RuntimeError, match=r"cannot install no_such_thing==0\.0\.0"):
        overlay(tmp_path, {"no_such_thing": "0.0.0", "torch": "2.11.0"})


def test_environment_of_the_wheel_knows_nothing_of_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path))
    assert not {"PYTHONPATH", "VIRTUAL_ENV"} & wheel.Installed(tmp_path).environment.keys()


def test_the_tests_that_are_run_with_other_versions_exist(project: Path) -> None:
    for name in (*versions.TESTS, versions.TRAINING):
        file, _, test = name.partition("::")
        assert (f"def {test}(" if test else "def test_") in (project / file).read_text(
            encoding="utf-8"
        )

"""The laws of the model types of transformers, against the table that the package goes by."""

from pathlib import Path

import pytest
import torch

from model_foundry.architectures import huggingface
from model_foundry.architectures.model_type_laws import BROKEN, LAWS, MEASURED_WITH
from tests.architectures.model_types import (
    CASES,
    LAWS_OF,
    MEASURES,
    SIZES,
    holds,
    make,
    random_ids,
    recomputed,
)

pytestmark = pytest.mark.usefixtures("without_ninja")


def applicable(law: str, head: str) -> bool:
    return law in LAWS_OF[head]


MEASURED = [(*case, law) for case in CASES for law in LAWS if applicable(law, case[1])]


def test_the_table_is_about_every_type_and_law() -> None:
    assert set(BROKEN) == set(CASES)
    assert len(SIZES) >= 16
    assert list(MEASURES) == list(LAWS)
    assert all(broken <= LAWS.keys() for broken in BROKEN.values())


@pytest.mark.parametrize(("model_type", "head", "law"), MEASURED)
def test_a_law_holds_as_the_table_says(
    model_type: str, head: str, law: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface, "require_law", lambda *given, **named: None)
    assert holds(law, make(model_type, head)) == (law not in BROKEN[model_type, head])


@pytest.mark.parametrize(("model_type", "head"), [each for each in CASES if each[1] != "masked"])
def test_every_type_generates_what_it_predicts_from_whole_texts(model_type: str, head: str) -> None:
    model, ids = make(model_type, head), random_ids(2, 9)
    model.hf_model.generation_config.eos_token_id = None
    with torch.no_grad():
        expected = recomputed(model, ids, 12)
    assert torch.equal(model.generate(ids, max_new_tokens=12, pad_token_id=0), expected)


def laws_table() -> str:
    """Return the table of the documentation."""
    lines = [f"| type | head | {' | '.join(law.replace('_', ' ') for law in LAWS)} |"]
    lines.append("|---" * (len(LAWS) + 2) + "|")
    for (model_type, head), broken in BROKEN.items():
        cells = [
            "" if not applicable(law, head) else "**no**" if law in broken else "yes"
            for law in LAWS
        ]
        lines.append(f"| {model_type} | {head} | {' | '.join(cells)} |")
    return "\n".join(lines)


def test_the_table_is_printed_in_the_documentation(project: Path) -> None:
    page = (project / "docs/architectures.md").read_text(encoding="utf-8")
    assert laws_table() in page
    assert f"transformers {MEASURED_WITH}" in page
    for law, meaning in LAWS.items():
        assert f"- *{law.replace('_', ' ')}*: {meaning}." in page

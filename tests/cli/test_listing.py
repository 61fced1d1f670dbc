"""`foundry list`: everything that a file can name, in one manner, whole at 80 columns."""

from collections.abc import Iterator

import pytest

from model_foundry.cli.listing import (
    LISTS,
    REGISTRIES,
    _docstring_in_source,
    _entry,
    _facts,
    _section,
    _sections,
    listing,
    names_of,
    overview,
)
from model_foundry.config import (
    ARCHITECTURES,
    METRICS,
    OPTIMIZERS,
    ArchitectureSpec,
    LanguageSource,
    MetricSpec,
    ObjectiveSpec,
    OptimizerSpec,
    Section,
    SourceSpec,
)
from model_foundry.errors import ConfigError
from tests.cli.conftest import Cli


class _Settings(Section):
    """Settings of an optimizer."""

    momentum: float = 0.9
    steps: list[int]


def rolls() -> None:
    """Return a stone that rolls
    down the hill.

    Not shown.
    """


@pytest.fixture
def _plugin() -> Iterator[None]:
    here = __name__
    OPTIMIZERS.add(
        OptimizerSpec(
            name="rolls", target=f"{here}:rolls", schema=_Settings, settings=("weight_decay",)
        )
    )
    METRICS.add(MetricSpec(name="hits", target=f"{here}:rolls", greater_is_better=True))
    ARCHITECTURES.add(
        ArchitectureSpec(
            name="abacus", target=f"{here}:rolls", trained_by="counting", kind="sum", objectives=()
        )
    )
    yield
    for registry, name in ((OPTIMIZERS, "rolls"), (METRICS, "hits"), (ARCHITECTURES, "abacus")):
        registry.remove(name)


def is_made(kind: str) -> bool:
    """Return True if the targets of a kind exist."""
    known = REGISTRIES[kind].known() if kind in REGISTRIES else []
    return all(_docstring_in_source(spec.target) for spec in known)


@pytest.mark.parametrize("kind", LISTS)
def test_each_entry_is_named_and_said_in_words(kind: str) -> None:
    if not is_made(kind):
        pytest.skip("not written yet")
    lines = list(listing(kind))
    heads = [line.partition(": ") for line in lines if not line.startswith(" ")]
    assert [head[0] for head in heads] == names_of(kind)
    assert all(summary[0].isupper() for _, _, summary in heads)
    assert max(map(len, lines), default=0) <= 80


@pytest.mark.usefixtures("_plugin")
def test_what_a_plugin_registers_is_listed_with_its_settings() -> None:
    assert list(_entry("optimizers", "rolls", {})) == [
        "rolls: A stone that rolls down the hill.",
        "  training.weight_decay: number (default 0.1)",
        "  training.rolls.momentum: number (default 0.9)",
        "  training.rolls.steps: list (required)",
    ]
    lines = list(listing("architectures"))
    assert lines[:3] == [
        "abacus: A stone that rolls down the hill.",
        "  objectives: those for sum models",
        "  training: by counting over one pass",
    ]


def test_a_section_that_others_share_is_shown_once() -> None:
    lines = list(listing("architectures"))
    assert lines.count("  model.transformer.layers: integer (required)") == 1
    assert "  model.transformer: as for bert" in lines
    assert "  model.transformer.embedding_size: integer (optional)" in lines
    assert "  model.bert.type_vocab_size: integer (default 2)" in lines


def test_settings_of_a_source_stand_beside_its_name_or_below_it() -> None:
    beside = SourceSpec(name="language", target="a:B", schema=LanguageSource)
    assert [place for place, _ in _sections(beside)] == ["data.train"]
    below = SourceSpec(name="treebank", target="a:B", schema=_Settings)
    assert [place for place, _ in _sections(below)] == ["data.train.treebank"]
    assert list(_section("data.train", LanguageSource, {})) == [
        "  data.train.language: mapping (required)",
        "  data.train.language.sentences: integer (required)",
        "  data.train.language.seed: integer (default 0)",
    ]


def test_facts_and_settings_of_each_kind() -> None:
    assert "  models: language models that read in both directions" in listing("objectives")
    assert "  losses: model 1" in listing("objectives")
    assert "  training.mlm_masking: token | word | span (default 'token')" in listing("objectives")
    assert "  tokenizer.min_frequency: integer (default 1)" in listing("tokenizers")
    shift = list(listing("transforms"))
    place = shift.index("  training.transforms.random_shift.pixels: integer (required)")
    assert shift[place - 1] == "  batches: training"
    lines = list(listing("interventions"))
    place = next(n for n, line in enumerate(lines) if line.startswith("replace: ")) + 1
    assert lines[place + 1] == "  pattern: regular expression (required)"


def test_tasks_of_other_models_than_language_have_no_direction() -> None:
    assert next(_facts(ObjectiveSpec(name="a", target="a:B", model_kind="c"))) == "models: c models"
    suiting = "objectives: causal_lm, masked_lm, those for encoder_decoder models"
    assert next(_facts(ARCHITECTURES["huggingface"])) == suiting


def test_a_list_of_nothing_shows_the_choices(cli: Cli) -> None:
    code, out, _ = cli("list")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert out.splitlines() == list(overview())
    shown = dict(line.split("  ", 1) for line in out.splitlines() if line.startswith("foundry"))
    assert [command.split()[2] for command in shown] == list(LISTS)
    assert shown["foundry list objectives"].split()[0] == "causal_lm,"
    for kind in LISTS:
        assert all(name in out for name in names_of(kind))


def test_an_unknown_kind_is_told_the_nearest() -> None:
    with pytest.raises(ConfigError, match="got 'metric'; did you mean 'metrics'"):
        list(listing("metric"))

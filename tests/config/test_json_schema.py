"""The JSON schema of experiment files accepts and refuses what the loader does."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from pydantic import BaseModel

from model_foundry.config import (
    ARCHITECTURES,
    OPTIMIZERS,
    SOURCES,
    ArchitectureSpec,
    OptimizerSpec,
    Section,
    SourceSpec,
    load_config,
)
from model_foundry.config.json_schema import experiment_schema, first_sentence, section_names
from model_foundry.config.yaml_file import read_yaml
from model_foundry.config.yaml_reader import dump_yaml, parse_yaml
from model_foundry.errors import ConfigError

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "configs").rglob("*.yaml"))
MODELINE = "# yaml-language-server: $schema="

GOOD: dict[str, Any] = {
    "experiment_name": "one",
    "data": {"train": "corpus.txt"},
    "model": {"architecture": "lstm", "rnn": {"embedding_size": 8, "hidden_size": 8}},
    "training": {"max_steps": 4},
}

WRONG = """
# keys
trainin: {max_steps: 4}
training: {max_step: 4}
data: {train: {hub: a/b, splitt: train}}
data: {train: {language: {sentences: 4, sed: 1}}}
data: {train: {pairs: {source: a, targt: b}}}
data: {train: {mixture: [{source: a.txt, weigth: 1}]}}
tokenizer: {vocab: 4}
tokenizer: {special_tokens: {begin: "<s>"}}
model: {architecture: lstm, rnn: {embedding_size: 8, hidden_size: 8, layers: 1}}
model: {architecture: lstm, lstm: {hidden_size: 8}}
model: {architecture: vit, backbone: {layers: 1, hidden_size: 8, attention_heads: 2, nrm: {}}}
training: {max_steps: 4, sgd: {momentun: 0.9}}
training: {max_steps: 4, milestones: {step: [1]}}
training: {max_steps: 4, transforms: [{add_noise: {deviatio: 1}}]}
seed: {init: 1, dropot: 2}
# types
experiment_name: 5
training: 3
training: {max_steps: "4"}
training: {max_steps: 4.5}
training: {max_steps: 4, learning_rate: fast}
training: {max_steps: 4, carry_state: 1}
training: {max_steps: 4, metrics: loss}
training: {max_steps: 4, losses: {model: much}}
training: {max_steps: 4, milestones: {steps: 3}}
training: {max_steps: 4, milestones: {words: many}}
training: {max_steps: 4, compile: maybe}
data: {train: 3}
data: {train: []}
data: {train: corpus.txt, validation_fraction: half}
data: {train: corpus.txt, cache_dir: [a]}
tokenizer: [bpe]
tokenizer: {special_tokens: {mask: 3}}
seed: one
# choices
tokenizer: {tokenizer_type: bpee}
data: {train: corpus.txt, packing: block}
data: {train: corpus.txt, interventions: [{step: lowercase, splits: [dev]}]}
training: {max_steps: 4, mlm_masking: words}
training: {max_steps: 4, speed: {fp32_products: tf16}}
training: {max_steps: 4, distributed: {strategy: fsdp}}
model: {architecture: lstm, implementation: own, rnn: {embedding_size: 8, hidden_size: 8}}
# bounds
training: {max_steps: 0}
training: {max_steps: 4, learning_rate: 0}
training: {max_steps: 4, mlm_probability: 1}
data: {train: corpus.txt, max_sequence_length: 1}
seed: -1
model: {architecture: lstm, rnn: {embedding_size: 0, hidden_size: 8}}
model: {architecture: lstm, rnn: {embedding_size: 8, hidden_size: 8, num_layers: 2000}}
"""

RIGHT = """
extends: base.yaml
extends: [base.yaml, ../other.yaml]
tokenizer: null
model: {rnn: null}
model: {rnn: {hidden_size: "${model.rnn.embedding_size}"}}
model: {architecture: of_a_plugin}
training: {max_steps: "???", learning_rate: "${RATE:1e-3}", compile: "${COMPILE}"}
training: {losses: {model: 1, of_a_plugin: "${WEIGHT}"}, metrics: [loss, of_a_plugin]}
training: {milestones: {steps: [1, "${LAST}"], words: babylm}}
training: {optimizer: sgd, sgd: {momentum: 0.9}}
training: {transforms: [{add_noise: {deviation: 1, on: both}}, {rename: {a: b}}]}
training: {transforms: [{function: "torch.nn.functional:relu", to: x}]}
data: {train: "???", packing: "${PACKING}", interventions: [lowercase, {step: replace, pattern: a}]}
data: {train: [a.txt, b.txt], validation: {hub: a/b, streaming: false}, test: null}
data: {train: {words: 5, mixture: [{source: {language: {sentences: 4}}, weight: 1}]}}
seed: {init: 1}
"""


def documents(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def schema() -> Draft7Validator:
    """The schema, which is a schema itself."""
    found = experiment_schema()
    Draft7Validator.check_schema(found)
    return Draft7Validator(found)


class _Pace(Section):
    """Settings of an optimizer. They are few."""

    pace: int
    """Paces a second."""


class _Foreign(BaseModel):
    """Settings with pydantic's own defaults, and a type that no schema describes."""

    walk: type = int


@pytest.fixture
def _plugin() -> Any:
    added: list[tuple[Any, Any]] = [
        (OPTIMIZERS, OptimizerSpec(name="walks", target="a:b", schema=_Pace)),
        (SOURCES, SourceSpec(name="paths_of", target="a:B", schema=_Pace)),
        (SOURCES, SourceSpec(name="nothing", target="a:B")),
        (
            ARCHITECTURES,
            ArchitectureSpec(name="road", target="a:B", section="road", schema=_Foreign),
        ),
    ]
    for registry, spec in added:
        registry.add(spec)
    yield
    for registry, spec in added:
        registry.remove(spec.name)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_experiment_is_valid_and_names_the_schema(
    path: Path, schema: Draft7Validator
) -> None:
    assert list(schema.iter_errors(read_yaml(path)[0])) == []
    first = path.read_text().splitlines()[0]
    assert first.startswith(MODELINE)
    assert (path.parent / first.removeprefix(MODELINE)).resolve() == ROOT / "configs/schema.json"


@pytest.mark.parametrize("line", documents(WRONG))
def test_what_the_loader_refuses_is_refused(
    line: str, schema: Draft7Validator, tmp_path: Path
) -> None:
    raw = GOOD | parse_yaml(line, "line")
    (tmp_path / "one.yaml").write_text(dump_yaml(raw))
    with pytest.raises(ConfigError):
        load_config(tmp_path / "one.yaml")
    (key,) = parse_yaml(line, "line")
    faults = list(schema.iter_errors(raw))
    assert faults
    assert all(key in [*fault.absolute_path, *str(fault.message).split("'")] for fault in faults)


@pytest.mark.parametrize("line", documents(RIGHT))
def test_parts_and_expressions_are_valid(line: str, schema: Draft7Validator) -> None:
    assert list(schema.iter_errors(parse_yaml(line, "line"))) == []


def test_the_good_experiment_is_one(schema: Draft7Validator, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(dump_yaml(GOOD))
    assert load_config(tmp_path / "one.yaml").experiment_name == "one"
    assert schema.is_valid(GOOD)


def test_settings_have_descriptions_and_defaults() -> None:
    training = experiment_schema()["$defs"]["training"]["properties"]
    assert training["max_steps"] == {
        "description": "Optimizer steps; null: as many as `epochs` need.",
        "type": ["integer", "null", "string"],
        "exclusiveMinimum": 0,
        "exclusiveMaximum": 2**31,
        "default": None,
        "pattern": training["learning_rate"]["pattern"],
    }
    assert training["optimizer"]["anyOf"] == [
        {"enum": sorted(OPTIMIZERS)},
        {"type": "string"},
    ]
    assert training["mlm_masking"]["anyOf"][0]["enum"] == ["token", "word", "span"]


def test_every_definition_is_used_and_there() -> None:
    schema = experiment_schema()
    named = {f"#/$defs/{name}" for name in schema["$defs"]}
    assert set(references(schema)) == named
    assert set(section_names().values()) - {""} <= schema["$defs"].keys()


def references(schema: Any) -> list[str]:
    """Return the targets of all references in a schema."""
    if isinstance(schema, list):
        return [found for part in schema for found in references(part)]
    if not isinstance(schema, dict):
        return []
    below = [found for part in schema.values() for found in references(part)]
    return [schema["$ref"], *below] if "$ref" in schema else below


@pytest.mark.usefixtures("_plugin")
def test_what_plugins_registered_is_in_it() -> None:
    validator = Draft7Validator(experiment_schema())
    for good in (
        {"training": {"optimizer": "walks", "walks": {"pace": 3}}},
        {"data": {"train": {"paths_of": {"pace": 3}}}},
        {"data": {"train": {"nothing": {}}}},
        {"model": {"architecture": "road", "road": {"walk": "anything"}}},
    ):
        assert validator.is_valid(good), good
        assert not Draft7Validator(experiment_schema_without_plugins()).is_valid(good), good
    for bad in (
        {"training": {"walks": {"pase": 3}}},
        {"data": {"train": {"paths_of": {"pace": "x"}}}},
        {"data": {"train": {"nothing": {"pace": 3}}}},
        {"model": {"road": {"wlk": 3}}},
    ):
        assert not validator.is_valid(bad), bad
    described = experiment_schema()["$defs"]["training"]["properties"]["walks"]
    assert described["description"] == "Settings of an optimizer."


def experiment_schema_without_plugins() -> Any:
    """Return the schema that is shipped."""
    return json.loads((ROOT / "configs/schema.json").read_text())


def test_the_first_sentence_of_a_docstring() -> None:
    assert first_sentence("One thing.\n\nMore of it.") == "One thing."
    assert (
        first_sentence("As in T5 (Raffel et al. 2020). More.") == "As in T5 (Raffel et al. 2020)."
    )
    assert first_sentence("Momentum (Sutskever et al. 2013)\n    or none.") == (
        "Momentum (Sutskever et al. 2013) or none."
    )
    assert first_sentence("") == ""


@pytest.mark.parametrize(
    "part",
    [
        {"training": {"metrics": "${training.train_metrics}"}},
        {"training": "${a.training}"},
        {"training": {"milestones": {"steps": "${training.max_steps}"}}},
        {"tokenizer": "${x.y}"},
        {"tracking": {"trackers": "${T}", "mlflow": "${M}"}},
        {"tracking": {"mlflow": {"tags": "${x.y}"}}},
    ],
)
def test_lists_mappings_and_sections_may_be_expressions(part: dict[str, Any]) -> None:
    assert Draft7Validator(experiment_schema()).is_valid({**GOOD, **part})


@pytest.mark.parametrize(
    "part", [{"training": {"metrics": "accuracy"}}, {"tokenizer": "bpe"}, {"training": "x"}]
)
def test_other_text_in_their_place_is_refused(part: dict[str, Any]) -> None:
    assert not Draft7Validator(experiment_schema()).is_valid({**GOOD, **part})

"""docs/transformers.md: its experiments train, its diagrams name what is there, its code runs."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from model_foundry import train
from model_foundry.architectures import create_model_from_config
from model_foundry.architectures.modeling import modeling_transformer
from model_foundry.architectures.modeling.transformer_block import TransformerBlock
from model_foundry.architectures.modeling.transformer_stack import TransformerStack
from model_foundry.config import OBJECTIVES, ExperimentConfig, load_config
from model_foundry.config.backbone import BackboneConfig

PAGE = (Path(__file__).parents[1] / "docs" / "transformers.md").read_text(encoding="utf-8")
FAMILIES = {
    title: body
    for title, body in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    if "```yaml" in body
}
CODE = Path(modeling_transformer.__file__).parent


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the texts and the experiments of the page."""
    monkeypatch.chdir(tmp_path)
    for language in ("en", "fr"):
        lines = [f"{language} {i % 7} {i % 5}\n" for i in range(35)]
        Path(f"train.{language}").write_text("".join(lines))
    for title, body in FAMILIES.items():
        [experiment] = blocks(body, "yaml")
        Path(f"{title}.yaml").write_text(experiment)
    return tmp_path


def experiment(title: str) -> ExperimentConfig:
    small = ["training.max_steps=2", "training.eval_steps=2", "training.save_steps=2"]
    small += ["training.per_device_train_batch_size=4", "training.learning_rate=1e-3"]
    if title != "Encoder-decoder":
        small.append("data.train.language.sentences=300")
    return load_config(f"{title}.yaml", overrides=small)


@pytest.mark.parametrize("title", FAMILIES)
def test_an_experiment_of_the_page_trains(title: str, here: Path) -> None:
    result = train(experiment(title))
    assert result.step == 2
    assert (result.model_dir / "config.json").is_file()
    architecture = load_config(f"{title}.yaml").model.architecture
    assert json.loads((result.model_dir / "config.json").read_text())["foundry_architecture"] == (
        architecture
    )


def network_of(title: str) -> Any:
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return create_model_from_config(experiment(title), vocab_size=61, **ids).hf_model


def arguments_of(network: Any) -> set[str]:
    """Return the names of what the network, its stacks and its blocks read."""
    kinds = {type(network), TransformerStack, TransformerBlock}
    return {name for kind in kinds for name in inspect.signature(kind.forward).parameters}


@pytest.mark.parametrize("title", FAMILIES)
def test_each_name_in_a_diagram_is_one_of_the_code(title: str, here: Path) -> None:
    network = network_of(title)
    modules = {
        (name.rpartition(".")[2], type(each).__name__) for name, each in network.named_modules()
    }
    drawn = "".join(blocks(FAMILIES[title], "mermaid"))
    labels = re.findall(r'\["(.*?)"\]', drawn) + re.findall(r'-- "(.*?)"', drawn)
    attributes = [tuple(label.split(": ")) for label in labels if ": " in label]
    assert len(attributes) > 3 and [pair for pair in attributes if pair not in modules] == []
    tensors = {label.partition(" (")[0] for label in labels if ": " not in label}
    assert tensors <= arguments_of(network) | {"logits"}
    bare = re.findall(r"subgraph (\w+)$", drawn, re.M)
    assert bare and set(bare) <= {kind for _, kind in modules}


@pytest.mark.parametrize("title", FAMILIES)
def test_no_part_of_the_network_is_left_out_of_its_diagram(title: str, here: Path) -> None:
    network, drawn = network_of(title), FAMILIES[title]
    for name, _ in network.named_children():
        assert f'{name}["{name}: ' in drawn
    if title == "Decoder":
        block = network.transformer.stack.blocks[0]
        residual = block.self_attention
        names = [n for each in (block, residual) for n, _ in each.named_children()]
        assert all(f'["{name}: ' in drawn for name in names)


def test_all_kinds_and_tasks_of_the_page_are_registered() -> None:
    rows = re.findall(r"^\| .*? \| `(\w+)` \| .*? \| .*? \| (.*?) \|$", PAGE, re.M)
    families = {name: re.findall(r"`(\w+)`", tasks) for name, tasks in rows}
    assert sorted(families) == ["transformer", "transformer_decoder", "transformer_encoder"]
    assert {task for tasks in families.values() for task in tasks} <= OBJECTIVES.keys()
    ours = [spec for spec in OBJECTIVES.values() if spec.target.startswith("model_foundry.")]
    pairs = [spec.name for spec in ours if spec.model_kind == "encoder_decoder"]
    assert sorted(families["transformer"]) == sorted(pairs)


@pytest.mark.parametrize(
    "name", ["positions", "norm.kind", "norm.place", "feed_forward.activation"]
)
def test_the_page_has_every_value_of_a_setting(name: str) -> None:
    schema: Any = BackboneConfig
    *sections, field = name.split(".")
    for section in sections:
        schema = schema.model_fields[section].annotation
    choice = schema.model_fields[field]
    [values, default] = re.findall(rf"^\| `{name}` \| (.*?) \| `(.*?)` \|$", PAGE, re.M)[0]
    assert re.findall(r"`(\w+)`", values) == list(get_args(choice.annotation))
    assert default == choice.default


def test_the_table_of_settings_has_all_of_them() -> None:
    [table] = re.findall(r"^\| setting .*?\n\n", PAGE, re.M | re.S)
    named = set(re.findall(r"`([\w.]+)`", table))
    for name, field in BackboneConfig.model_fields.items():
        assert name in named or any(each.startswith(f"{name}.") for each in named), field


def test_each_file_of_the_code_uses_only_those_above_it() -> None:
    [table] = re.findall(r"^\| file .*?\n\n", PAGE, re.M | re.S)
    order = re.findall(r"`(\w+)\.py`", table)
    for index, name in enumerate(order):
        used = re.findall(r"^from \.(\w+) import", (CODE / f"{name}.py").read_text(), re.M)
        assert set(used) <= set(order[:index]), name
    named = re.findall(r"^from \.(\w+)", Path(modeling_transformer.__file__).read_text(), re.M)
    assert set(named) <= set(order)


@pytest.mark.slow
def test_the_code_of_the_page_edits_a_saved_model(here: Path) -> None:
    train(experiment("Decoder"))
    code = "".join(blocks(PAGE, "python"))
    environment = {"HF_HOME": str(here / "home"), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        **{"env": environment, "cwd": here, "capture_output": True, "text": True},
    )
    assert done.returncode == 0, done.stderr
    assert "(self_attention): Residual(" in done.stdout
    assert done.stdout.endswith("False\nTrue\n")

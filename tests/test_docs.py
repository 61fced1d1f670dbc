"""The code in the documentation runs."""

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from model_foundry.architectures import (
    MODEL_REGISTRY,
    BaseLanguageModel,
    create_model_from_config,
    load_plugin,
)
from model_foundry.config import load_config

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *ROOT.glob("examples/*/*.md")])


def code_block(document: str, language: str) -> str:
    """Return the first code block of a language."""
    match = re.search(rf"^```{language}\n(.*?)^```$", (DOCS / document).read_text(), re.M | re.S)
    assert match, f"{document} has no {language} block"
    return match[1]


@pytest.fixture
def window_files(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    plugin, experiment = tmp_path / "window.py", tmp_path / "window.yaml"
    plugin.write_text(code_block("adding_an_architecture.md", "python"))
    experiment.write_text(code_block("adding_an_architecture.md", "yaml"))
    yield plugin, experiment
    if "window" in MODEL_REGISTRY:
        del MODEL_REGISTRY["window"]


def test_the_example_architecture_trains_saves_and_continues_text(
    window_files: tuple[Path, Path], tmp_path: Path
) -> None:
    plugin, experiment = window_files
    load_plugin(plugin)
    config = load_config(experiment)
    torch.manual_seed(0)
    model = create_model_from_config(config, vocab_size=20, pad_token_id=0)
    assert model.window == 3
    ids = torch.randint(1, 20, (4, 32))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    losses = []
    for _ in range(2):
        loss = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[1] < losses[0]

    padded = torch.cat((ids.new_zeros(4, 2), ids), dim=1)
    mask = (padded != 0).long()
    torch.testing.assert_close(model(padded, attention_mask=mask).logits[:, 2:], model(ids).logits)

    model.resize_token_embeddings(23)
    model.save_pretrained(tmp_path / "model")
    loaded = BaseLanguageModel.from_pretrained(tmp_path / "model")
    assert torch.equal(loaded(ids).logits, model(ids).logits)
    assert torch.equal(loaded.generate(ids[:, :4]), model.generate(ids[:, :4]))


def test_the_example_command_trains_with_the_plugin_and_records_it(
    window_files: tuple[Path, Path], tmp_path: Path
) -> None:
    command = code_block("adding_an_architecture.md", "sh").split()[1:]
    settings = ["training.max_steps=2", "data.train.language.sentences=300"]
    done = subprocess.run(
        [sys.executable, "-m", "model_foundry", *command, *settings],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "foundry generate runs/window --prompt 'The' --plugin window.py" in done.stdout
    digest = hashlib.sha256((tmp_path / "window.py").read_bytes()).hexdigest()
    saved = (tmp_path / "runs" / "window" / "config.yaml").read_text()
    assert saved.startswith(f"# plugin window.py: sha256 {digest}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []

"""The code in the documentation runs."""

import hashlib
import json
import math
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from model_foundry import train
from model_foundry.architectures import (
    MODEL_REGISTRY,
    BaseLanguageModel,
    create_model_from_config,
    load_plugin,
    register_architecture,
)
from model_foundry.cli import main
from model_foundry.config import ARCHITECTURES, HEADS, OBJECTIVES, load_config, save_config
from model_foundry.objectives import register_objective
from model_foundry.synthetic_language import load_language
from model_foundry.training.metrics_log import read_metrics
from tests.experiments import tiny_experiment
from tests.task_runs import task, tasks_loaded, write_data

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


@pytest.mark.slow
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


def code_blocks(page: str, language: str) -> list[str]:
    """Return all code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), re.M | re.S)


def words(command: str) -> list[str]:
    """Return the words of a command that may have several lines."""
    return shlex.split(command.replace("\\\n", ""))


def run_in(directory: Path, program: str, *arguments: str) -> str:
    """Run Python on arguments in a directory; return what it prints."""
    done = subprocess.run(
        [sys.executable, program, *arguments], cwd=directory, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_about_tasks_shows_the_plugin_of_the_tests() -> None:
    plugin = (DOCS.parent / "tests" / "tasks.py").read_text()
    blocks = code_blocks("adding_a_task.md", "python")
    others = [block for block in blocks if block not in plugin]
    assert len(blocks) >= 9 and len(others) == 4
    marks = ("class NextItem", "text_lists(", "load_plugin(", "Regression")
    assert all(mark in block for mark, block in zip(marks, others, strict=True))


def test_the_lists_of_the_page_about_tasks_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    [block] = [b for b in code_blocks("adding_a_task.md", "python") if "text_lists(" in b]
    exec(block, {})
    assert capsys.readouterr().out == "(2, 2, 2) [1 2] ['Hello']\n"


def test_targets_may_have_the_name_that_the_page_about_tasks_gives_them(tmp_path: Path) -> None:
    [block] = [b for b in code_blocks("adding_a_task.md", "python") if "class NextItem" in b]
    write_data(tmp_path)
    with tasks_loaded():
        task_class, model_class = (
            OBJECTIVES.load("classify_arrays"),
            ARCHITECTURES.load("perceptron"),
        )
        names = dict(vars(sys.modules[task_class.__module__]))
        exec(block, names)

        class Chooser(model_class):  # type: ignore[misc, valid-type]
            def forward(self, features: Any, next_item: Any = None) -> Any:
                return super().forward(features, next_item)

        facts = {"model_kind": "chooser", "metrics": ("accuracy",)}
        schema = OBJECTIVES["classify_arrays"].schema
        register_objective("next_item", schema=schema, **facts)(names["NextItem"])
        section = ARCHITECTURES["perceptron"].schema
        register_architecture("chooser", "chooser", (), kind="chooser", schema=section)(Chooser)
        section = "next_item={features: [x, y], label: kind}"
        overrides = ("training.objective=next_item", f"training.{section}", "training.max_steps=4")
        model = "model={architecture: chooser, chooser: {hidden_size: 4}}"
        result = train(task("arrays", tmp_path, *overrides, model))
        assert 0 <= result.metrics["eval/accuracy"] <= 1


@pytest.mark.slow
def test_the_example_tasks_train_and_predict(tmp_path: Path) -> None:
    page = "adding_a_task.md"
    (tmp_path / "flowers.yaml").write_text(code_block(page, "yaml"))
    (tmp_path / "flowers.csv").write_text(code_block(page, "csv"))
    blocks = code_blocks(page, "python")
    for name, mark in (("predict", "load_plugin("), ("regress", '"""Regression')):
        (tmp_path / f"{name}.py").write_text(next(block for block in blocks if mark in block))
    copy, *commands = (words(block) for block in code_blocks(page, "sh"))
    assert copy[0] == "cp"
    shutil.copy(ROOT / copy[1], tmp_path / copy[2])
    outputs = [run_in(tmp_path, "-m", "model_foundry", *c[1:]) for c in commands]
    classified, regressed, noisy = outputs
    assert all("validation accuracy  1.0000" in output for output in (classified, noisy))
    error = re.search(r"validation absolute error +(\S+)", regressed)
    assert error and float(error[1]) < 1
    assert run_in(tmp_path, "predict.py") == "['iris', 'rose']\n"


@pytest.mark.slow
def test_the_example_sink_gets_the_figures_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "sink.py").write_text(
        next(block for block in code_blocks("training_loop.md", "python") if "Sink)" in block)
    )
    run_in(tmp_path, "sink.py")
    first, *rows = (tmp_path / "figures.csv").read_text().splitlines()
    assert first.startswith("0,continues,")
    [log] = (tmp_path / "runs").glob("*/metrics.jsonl")
    figures = [(x["step"], n) for x in read_metrics(log) for n in x if "/" in n]
    assert [(int(step), name) for step, name, _ in (row.split(",") for row in rows)] == figures


@pytest.mark.slow
def test_the_example_optimizer_and_schedule_train(tmp_path: Path) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "lion.py").write_text(code_block("architecture.md", "python"))
    command = words(code_block("architecture.md", "sh"))
    run_in(tmp_path, "-m", "model_foundry", *command[1:], "training.max_steps=4")
    [saved] = (tmp_path / "runs").glob("*/config.yaml")
    training = yaml.safe_load(saved.read_text())["training"]
    assert (training["optimizer"], training["lion"]["beta2"]) == ("lion", 0.95)
    assert training["steps"] == {"factor": 0.5, "number": 4}


def test_the_example_from_transformers_trains_and_opens_without_this_package(
    tmp_path: Path,
) -> None:
    page = (DOCS / "adding_an_architecture.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    plugin = tmp_path / "neox.py"
    plugin.write_text(next(block for block in blocks if "NeoX" in block))
    load_plugin(plugin)
    try:
        model = "model={architecture: neox, transformer: {layers: 1, hidden_size: 16, "
        model += "attention_heads: 2}}"
        result = train(tiny_experiment("gpt2", tmp_path, model, "training.max_steps=2"))
        opened = AutoModelForCausalLM.from_pretrained(result.model_dir)
        assert type(opened).__name__ == "GPTNeoXForCausalLM"
    finally:
        del MODEL_REGISTRY["neox"]


def test_the_examples_of_other_kinds_count_and_classify(tmp_path: Path) -> None:
    page = (DOCS / "adding_an_architecture.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    try:
        for name in ("LinearClassifier", "Bigram", "BERTClassifier"):
            (tmp_path / "mine.py").write_text(next(b for b in blocks if f"class {name}" in b))
            load_plugin(tmp_path / "mine.py")
        model = MODEL_REGISTRY["linear_classifier"].from_config(None, features=3, classes=["a"])
        assert model(torch.ones(2, 3), labels=torch.tensor([0, -100])).loss.item() == 0
        section = {"layers": 1, "hidden_size": 16, "attention_heads": 2}
        bert = tiny_experiment("bert", tmp_path, f"model.transformer={json.dumps(section)}")
        wrapped = MODEL_REGISTRY["bert_classifier"].from_config(bert, vocab_size=9, num_labels=3)
        wrapped.gradient_checkpointing_enable()
        inputs = {"input_ids": torch.ones(2, 4, dtype=torch.long), "labels": torch.tensor([0, 2])}
        wrapped(**inputs).loss.backward()
        assert all(weight.grad is not None for weight in wrapped.parameters())
        bigram = MODEL_REGISTRY["bigram"].from_config(None, vocab_size=4)
        ids = torch.tensor([[1, 2, 1, 2, 3]])
        assert bigram(ids, labels=ids).loss.item() == pytest.approx(math.log(4))
        bigram.count(input_ids=ids, labels=ids)
        assert bigram.table[1].tolist() == [0, 0, 2, 0]
    finally:
        for name in {"linear_classifier", "bert_classifier", "bigram"} & set(MODEL_REGISTRY):
            del MODEL_REGISTRY[name]


@pytest.fixture
def text_regressor(tmp_path: Path) -> Iterator[Any]:
    blocks = code_blocks("adding_an_architecture.md", "python")
    (tmp_path / "mine.py").write_text(next(b for b in blocks if "class TextRegressor" in b))
    load_plugin(tmp_path / "mine.py")
    yield HEADS.load("text_regressor")
    HEADS.remove("text_regressor")


def test_the_example_of_a_head_learns_a_number_on_every_body(
    text_regressor: Any, tmp_path: Path
) -> None:
    for architecture in ("gpt2", "bert", "lstm"):
        config = tiny_experiment(architecture, tmp_path)
        torch.manual_seed(0)
        model = text_regressor.from_config(config, vocab_size=9, pad_token_id=0)
        assert model.model_type == architecture
        inputs = {"input_ids": torch.tensor([[1, 2, 3], [4, 5, 0]])}
        inputs |= {"attention_mask": inputs["input_ids"].sign(), "labels": torch.tensor([0.0, 2.0])}
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(60):
            loss = model(**inputs).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert loss.item() < 0.1
        assert all(weight.grad is not None for weight in model.parameters())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def commands_of(page: str) -> list[list[str]]:
    """Return the arguments of each call of `foundry` on a page, its loops run by a shell."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", (DOCS / page).read_text(), re.M | re.S)
    script = 'foundry() { printf "%s\\n" "$*"; }\n' + "".join(blocks)
    lines = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    return [line.split() for line in lines.stdout.splitlines()]


@pytest.mark.slow
def test_a_study_over_one_tokenizer_runs_as_it_is_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = tiny_experiment("gpt2", tmp_path, "training.max_steps=2", "data.train=all.txt")
    Path("study.yaml").write_text(save_config(study, []))
    sentences = list(load_language().sample(400, seed=0))
    Path("all.txt").write_text("\n\n".join(sentences))
    Path("half.txt").write_text("\n\n".join(sentences[:200]))
    for arguments in commands_of("one_tokenizer_many_models.md"):
        monkeypatch.setattr(sys, "argv", ["foundry", *arguments, "data.document=paragraph"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0, arguments
    runs = {path.name: path for path in Path("runs").iterdir()}
    tokenizers = {
        (path / "tokenizer" / "tokenizer.json").read_bytes()
        for name, path in runs.items()
        if name not in ("other-split", "tokenizer")
    }
    assert len(tokenizers) == 1 and len(runs) == 8


def test_every_file_of_code_that_a_page_names_exists() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.glob("*.md")]
    examples = {
        "window.py",
        "neox.py",
        "every_nth.py",
        "fasta.py",
        "FILE.py",
        "regress.py",
        "lion.py",
        "table.py",
    }  # of the reader
    files = [str(path.relative_to(ROOT)) for path in ROOT.glob("[!.]*/**/*.py")]
    missing = [
        (page.name, named)
        for page in pages
        for named in re.findall(r"[\w./-]*\w\.py\b", page.read_text(encoding="utf-8"))
        if named not in examples
        and not any(f"/{path}".endswith("/" + named.lstrip("./")) for path in files)
    ]
    assert missing == []

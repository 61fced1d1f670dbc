"""Probes: the body is that of the model, frozen or not; seeds, baseline, report and mistakes."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from model_foundry.config import ExperimentConfig, validate
from model_foundry.errors import ConfigError
from model_foundry.experiment.probe import probe
from model_foundry.experiment.train import train
from model_foundry.model import load_model
from tests.experiments import tiny_experiment
from tests.pictures import write_folder

WORDS = {"the": "DET", "cat": "NOUN", "dogs": "NOUN", "sees": "VERB"}
TEXTS = ["the cat sees", "dogs sees the cat", "the dogs"] * 5
KINDS = ("gpt2", "lstm")


def trained(kind: str, here: Path, *settings: str) -> Path:
    """Train a tiny language model; return its run."""
    (here / "corpus.txt").write_text("the dogs see a cat that sees the dogs\n" * 99)
    text = (f"data.train={here / 'corpus.txt'}", "data.split_by=position")
    config = tiny_experiment(kind, here / "language", *text, *settings)
    train(config)
    return config.output_dir


def task(here: Path, *overrides: str) -> ExperimentConfig:
    """Return an experiment that tags words, with another model than that of a probe."""
    rows = [{"words": text, "tags": " ".join(WORDS[w] for w in text.split())} for text in TEXTS]
    (here / "tags.jsonl").write_text("\n".join(map(json.dumps, rows)))
    given = (
        *(f"data.{split}={here / 'tags.jsonl'}" for split in ("train", "validation")),
        "training.objective=token_classification",
        "training.token_classification={labels: tags, word_piece: last}",
        *overrides,
    )
    return tiny_experiment("bert", here / "probe", *given)


def body_of(directory: Path) -> dict[str, torch.Tensor]:
    model: Any = load_model(directory)
    return dict(model.hf_model.base_model.state_dict())


def vocabulary(run: Path) -> Any:
    return json.loads((run / "model" / "tokenizer.json").read_text())["model"]["vocab"]


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_head_is_trained_on_the_body_of_the_model(
    kind: str, frozen: bool, tmp_path: Path
) -> None:
    run, config = trained(kind, tmp_path), task(tmp_path)
    report = probe(run, config, seeds=2, frozen=frozen)
    place = config.output_dir / ("frozen" if frozen else "whole")
    assert json.loads((place / "probe.json").read_text()) == {
        "model": str(run / "model"),
        "frozen": frozen,
        "seeds": [42, 43],
        "figures": report.figures,
        "majority": {"accuracy": pytest.approx(4 / 9), "macro_f1": pytest.approx(8 / 13 / 3)},
    }
    assert all(len(values) == 2 for values in report.figures.values())
    given = body_of(run)
    heads = []
    for seed in report.seeds:
        body = body_of(place / f"seed-{seed}")
        same = [torch.equal(given[name], weights) for name, weights in body.items()]
        assert all(same) if frozen else not any(same)
        heads.append(load_model(place / f"seed-{seed}").hf_model.output.weight)  # type: ignore[union-attr]
        pieces = [vocabulary(each) for each in (run, place / f"seed-{seed}")]
        assert pieces[0] == pieces[1]
    assert not torch.equal(*heads)


def test_a_model_of_our_own_blocks_is_probed(tmp_path: Path) -> None:
    """Its directory is GPT-2's, whose body below a head is of transformers."""
    run = trained("gpt2", tmp_path, "model.implementation=native", "training.max_steps=2")
    assert len(probe(run, task(tmp_path, "training.max_steps=2"), seeds=1).figures["accuracy"]) == 1


def test_texts_with_several_labels_have_macro_f1_alone(tmp_path: Path) -> None:
    rows = [{"text": text, "label": ",".join(sorted(set(text.split())))} for text in TEXTS]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = tiny_experiment(
        "bert",
        tmp_path / "probe",
        *(f"data.{split}={tmp_path / 'rows.jsonl'}" for split in ("train", "validation")),
        "training.objective=sequence_classification",
        "training.sequence_classification={multi_label: true, pooling: last}",
    )
    report = probe(trained("gpt2", tmp_path), config, seeds=1)
    # the, sees, dogs and cat are in 3, 2, 2 and 2 of 3 texts: all are predicted
    expected = (1 + 3 * 4 / 5) / 4
    assert report.majority == {"macro_f1": pytest.approx(expected)}
    assert report.figures.keys() == {"macro_f1"}


def test_the_lines_have_mean_range_and_baseline(tmp_path: Path) -> None:
    run = trained("gpt2", tmp_path)
    report = probe(run, task(tmp_path, "training.max_steps=2"), seeds=2)
    title, accuracy, f1 = report.lines()
    assert title == f"{run / 'model'}: body frozen, 2 seeds"
    low, high = sorted(report.figures["accuracy"])
    mean = f"{(low + high) / 2:.4f} ({low:.4f} to {high:.4f})"
    assert accuracy == f"accuracy  {mean}, majority 0.4444"
    assert f1.startswith("macro f1  ")


def test_a_probe_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    run, config = trained("gpt2", tmp_path), task(tmp_path)
    once = probe(run, config, seeds=1)
    again = probe(run, config, seeds=2)
    assert again.figures["accuracy"][:1] == once.figures["accuracy"]
    finished = json.loads((config.output_dir / "frozen/seed-42/status.json").read_text())
    assert finished["attempt"] == 1


def test_a_run_without_a_figure_is_no_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was finished before with other metrics has no others."""
    run, config = trained("gpt2", tmp_path, "training.max_steps=2"), task(tmp_path)
    finished = SimpleNamespace(metrics={"eval/loss": 1.0, "eval/accuracy": 0.5})
    monkeypatch.setattr("model_foundry.experiment.probe.train", lambda config: finished)
    message = r"output_dir: .*frozen/seed-42 holds a run without eval/macro_f1; set another outp"
    with pytest.raises(ConfigError, match=message):
        probe(run, config, seeds=1)
    assert not (config.output_dir / "frozen" / "probe.json").exists()


VIT = {
    "architecture": "vit",
    "backbone": {"layers": 1, "hidden_size": 8, "attention_heads": 2, "dropout": 0.2},
    "vit": {"patch_size": 2},
}
DENSE = {"architecture": "dense", "dense": {"hidden_sizes": [16], "dropout": 0.2}}


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("model", [VIT, DENSE], ids=["vit", "dense"])
def test_a_model_of_images_is_probed(model: Any, frozen: bool, tmp_path: Path) -> None:
    pictures = str(write_folder(tmp_path / "pictures"))

    def experiment(name: str) -> ExperimentConfig:
        raw = {
            **{"experiment_name": name, "output_dir": str(tmp_path / name), "model": model},
            "data": {"train": {"images": pictures}, "validation_fraction": 0.5},
            "training": {
                **{"objective": "image_classification", "image_classification": {"channels": 1}},
                **{"max_steps": 4, "learning_rate": 0.02, "save_steps": 4},
            },
        }
        return validate(raw, name)

    run = train(experiment("first")).output_dir
    report = probe(run, experiment("probe"), seeds=2, frozen=frozen)
    assert sorted(report.figures) == ["accuracy", "macro_f1"]
    place = tmp_path / "probe" / ("frozen" if frozen else "whole")
    bodies = [load_model(run), *(load_model(place / f"seed-{seed}") for seed in report.seeds)]
    before, *after = [dict(model.base_model.state_dict()) for model in bodies]
    for body in after:
        equal = [torch.equal(tensor, before[name]) for name, tensor in body.items()]
        assert all(equal) if frozen else not any(equal)


def test_mistakes_are_told_in_a_line(tmp_path: Path) -> None:
    run = trained("gpt2", tmp_path)
    with pytest.raises(ConfigError, match=r"training\.objective: 'causal_lm' gives no labels"):
        probe(run, tiny_experiment("gpt2", tmp_path / "other"))
    with pytest.raises(ConfigError, match=r"max_sequence_length \(=48\) exceeds .*16"):
        probe(run, task(tmp_path, "data.max_sequence_length=48"))
    assert not (tmp_path / "probe" / "run").exists()

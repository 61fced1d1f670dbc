"""The summary of a finished run: figures with their units, and the next command."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from model_foundry.cli.summary import print_summary
from model_foundry.evaluation.synthetic_language import LanguageReport
from model_foundry.experiment.run_directory import BestEvaluated
from model_foundry.experiment.train import RunResult

METRICS = {"loss": 1.5, "perplexity": 4.4817, "bits_per_byte": 0.75, "tokens": 9}
REPORT = LanguageReport(
    0.6543,
    {"agreement": 0.925, "attraction": 0.5},
    {"agreement": 200, "attraction": 4},
    [("The dog runs.", True), ("[b]", False)],
)


def printed(
    capsys: pytest.CaptureFixture[str], *, plugins: Sequence[Path] = (), **changed: Any
) -> str:
    values: dict[str, Any] = {
        "output_dir": Path("runs/one"),
        "model_dir": Path("runs/one/model"),
        "step": 10,
        "parameters": 1_234_567,
        "vocab_size": 8000,
        "generates": True,
        "loss_unit": "nats per token",
        "mask_token": "<mask>",
        "metrics": {f"eval/{name}": value for name, value in METRICS.items()},
        "lossless": True,
        "next_command": "foundry generate runs/one --prompt 'The'",
    }
    print_summary(RunResult(**{**values, **changed}), plugins)
    return capsys.readouterr().out


def test_the_figures_have_their_units(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(printed(capsys).split())
    assert "size 1,234,567 parameters, vocabulary 8,000" in text
    assert "validation loss 1.5000 nats per token (perplexity 4.48)" in text
    assert "bits per byte 0.7500" in text
    assert "test loss" not in text and "not comparable" not in text


def test_a_sum_of_losses_has_no_unit_and_no_perplexity(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(printed(capsys, loss_unit=None).split())
    assert "validation loss 1.5000 bits per byte 0.7500 validation perplexity 4.48" in text


def test_a_large_figure_is_shown_with_a_power_of_ten(capsys: pytest.CaptureFixture[str]) -> None:
    large = {"eval/loss": 1e99, "eval/perplexity": 5.6123e43, "eval/far": 2.5e12}
    best = BestEvaluated(metric="far", value=2.5e12, step=5)
    text = " ".join(printed(capsys, metrics=large, best=best).split())
    assert "validation loss 1.0e99 nats per token (perplexity 5.6e43)" in text
    assert "validation far 2.5e12 best far 2.5e12 at step 5" in text


def test_a_test_text_has_its_own_figures(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {f"{split}/{name}": v for split in ("eval", "test") for name, v in METRICS.items()}
    assert "test loss" in printed(capsys, metrics=metrics)


def test_an_interval_stands_behind_its_figure(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {f"eval/{name}": v for name, v in METRICS.items()}
    metrics["eval/bits_per_byte_interval"] = 0.01234
    assert "bits per byte  0.7500 ± 0.0123" in printed(capsys, metrics=metrics)


def test_bits_per_byte_that_compare_nothing_are_marked_for_their_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    metrics = {f"{split}/{name}": v for split in ("eval", "test") for name, v in METRICS.items()}
    lines = printed(
        capsys,
        metrics=metrics,
        not_comparable={"test": "the tokenizer loses characters"},
        language=REPORT,
    ).splitlines()
    place = lines.index("                 not comparable: the tokenizer loses characters")
    assert lines[place - 2].startswith("test loss")
    assert sum("not comparable" in line for line in lines) == 1
    reasons = dict.fromkeys(("eval", "test"), "30.0% of the text is unknown to the tokenizer")
    text = printed(capsys, metrics=metrics, not_comparable=reasons, language=REPORT)
    assert text.count("not comparable: 30.0%") == 2 and "floor" not in text


def test_figures_that_are_not_known_stand_under_their_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = {"eval/accuracy": 0.25, "eval/words_per_line": 7.0, "test/accuracy": 0.5}
    facts = dict.fromkeys(("vocab_size", "generates", "mask_token", "lossless", "next_command"))
    lines = printed(capsys, metrics={"eval/loss": 1.5} | own, **facts).splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == [
        *("size", "validation loss", "validation accuracy", "validation words per line"),
        *("test accuracy", "", "model"),
    ]
    assert lines[1].endswith(" 1,234,567 parameters") and lines[2].endswith(" 1.5000")


@pytest.mark.parametrize("checkpoint", ["checkpoints/step-00000300", None])
def test_the_best_evaluation_has_its_checkpoint_if_that_is_kept(
    checkpoint: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    best = BestEvaluated(metric="word_error", value=2.49451, step=300, checkpoint=checkpoint)
    lines = printed(capsys, best=best, metrics={"eval/loss/z_loss": 1.5}).splitlines()
    place = ", runs/one/checkpoints/step-00000300" if checkpoint else ""
    assert f"best                    word error 2.4945 at step 300{place}" in lines
    assert "validation loss/z_loss  1.5000" in lines


@pytest.mark.parametrize(("step", "note"), [(300, ""), (200, ", after step 300, the last")])
def test_the_last_model_is_told_from_the_best(
    step: int, note: str, capsys: pytest.CaptureFixture[str]
) -> None:
    best = BestEvaluated(metric="loss", value=1.5, step=step)
    lines = printed(capsys, best=best, step=300).splitlines()
    assert f"model            runs/one/model{note}" in lines


def test_a_run_without_a_best_evaluation_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, best_metric="word_error").splitlines()
    assert "best             none: word error was never finite" in lines
    assert "model            runs/one/model" in lines


def test_a_masked_figure_is_compared_with_masked_ones_only(
    capsys: pytest.CaptureFixture[str],
) -> None:
    facts = {"generates": False, "loss_unit": "nats per masked token"}
    text = printed(capsys, **facts, language=LanguageReport(None, {}, {}, []))
    assert "1.5000 nats per masked token\n" in text
    assert "compare only with models that are masked in the same way" in text
    assert not any(word in text for word in ("floor", "entropy", "perplexity", "minimal pairs"))


def test_a_figure_that_is_not_defined_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"eval/loss": 1.5, "eval/perplexity": 4.48, "eval/tokens": 9}
    text = printed(capsys, metrics=metrics)
    assert "bits per byte  none: the predicted tokens have no text" in text


def test_the_language_gives_its_floor_its_pairs_and_its_verdicts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = printed(capsys, language=REPORT)
    assert "floor          0.6543, the entropy of the language" in text
    assert "minimal pairs, 200 each" in text
    assert "agreement" in text and "92.5%" in text
    assert "50.0%  attraction  (4 pairs: the others are too long)" in text
    assert "  grammatical    The dog runs." in text
    assert "  ungrammatical  [b]" in text


def test_a_plugin_is_in_the_next_command_once(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, plugins=[Path("mine.py"), Path("mine.py")])
    assert text.endswith("--prompt 'The' --plugin mine.py\n")


def test_a_command_of_another_program_gets_no_plugin(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys).endswith("next             foundry generate runs/one --prompt 'The'\n")
    text = printed(capsys, plugins=[Path("mine.py")], next_command="python -c 1")
    assert text.endswith("next             python -c 1\n")


def test_a_long_path_stays_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("runs") / ("x" * 200)
    lines = printed(capsys, model_dir=path).splitlines()
    assert f"model            {path}" in lines

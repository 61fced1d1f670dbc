"""Open settings are resolved from facts, with a reason, and resolving again changes nothing."""

from pathlib import Path

import pytest
import torch

from model_foundry.errors import ConfigError
from model_foundry.experiment import auto_settings
from model_foundry.experiment.auto_settings import (
    choose_compile,
    choose_precision,
    choose_products,
    resolve_auto_settings,
)
from tests.experiments import MODELS, tiny_experiment
from tests.task_runs import task, tasks_loaded, write_data


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor like those with AVX-512 and bf16 instructions, made by AMD."""
    monkeypatch.setattr(auto_settings, "computes_in_bf16", lambda: True)
    monkeypatch.setattr(auto_settings, "favours_onednn", lambda: True)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor without either."""
    monkeypatch.setattr(auto_settings, "computes_in_bf16", lambda: False)
    monkeypatch.setattr(auto_settings, "favours_onednn", lambda: False)


@pytest.mark.parametrize("kind", MODELS)
def test_nothing_is_left_open_and_settling_twice_is_settling_once(
    kind: str, tmp_path: Path
) -> None:
    once, notes = resolve_auto_settings(tiny_experiment(kind, tmp_path), device_type="cpu")
    assert "auto" not in str(once.training.model_dump(exclude={"attn_implementation"}))
    assert any(note.startswith("training.mixed_precision: auto -> ") for note in notes)
    again, later = resolve_auto_settings(once, device_type="cpu")
    assert (again, later) == (once, [])


@pytest.mark.usefixtures("fast")
def test_bf16_is_for_models_that_are_wide_enough_to_gain() -> None:
    assert choose_precision("auto", device_type="cpu", width=256)[0] == "bf16"
    narrow, reason = choose_precision("auto", device_type="cpu", width=128)
    assert (narrow, reason) == ("no", "a model 128 wide is too narrow to gain from bf16")


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("device_type", ["cpu", "cuda"])
def test_bf16_is_not_for_models_of_which_no_width_is_known(
    device_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    chosen = choose_precision("auto", device_type=device_type, width=None)
    assert chosen == ("no", "the width of the model is not known")


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("device_type", ["cpu", "cuda"])
@pytest.mark.parametrize(
    ("width", "asked", "chosen"),
    [(512, "auto", "bf16"), (128, "auto", "no"), (128, "bf16", "bf16"), (512, "no", "no")],
)
def test_of_another_kind_wide_models_are_in_bf16(
    width: int,
    asked: str,
    chosen: str,
    device_type: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    settings = f"model.perceptron.hidden_size={width}", f"training.mixed_precision={asked}"
    with tasks_loaded():
        write_data(tmp_path)
        given = task("arrays", tmp_path, *settings)
        config, notes = resolve_auto_settings(given, device_type=device_type)
    assert config.training.mixed_precision == chosen
    assert any("training.mixed_precision: auto" in note for note in notes) is (asked == "auto")


@pytest.mark.usefixtures("slow")
def test_bf16_is_not_for_processors_that_emulate_it() -> None:
    chosen, reason = choose_precision("auto", device_type="cpu", width=768)
    assert (chosen, reason) == ("no", "the processor does not compute in bf16")
    assert choose_precision("bf16", device_type="cpu", width=768) == ("bf16", "as asked")


@pytest.mark.parametrize("supported", [True, False])
def test_on_a_gpu_its_own_support_decides(supported: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    chosen, _ = choose_precision("auto", device_type="cuda", width=64)
    assert chosen == ("bf16" if supported else "no")


@pytest.mark.usefixtures("fast")
def test_onednn_multiplies_only_what_is_in_fp32(tmp_path: Path) -> None:
    training = tiny_experiment("gpt2", tmp_path, "training.mixed_precision=no").training
    assert choose_products(training, device_type="cpu")[0] == "onednn"
    training.mixed_precision = "bf16"
    assert choose_products(training, device_type="cpu")[0] == "default"


@pytest.mark.usefixtures("slow")
def test_a_machine_of_which_nothing_is_known_keeps_the_default(tmp_path: Path) -> None:
    training = tiny_experiment("gpt2", tmp_path, "training.mixed_precision=no").training
    assert choose_products(training, device_type="cpu")[0] == "default"


@pytest.mark.parametrize(
    ("products", "device_type", "message"),
    [("tf32", "cpu", "(=tf32) needs an NVIDIA GPU"), ("onednn", "cuda", "(=onednn) needs a CPU")],
)
def test_products_of_another_machine_are_refused(
    products: str, device_type: str, message: str, tmp_path: Path
) -> None:
    config = tiny_experiment("gpt2", tmp_path, f"training.speed.fp32_products={products}")
    with pytest.raises(ConfigError, match="leave it out") as refused:
        choose_products(config.training, device_type=device_type)
    assert message in str(refused.value)


def test_tf32_is_a_matter_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = tiny_experiment("gpt2", tmp_path, "training.mixed_precision=no").training
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "highest")
    assert choose_products(training, device_type="cuda")[0] == "default"
    training.speed.fp32_products = "tf32"
    with pytest.raises(ConfigError, match="only the command line sets it"):
        choose_products(training, device_type="cuda")
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    assert choose_products(training, device_type="cuda") == ("tf32", "as asked")


@pytest.mark.parametrize(
    ("device_type", "gains", "installed", "expected"),
    [
        ("cuda", True, True, True),
        ("cuda", True, False, False),
        ("cuda", False, True, False),
        ("cpu", True, True, False),
    ],
)
def test_models_are_compiled_where_that_was_found_to_pay(
    device_type: str,
    gains: bool,
    installed: bool,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(auto_settings, "find_spec", lambda name: object() if installed else None)
    assert choose_compile("auto", device_type=device_type, gains=gains)[0] == expected
    assert choose_compile(True, device_type=device_type, gains=gains) == (True, "as asked")

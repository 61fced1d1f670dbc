"""Tests of a GPU; without one, each is skipped."""

import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from model_foundry import train
from model_foundry.config import save_config
from model_foundry.doctor.same_run import differences
from model_foundry.errors import Interrupted, NonFiniteError
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.foundation.failpoints import watching
from model_foundry.foundation.interrupts import handle_signals
from model_foundry.foundation.random_state import random_states, restore_random_states
from model_foundry.model import create_model, load_model
from model_foundry.training.metrics_log import read_metrics
from model_foundry.training.nonfinite import NonFiniteGuard, StepResult
from tests.experiments import MASKED, MODELS, OPTIMIZED, tiny_experiment

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
    # a warning of the compiler to programs that leave TF32 off, as these tests do
    pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores:UserWarning"),
]
ROOT = Path(__file__).parents[1]
GPU = torch.device("cuda")
KINDS = sorted(MODELS)


def losses(directory: Path) -> list[float]:
    lines = read_metrics(directory / "metrics.jsonl")
    return [line["train/loss"] for line in lines if "train/loss" in line]


@pytest.fixture
def tf32() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_every_model_learns_in_half_precision(precision: str, kind: str, tmp_path: Path) -> None:
    settings = ("training.max_steps=60", "training.logging_steps=60")
    result = train(
        tiny_experiment(kind, tmp_path, f"training.mixed_precision={precision}", *settings)
    )
    assert result.metrics["eval/loss"] < 0.95 * math.log(result.vocab_size)


def test_tf32_learns_what_fp32_learns(tf32: None, tmp_path: Path) -> None:
    found = {
        products: train(
            tiny_experiment(
                "gpt2",
                tmp_path / products,
                "training.mixed_precision=no",
                f"training.speed.fp32_products={products}",
            )
        ).metrics["eval/loss"]
        for products in ("default", "tf32")
    }
    assert found["tf32"] == pytest.approx(found["default"], rel=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_fp32_on_a_gpu_is_fp32_on_a_cpu(kind: str, tmp_path: Path) -> None:
    """Also where each has an algorithm of its own, as minGRU: a loop and a scan."""
    model = create_model(tiny_experiment(kind, tmp_path)).eval()
    ids = torch.randint(5, 200, (2, 16))
    # torch lets the recurrent kernels of cuDNN use TF32 unless it is told not to
    with torch.no_grad(), torch.backends.cudnn.flags(allow_tf32=False):
        expected = model(input_ids=ids, labels=ids)
        found = model.to(GPU)(input_ids=ids.to(GPU), labels=ids.to(GPU))
    assert found.loss.item() == pytest.approx(expected.loss.item(), rel=1e-5)
    torch.testing.assert_close(found.logits.cpu(), expected.logits, rtol=1e-3, atol=1e-4)


def test_attention_has_its_flash_kernel_in_bf16(tmp_path: Path) -> None:
    """Torch refuses a call that the one kernel allowed cannot answer."""
    config = tiny_experiment("gpt2", tmp_path, "training.attn_implementation=sdpa")
    model = create_model(config).to(GPU).train()
    ids = torch.randint(5, 200, (2, 16), device=GPU)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), torch.autocast("cuda", torch.bfloat16):
        model(input_ids=ids, labels=ids).loss.backward()


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_a_compiled_model_learns_what_the_plain_one_learns(kind: str, tmp_path: Path) -> None:
    still = ("model.transformer.dropout=0.0", "model.transformer.attention_dropout=0.0")
    found = []
    for compiled in ("true", "false"):
        config = tiny_experiment(
            kind,
            tmp_path / compiled,
            "training.mixed_precision=no",
            f"training.compile={compiled}",
            *still,
        )
        train(config)
        found.append(losses(tmp_path / compiled / "run"))
    assert found[0] == pytest.approx(found[1], rel=1e-3)


# --- exactness ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "precision", "optimizer"),
    [
        *((kind, each, None) for kind in ("gpt2", "lstm") for each in ("no", "bf16", "fp16")),
        *(("gpt2", "no", name) for name in sorted(OPTIMIZED) if name != "toy"),
        *(("lstm", each, "muon") for each in ("no", "fp16")),
    ],
)
@pytest.mark.parametrize("limit", ["max_grad_norm=1.0", "max_grad_value=0.01"])
def test_an_interrupted_run_is_the_uninterrupted_one(
    kind: str, precision: str, optimizer: str | None, limit: str, tmp_path: Path
) -> None:
    settings = (f"training.mixed_precision={precision}", "training.compile=false")
    settings += (f"training.{limit}", *(OPTIMIZED[optimizer][0] if optimizer else ()))
    whole = tiny_experiment(kind, tmp_path / "whole", *settings)
    cut = tiny_experiment(kind, tmp_path / "cut", *settings, "training.save_steps=100")
    train(whole)

    def stop(point: str) -> None:
        if point == "step 3 made":
            signal.raise_signal(signal.SIGTERM)

    with handle_signals(), watching(stop), pytest.raises(Interrupted, match="SIGTERM"):
        train(cut)
    assert RunDirectory(cut.output_dir).checkpoint(3).is_dir()
    train(cut)
    assert losses(whole.output_dir) == losses(cut.output_dir)
    assert not [line for line in differences(whole.output_dir, cut.output_dir) if "model/" in line]


def test_dropout_resumes_with_its_generator() -> None:
    drop = nn.Dropout(0.5).to(GPU)
    ones = torch.ones(64, device=GPU)
    tensors, numbers = random_states()
    expected = drop(ones)
    assert restore_random_states(tensors, numbers) == []
    assert torch.equal(drop(ones), expected)


def test_cadence_never_changes_what_is_trained(tmp_path: Path) -> None:
    # a compiled model adds up the gradients of its embeddings in whatever order threads come
    plain = "training.compile=false"
    quiet = tiny_experiment("gpt2", tmp_path / "quiet", "training.logging_steps=6", plain)
    busy = tiny_experiment(
        "gpt2", tmp_path / "busy", "training.eval_steps=1", "training.save_steps=2", plain
    )
    weights = [load_model(train(config).model_dir).state_dict() for config in (quiet, busy)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_both_implementations_compute_the_same(
    precision: torch.dtype, kind: str, tmp_path: Path
) -> None:
    """The loss and its gradients at the embeddings, with padding on the right."""
    ours = create_model(tiny_experiment(kind, tmp_path, "model.implementation=native")).eval()
    ours.save_pretrained(tmp_path)
    auto = AutoModelForMaskedLM if kind in MASKED else AutoModelForCausalLM
    ids = torch.randint(5, 200, (3, 16), device=GPU)
    mask = torch.ones_like(ids)
    mask[0, 9:] = 0
    found = []
    for model in (ours.to(GPU), auto.from_pretrained(tmp_path).eval().to(GPU)):
        with torch.autocast("cuda", precision, enabled=precision != torch.float32):
            loss = model(
                input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100)
            ).loss
        loss.backward()
        found.append((loss.detach().float(), model.get_input_embeddings().weight.grad))
    close = (
        {"rtol": 1e-4, "atol": 1e-6} if precision == torch.float32 else {"rtol": 5e-2, "atol": 2e-3}
    )
    torch.testing.assert_close(*found, **close)


# --- generation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in MASKED])
def test_generation_with_a_cache_is_generation_without(kind: str, tmp_path: Path) -> None:
    model = create_model(tiny_experiment(kind, tmp_path)).to(GPU).eval()
    ids = torch.randint(5, 200, (3, 6), device=GPU)
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    rows = [
        model.generate(ids, attention_mask=mask, max_new_tokens=8, use_cache=cached, pad_token_id=0)
        for cached in (True, False)
    ]
    assert torch.equal(*rows)


# --- what a GPU does by itself --------------------------------------------------------------------


def test_the_device_leaves_out_updates_from_the_first_bad_step_on() -> None:
    model = nn.Linear(3, 2, device=GPU)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    guard = NonFiniteGuard.of(optimizer, device=GPU, scaled=False)
    assert not guard.at_once

    def step(number: int, loss: float) -> torch.Tensor:
        model(torch.ones(1, 3, device=GPU)).sum().backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        result = StepResult(torch.tensor(loss, device=GPU), norm, [1])
        guard.record(number, result, [], 0.1)
        optimizer.step()
        optimizer.zero_grad()
        return model.weight.detach().clone()

    first = step(1, 1.0)
    second = step(2, 1.0)
    assert not torch.equal(first, second)
    assert torch.equal(step(3, math.nan), second) and torch.equal(step(4, 1.0), second)
    assert {int(state["step"]) for state in optimizer.state.values()} == {2}


def test_a_diverging_run_names_its_first_bad_step_though_checked_later(
    tmp_path: Path,
) -> None:
    named = []
    for steps in (1, 6):  # checked in each step, and at the end alone
        config = tiny_experiment(
            "gpt2",
            tmp_path / str(steps),
            "training.learning_rate=1e20",
            f"training.logging_steps={steps}",
            "training.mixed_precision=no",
            "training.max_grad_norm=1e30",
        )
        with pytest.raises(NonFiniteError) as raised:
            train(config)
        status = RunDirectory(config.output_dir).status()
        assert status is not None and status.step == raised.value.facts["step"] - 1
        named.append([raised.value.facts[fact] for fact in ("step", "examples", "batch_digest")])
    assert named[0] == named[1]


def test_memory_is_reported(tmp_path: Path) -> None:
    config = tiny_experiment("gpt2", tmp_path)
    train(config)
    lines = read_metrics(config.output_dir / "metrics.jsonl")
    assert all(line["train/peak_memory_mib"] > 0 for line in lines if "train/loss" in line)


# --- several GPUs ---------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU")
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_gpus_train_what_one_trains_and_resume(strategy: str, tmp_path: Path) -> None:
    settings = (
        "training.mixed_precision=no",
        "model.transformer={layers: 2, hidden_size: 32, "
        "attention_heads: 2, dropout: 0.0, attention_dropout: 0.0}",
    )
    one = tiny_experiment("gpt2", tmp_path / "one", *settings)
    train(one)
    two = tiny_experiment(
        "gpt2",
        tmp_path / "two",
        *settings,
        "training.save_steps=3",
        f"training.distributed.strategy={strategy}",
    )
    file = tmp_path / "two.yaml"
    file.write_text(save_config(two, []))
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"),
        *("-m", "model_foundry", "train", str(file)),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for overrides in ((), ("training.max_steps=8", "--extend")):
        done = subprocess.run(
            [*command, *overrides], env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr
    found = losses(two.output_dir)
    assert len(found) == 8
    assert found[:6] == pytest.approx(losses(one.output_dir), rel=1e-3)

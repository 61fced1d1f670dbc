"""The package's own networks on a GPU, transformers and minGRU; without one, each is skipped."""

import math
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from model_foundry import train
from model_foundry.architectures.modeling.attention import dot_product_attention
from model_foundry.architectures.modeling.masks import combined_mask
from model_foundry.architectures.modeling.scan_recurrent import loop, scan
from model_foundry.errors import Interrupted
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.foundation.failpoints import watching
from model_foundry.foundation.interrupts import handle_signals
from model_foundry.model import create_model, load_model
from tests.experiments import tiny_experiment

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
    pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores:UserWarning"),
]
GPU = torch.device("cuda")
NATIVE = "model.implementation=native"
KINDS = ("gpt2", "bert")


def wandering(kind: str, directory: Path, *settings: str) -> Any:
    """Return a native model on the GPU, whose logits depend much on what it sees."""
    model = create_model(tiny_experiment(kind, directory, NATIVE, *settings)).to(GPU).eval()
    generator = torch.Generator(GPU).manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3, generator=generator)
    return model


def ids_of(*shape: int) -> Tensor:
    return torch.randint(5, 200, shape, generator=torch.Generator().manual_seed(2)).to(GPU)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("compiled", ["true", "false"])
def test_a_native_transformer_learns_in_bf16(compiled: str, kind: str, tmp_path: Path) -> None:
    settings = (
        "training.max_steps=60",
        "training.logging_steps=60",
        f"training.compile={compiled}",
    )
    precision = "training.mixed_precision=bf16"
    result = train(tiny_experiment(kind, tmp_path, NATIVE, precision, *settings))
    assert result.metrics["eval/loss"] < 0.95 * math.log(result.vocab_size)


@pytest.mark.parametrize("kind", KINDS)
def test_the_logits_of_a_native_transformer_are_those_of_a_cpu(kind: str, tmp_path: Path) -> None:
    model, ids = wandering(kind, tmp_path), ids_of(2, 16)
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    found = model(ids, attention_mask=mask).logits.cpu()
    expected = model.cpu()(ids.cpu(), attention_mask=mask.cpu()).logits
    real = mask.cpu() == 1
    torch.testing.assert_close(found[real], expected[real], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", ["nothing hidden", "causal", "padded", "documents"])
def test_fused_attention_is_plain_attention(case: str, dtype: torch.dtype) -> None:
    q, k, v = (torch.randn(2, 4, 64, 32, device=GPU, dtype=dtype) for _ in range(3))
    for tensor in (q, k, v):
        tensor.requires_grad_()
    padding = torch.ones(2, 64, device=GPU)
    padding[0, 40:] = 0
    documents = (torch.arange(64, device=GPU) // 20).expand(2, 64)
    mask = {
        "padded": combined_mask(64, 64, padding, causal=True, device=GPU),
        "documents": combined_mask(64, 64, None, documents, causal=True, device=GPU),
    }.get(case)
    weights, found = torch.randn(2, 4, 64, 32, device=GPU, dtype=dtype), []
    for fused in (True, False):
        y = dot_product_attention(q, k, v, mask, is_causal=case == "causal", fused=fused)
        found.append((y, *torch.autograd.grad((y * weights).sum(), (q, k, v))))
    within = 1e-4 if dtype == torch.float32 else 5e-2
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).float().norm() < within * theirs.float().norm()


def test_a_native_gpt2_has_its_flash_kernel_in_bf16(tmp_path: Path) -> None:
    """Torch refuses a call that the one kernel allowed cannot answer."""
    model, ids = wandering("gpt2", tmp_path).train(), ids_of(2, 16)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), torch.autocast("cuda", torch.bfloat16):
        model(input_ids=ids, labels=ids).loss.backward()


@pytest.mark.parametrize("kind", KINDS)
def test_documents_of_a_row_are_read_as_if_alone(kind: str, tmp_path: Path) -> None:
    model, ids = wandering(kind, tmp_path), ids_of(1, 12)
    documents = torch.tensor([[0] * 5 + [1] * 7], device=GPU)
    together = model(ids, document_ids=documents).logits[0]
    alone = torch.cat([model(part).logits[0] for part in (ids[:, :5], ids[:, 5:])])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3)


def test_cached_generation_of_a_native_gpt2_is_that_without_a_cache(tmp_path: Path) -> None:
    model, ids = wandering("gpt2", tmp_path), ids_of(3, 6)
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    options = {"attention_mask": mask, "max_new_tokens": 8, "pad_token_id": 0}
    rows = [model.generate(ids, use_cache=cached, **options) for cached in (True, False)]
    assert torch.equal(*rows)
    assert len(rows[0][:, 6:].unique()) > 2  # the comparison means something


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_an_interrupted_native_run_is_the_uninterrupted_one(precision: str, tmp_path: Path) -> None:
    settings = (NATIVE, f"training.mixed_precision={precision}", "training.compile=false")
    whole = tiny_experiment("gpt2", tmp_path / "whole", *settings)
    cut = tiny_experiment("gpt2", tmp_path / "cut", *settings, "training.save_steps=100")

    def stop(point: str) -> None:
        if point == "step 3 made":
            signal.raise_signal(signal.SIGTERM)

    with handle_signals(), watching(stop), pytest.raises(Interrupted, match="SIGTERM"):
        train(cut)
    assert RunDirectory(cut.output_dir).checkpoint(3).is_dir()
    weights = [load_model(train(config).model_dir).state_dict() for config in (whole, cut)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("length", [1, 33, 200])
def test_the_scan_is_the_loop(length: int) -> None:
    gates = [torch.randn(3, length, 16, device=GPU, requires_grad=True) for _ in range(2)]
    h = torch.rand(3, 16, device=GPU, requires_grad=True)
    weights, found = torch.randn(3, length, 16, device=GPU), []
    for parallel in (True, False):
        keep, write = (torch.nn.functional.logsigmoid(gate) for gate in gates)
        y = scan(keep, write, h) if parallel else loop(keep.exp(), write.exp(), h)
        found.append((y, *torch.autograd.grad((y * weights).sum(), [*gates, h])))
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).norm() < 1e-4 * theirs.norm()


def test_min_gru_reads_on_a_gpu_what_it_reads_on_a_cpu(tmp_path: Path) -> None:
    """A GPU scans, and a CPU loops."""
    model, ids = create_model(tiny_experiment("min_gru", tmp_path)).to(GPU), ids_of(4, 16)
    found = []
    for device in (GPU, torch.device("cpu")):
        model = model.to(device).eval()
        model.zero_grad()
        output = model(ids.to(device), labels=ids.to(device))
        output.loss.backward()
        gradients = [p.grad.cpu().clone() for p in model.parameters() if p.grad is not None]
        found.append([output.logits.detach().cpu(), *gradients])
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).norm() < 1e-3 * theirs.norm()

"""fp32 linear layers on a CPU through oneDNN instead of the BLAS that torch was built with.

MKL leaves half of an AMD processor with AVX-512 unused. oneDNN computes in full fp32, with sums in
another order. Layers are replaced model by model; torch itself is not patched.
"""

from typing import Any, Final, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.pytorch_utils import Conv1D


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return cast(Tensor, product)


# torch.compile would decompose the operator, and supports it with constant weights only. The custom
# operator is used only there: calling one takes twice as long.
@torch.library.custom_op("model_foundry::onednn_linear", mutates_args=())
def _opaque_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return _linear(x, weight, bias)


@_opaque_linear.register_fake
def _shape_of_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x (..., I) times the transpose of weight (O, I), plus bias (O,), by oneDNN."""
    if torch.compiler.is_compiling():
        return cast(Tensor, _opaque_linear(x, weight, bias))
    return _linear(x, weight, bias)


class _Linear(torch.autograd.Function):
    """`linear` with gradients through oneDNN too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        rows = grad.flatten(0, -2)  # (N, O)
        return (
            linear(grad, weight.t()) if for_x else None,
            linear(rows.t(), x.flatten(0, -2).t()) if for_weight else None,
            rows.sum(0) if for_bias else None,
        )


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return cast(Tensor, product)


def is_supported(x: Tensor, weight: Tensor) -> bool:
    """Return True for fp32 on a CPU without autocast."""
    return (
        x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and x.dim() > 1
        and x.numel() > 0
        and not torch.is_autocast_enabled("cpu")
    )


class OneDnnLinear(nn.Linear):
    """An `nn.Linear` that uses oneDNN if it can."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        if not is_supported(input, self.weight):
            return super().forward(input)
        return _by_onednn(input, self.weight, self.bias)


class OneDnnConv1D(Conv1D):  # type: ignore[misc]  # transformers is untyped
    """GPT-2's linear layer, whose weight is (I, O), which uses oneDNN if it can."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        if not is_supported(x, self.weight):
            return cast(Tensor, super().forward(x))
        return _by_onednn(x, self.weight.t(), self.bias)


_BY_ONEDNN: Final[dict[type, type]] = {nn.Linear: OneDnnLinear, Conv1D: OneDnnConv1D}


def use_onednn_linear(model: nn.Module) -> None:
    """Let the linear layers of a model use oneDNN, except subclasses of theirs.

    Only the classes of the layers change, so that saving, copying and pickling are unaffected.
    """
    for module in model.modules():
        replacement = _BY_ONEDNN.get(type(module))
        if replacement is not None:
            module.__class__ = replacement

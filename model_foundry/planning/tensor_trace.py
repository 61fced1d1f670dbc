"""The bytes of all tensors that live at a time, followed from one operator to the next.

What a kernel takes for itself and gives back before it returns is not seen.
"""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class TensorTrace(TorchDispatchMode):  # type: ignore[no-untyped-call]  # not typed in torch
    """Follows the memory of every tensor that an operator returns in the block.

    Views share the storage of their base, which counts once, until nothing refers to it.

    Args:
        present: tensors that live from before, such as weights.
        wide: size of the last dimension of tensors that are followed apart; None: none are.

    Attributes:
        live: bytes that live now, those present included.
        peak: most bytes that lived at a time, since `restart`.
        wide_at_peak: bytes of wide tensors at that time.
        operations: floating-point operations of matrix products since `restart`.
    """

    def __init__(self, present: Iterable[Tensor] = (), *, wide: int | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live, self.wide, self._live_wide = 0, wide, 0
        self._known: set[int] = set()
        for tensor in present:
            self._follow(tensor, wide=False)
        self.restart()

    def restart(self) -> None:
        """Count peak and operations from here."""
        self.peak, self.wide_at_peak, self.operations = self.live, self._live_wide, 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        result = func(*args, **given)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.layout is torch.strided and not leaf.is_mkldnn:
                self._follow(leaf, wide=leaf.dim() > 1 and leaf.shape[-1] == self.wide)
        if self.live > self.peak:
            self.peak, self.wide_at_peak = self.live, self._live_wide
        self.operations += operations_of(func, args, given, result)
        return result

    def _follow(self, tensor: Tensor, *, wide: bool) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.live += size
        self._live_wide += size if wide else 0
        # the Python object of a storage lives as long as the storage itself
        weakref.finalize(storage, self._forget, key, size, wide).atexit = False

    def _forget(self, key: int, size: int, wide: bool) -> None:
        self._known.discard(key)
        self.live -= size
        self._live_wide -= size if wide else 0


def operations_of(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> int:
    """Return the floating-point operations of a matrix product or a recurrence; 0 for others."""
    packet = func._overloadpacket
    if (count := flop_registry.get(packet)) is not None:
        return int(count(*args, **kwargs, out_val=result))
    special = _SPECIAL.get(packet.__name__)
    return 0 if special is None else special(args)


def _of_linear(args: tuple[Any, ...]) -> int:
    return 2 * int(args[0].numel()) * int(args[1].shape[0])


def _of_onednn_layer(args: tuple[Any, ...]) -> int:
    rows = args[0].shape[0] * args[0].shape[1]
    return 2 * int(rows) * int(args[1].numel() + args[2].numel())


def _of_onednn_layer_backward(args: tuple[Any, ...]) -> int:
    return 2 * _of_onednn_layer(args)


def _of_cudnn(args: tuple[Any, ...]) -> int:
    rows = args[0].numel() // args[0].shape[-1]
    return 2 * int(rows) * sum(int(w.numel()) for w in args[1] if w.dim() > 1)


def _of_cudnn_backward(args: tuple[Any, ...]) -> int:
    return 2 * _of_cudnn(args)


# products that torch's own counter does not know
_SPECIAL: dict[str, Callable[[tuple[Any, ...]], int]] = {
    "_linear_pointwise": _of_linear,
    "mkldnn_rnn_layer": _of_onednn_layer,
    "mkldnn_rnn_layer_backward": _of_onednn_layer_backward,
    "_cudnn_rnn": _of_cudnn,
    "_cudnn_rnn_backward": _of_cudnn_backward,
}

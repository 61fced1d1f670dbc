"""Checks that an encoder-decoder does not read its targets.

Under teacher forcing it may read the targets before the one that it predicts, and no others. As in
`causality`, what must not matter is changed, in a few forward passes over two rows, after which the
model and all random generators are restored.

Letters of shapes: B rows, T targets, V vocabulary of the targets.
"""

from typing import Any

import torch
from torch import Tensor

from model_foundry.architectures import BaseModel, device_of
from model_foundry.architectures.restored import restored
from model_foundry.errors import ConfigError
from model_foundry.evaluation.causality import CONTROL, HALF_TOLERANCE, TOLERANCE
from model_foundry.evaluation.probing import awake, two_rows
from model_foundry.foundation.labels import IGNORE_INDEX
from model_foundry.foundation.random_state import seeded

REMEDY = "so its loss is meaningless; correct its forward"


def require_no_target_leak(model: BaseModel, inputs: dict[str, Tensor], precision: str) -> None:
    """Check a model on a batch with `input_ids` (B, S) and `labels` (B, T) of its own targets.

    Raises:
        ConfigError: the logits of a target depend on it, on later ones, or on another row.
    """
    labels = inputs["labels"]
    known = torch.tensor(sorted(set(labels[labels != IGNORE_INDEX].tolist())))
    if labels.shape[1] < 2 or len(known) < 2:
        return
    two = {name: tensor.to(device_of(model)) for name, tensor in two_rows(inputs).items()}
    tolerance = TOLERANCE if precision == "no" else HALF_TOLERANCE
    with torch.no_grad(), restored(model), awake(model):
        for training in (False, True):
            model.train(training)
            leak = _Probe(model, two, known.to(two["labels"].device), tolerance).leak()
            if leak is not None:
                raise ConfigError(f"model.architecture (={model.model_type}): {leak}")


class _Probe:
    """Repeated forward passes over two rows, each with something changed."""

    def __init__(
        self, model: BaseModel, inputs: dict[str, Tensor], known: Tensor, tolerance: float
    ) -> None:
        self.model, self.inputs, self.labels = model, inputs, inputs["labels"]
        places = torch.searchsorted(known, self.labels).clamp(max=len(known) - 1)
        self.others = known.roll(-1)[places].masked_fill(self.labels == IGNORE_INDEX, IGNORE_INDEX)
        self.base, again = self._read(), self._read()
        noise = CONTROL * float((self.base - again).abs().max())
        self.limit = tolerance * float(self.base.abs().max()) + noise

    def leak(self) -> str | None:
        """Return the first leak, as one line; None: there is none."""
        length = self.labels.shape[1]
        for cut in sorted({0, 1, length // 2, length - 1}):
            later = torch.arange(length, device=self.labels.device) >= cut
            changed = torch.where(later, self.others, self.labels)
            moved = self._differs(self._read(labels=changed))[:, : cut + 1].any(0).nonzero()
            if len(moved):
                seen = int(moved[-1])
                law = f"the logits of target {seen} depend on the targets from {cut} on"
                return (
                    f"{law}: it reads what it must predict, {REMEDY} (shift labels right, "
                    "before the decoder, and mask its attention)"
                )
        return self._rows()

    def _rows(self) -> str | None:
        own = {name: tensor.clone() for name, tensor in self.inputs.items()}
        own["input_ids"][0] = own["input_ids"][0].flip(0)
        own["labels"][0] = self.others[0]
        if not self._differs(self._read(**own))[1].any():
            return None
        return f"its output for row 1 depends on row 0, but rows are independent, {REMEDY}"

    def _read(self, **changed: Any) -> Tensor:
        with seeded(0):
            logits = self.model(**self.inputs | changed).logits
        return logits.float() if logits is not None else torch.zeros(*self.labels.shape, 1)

    def _differs(self, logits: Tensor) -> Tensor:
        """Return True at each target whose logits are others, (B, T)."""
        moved = (logits - self.base).abs().amax(-1) > self.limit
        return moved.to(self.labels.device) & (self.labels != IGNORE_INDEX)

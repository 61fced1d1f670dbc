"""Checks that a model does not read its targets.

The loss is meaningless if a causal model reads later tokens, if a token is scored by logits that
depend on it, if a model reads its labels, if rows influence each other, or if a collator masks
nothing. Each check changes an input that must not matter and compares: a few forward passes over
two rows, after which the model and all random generators are restored.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from model_foundry.architectures import BaseLanguageModel, CountedModel, device_of
from model_foundry.architectures.restored import restored
from model_foundry.errors import ConfigError
from model_foundry.evaluation.probing import awake, is_shard, other_tokens, two_rows
from model_foundry.foundation.labels import IGNORE_INDEX
from model_foundry.foundation.random_state import seeded

ROWS = 8  # of the batch that callers take; the model reads two of them
TOLERANCE, HALF_TOLERANCE = 1e-4, 2e-2  # of the largest logit, in fp32, and in bf16 or fp16
CONTROL = 8  # times the difference of two equal passes
MOST_VISIBLE = 0.9  # share of the targets that may be visible in the input
FEWEST_SCORED = 10  # targets; with fewer, such a share may be chance
FORWARD = "correct its forward"
Inputs = dict[str, Tensor]
Scored = Callable[[Tensor], Tensor]


def require_no_leak(model: BaseLanguageModel, inputs: Inputs, **known: Any) -> None:
    """Raise ConfigError for a model that reads its targets; arguments as for `find_leak`."""
    leak = find_leak(model, inputs, **known)
    if leak is not None:
        raise ConfigError(leak)


def find_leak(
    model: BaseLanguageModel,
    inputs: Inputs,
    *,
    scored: Scored,
    objective_name: str,
    causal: bool,
    carry_state: bool = False,
    half: bool = False,
    loss_without_logits: bool = True,
) -> str | None:
    """Return the first leak of a model or its batches, as one line; None: there is none.

    Args:
        inputs: a batch of the training text, of `ROWS` rows or fewer, with labels.
        scored: gives the tokens that count, (B, T) bool, for labels (B, T).
        objective_name: of the class that labels the batch, for the message.
        causal: True if the objective needs a causal model.
        carry_state: True if rows continue from the state of the previous row.
        half: True if the model computes in bf16 or fp16.
        loss_without_logits: as in training, use `return_logits=False` if the model supports it.
    """
    if not causal and (leak := _visible_targets(inputs, scored, objective_name)):
        return leak
    alone = loss_without_logits and model.computes_loss_alone
    probe = _Probe(model, inputs, carry_state=carry_state, half=half, alone=alone)
    with torch.no_grad(), restored(model), awake(model):
        if isinstance(model, CountedModel):
            # without counts its logits depend on nothing
            model.count(**{name: each.to(probe.ids.device) for name, each in inputs.items()})
        for training in (False, True):  # batch normalisation mixes positions in training only
            model.train(training)
            if leak := probe.leak(causal=causal):
                return f"model.architecture (={model.model_type}): {leak}"
    return None


def _visible_targets(inputs: Inputs, scored: Scored, objective_name: str) -> str | None:
    labels, ids = inputs["labels"], inputs["input_ids"]
    counted = scored(labels)
    if labels.shape != ids.shape or int(counted.sum()) < FEWEST_SCORED:
        return None
    share = float((ids == labels)[counted].float().mean())
    if share <= MOST_VISIBLE:
        return None
    return (
        f"training.objective: {share:.0%} of the targets are visible in the input, so the model "
        f"need only copy them; correct the collator of {objective_name}"
    )


class _Probe:
    """Repeated forward passes over two rows, each with something changed."""

    def __init__(
        self,
        model: BaseLanguageModel,
        inputs: Inputs,
        *,
        carry_state: bool,
        half: bool,
        alone: bool,
    ) -> None:
        self.model, self.tolerance = model, HALF_TOLERANCE if half else TOLERANCE
        device = device_of(model)
        self.inputs = {
            name: two.to(device) for name, two in two_rows(inputs).items() if name != "labels"
        }
        self.carried = {"use_cache": True} if carry_state else {}
        self.ids = self.inputs["input_ids"]  # (B, T)
        mask = self.inputs.get("attention_mask")
        self.real = torch.ones_like(self.ids, dtype=torch.bool) if mask is None else mask.bool()
        self.positions = torch.arange(self.ids.shape[1], device=device)  # (T,)
        self.others = other_tokens(self.ids, self.real, model)
        self.alone = {"return_logits": False} if alone else {}

    def leak(self, *, causal: bool) -> str | None:
        """Return the first leak of the model in its current mode."""
        self.base, again = self._read(), self._read()
        if self.base[0] is None or not torch.isfinite(self.base[0]).all():
            return None  # training reports it
        self.control = CONTROL * float(_difference(self.base, again).max())
        self.limit = self.tolerance * float(self.base[0].abs().max()) + self.control
        checks: list[Callable[[], str | None]] = [self._rows]
        if not self.model.training:
            checks = [*([self._targets] if causal else []), *checks, self._labels]
        if causal:
            checks = [self._later_tokens, *checks]
        return next((leak for check in checks if (leak := check())), None)

    def _read(self, changed: Tensor | None = None, **more: Tensor) -> list[Tensor]:
        """Return the logits (B, T, V), and carried states if there are any.

        Args:
            changed: true for tokens to replace, broadcast to (B, T).
        """
        with seeded(0):
            output = self.model(**self._inputs(changed), **more)
        if output.logits is None:
            return [torch.full((), torch.nan)]
        states = self.model.state_tensors(output.past_key_values) if self.carried else {}
        return [output.logits.float(), *(state.float() for state in states.values())]

    def _inputs(self, changed: Tensor | None) -> dict[str, Any]:
        inputs: dict[str, Any] = self.inputs | self.carried
        if changed is not None:
            inputs["input_ids"] = torch.where(changed & self.real, self.others, self.ids)
        return inputs

    def _places(self) -> list[int]:
        """Return the positions from which tokens are changed, always the same number."""
        length = self.ids.shape[1]
        places = [1, length // 2]
        if not self.model.training:
            places += [2 * length // 3, length - 1]
        return [min(max(place, 1), length - 1) for place in places]

    def _later_tokens(self) -> str | None:
        """Find logits that change with later tokens."""
        for cut in self._places():
            moved = self._moved(self.positions >= cut)[:cut].nonzero()
            if len(moved):
                seen = int(moved[-1])
                read = self._source_of(seen, cut)
                token = "later tokens" if read is None else f"the token at position {read}"
                return (
                    f"is registered as causal, but its logits at position {seen} depend on {token}"
                    f"{self._mode()}: it reads its targets, so its loss is meaningless; "
                    f"{FORWARD} (pad convolutions on the left, mask attention, normalise within a "
                    "position), or register it with is_causal=False"
                )
        return None

    def _moved(self, changed: Tensor) -> Tensor:
        """Return true for the positions whose logits change, (T,)."""
        difference = _difference(self.base[:1], self._read(changed)[:1])
        return ((difference > self.limit) & self.real).any(0)

    def _source_of(self, seen: int, cut: int) -> int | None:
        """Return the first token from a cut on that changes the logits of a position alone."""
        if any(map(is_shard, self.model.parameters())):
            return None  # all processes would have to do the same search
        for place in range(cut, len(self.positions)):
            if self._moved(self.positions == place)[seen]:
                return place
        return None

    def _mode(self) -> str:
        return " in training, though not in evaluation" if self.model.training else ""

    def _targets(self) -> str | None:
        """Find a loss of a token that changes with that token and later ones."""
        for place in self._places()[:2]:
            scored = (self.positions == place) & self.real
            labels = self.ids.masked_fill(~scored, IGNORE_INDEX)
            loss, moved = (self._loss(labels, c) for c in (None, self.positions >= place))
            if loss is None or moved is None:
                return None  # training reports it
            if abs(loss - moved) > self.tolerance * max(1.0, abs(loss)) + self.control:
                return (
                    f"its loss of the token at position {place} depends on that token in the "
                    "input: the caller does not shift labels, so the logits of each position must "
                    f"be scored with the label of the next; {FORWARD}, for example with "
                    "language_model_loss(logits, labels, causal=True)"
                )
        return None

    def _loss(self, labels: Tensor, changed: Tensor | None) -> float | None:
        with seeded(0):
            output = self.model(**self._inputs(changed), labels=labels, **self.alone)
        return None if output.loss is None else float(output.loss)

    def _rows(self) -> str | None:
        """Find outputs of a row that change with another row."""
        first = torch.zeros_like(self.real)
        first[0] = True
        pairs = zip(self.base, self._read(first), strict=True)
        if all(float(_difference([a[1:]], [b[1:]]).max()) <= self.limit for a, b in pairs):
            return None
        return (
            f"its output for row 1 depends on the tokens of row 0{self._mode()}: rows of a batch "
            "are independent texts, so its results would depend on the batch; "
            f"{FORWARD} (layer instead of batch normalisation, no statistics over rows)"
        )

    def _labels(self) -> str | None:
        """Find logits that change with the labels."""
        read = [
            self._read(labels=labels.masked_fill(~self.real, IGNORE_INDEX))
            for labels in (self.ids, self.others)
        ]
        if any(float(_difference([a], [b]).max()) > self.limit for a, b in zip(*read, strict=True)):
            return f"its output depends on its labels; {FORWARD}"
        return None


def _difference(some: list[Tensor], others: list[Tensor]) -> Tensor:
    """Return the largest difference of the first two tensors at each position, (B, T)."""
    difference = (some[0] - others[0]).abs()
    return difference.flatten(2).amax(-1) if difference.dim() > 2 else difference

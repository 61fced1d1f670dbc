"""Checks that a model does not read what it is to predict.

A causal model whose logits depend on later tokens copies its targets, and its loss means nothing.
So does one whose loss scores a token from logits that have seen it, one that reads its labels, one
whose rows influence each other, and a collator that hides nothing. Each check changes what must not
matter and compares: a few forward passes over two rows, after which the model and every random
generator are as they were.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from model_foundry.architectures import BaseLanguageModel
from model_foundry.data.batches.loaders import Collator, evaluation_batches
from model_foundry.data.batches.rows import Rows
from model_foundry.errors import ConfigError
from model_foundry.evaluation.probing import as_it_was, other_tokens, two_rows
from model_foundry.foundation.labels import IGNORE_INDEX
from model_foundry.foundation.random_state import seeded
from model_foundry.objectives import Objective

ROWS = 8  # that are looked at; a model reads two of them
TOLERANCE, HALF_TOLERANCE = 1e-4, 2e-2  # of the largest logit, in fp32, and in bf16 or fp16
CONTROL = 8  # times what two equal passes differ by
MOST_VISIBLE = 0.9  # share of the tokens to predict that the input may show
FEWEST_SCORED = 10  # tokens to predict, from which on such a share is no chance
FORWARD = "correct its forward"


def require_no_leak(
    model: BaseLanguageModel, rows: Rows, collator: Collator, objective: Objective, **known: bool
) -> None:
    """Refuse a model that reads what it is to predict.

    Args:
        rows: the training text.
        **known: of `find_leak`.

    Raises:
        ConfigError: it does; the message names the positions.
    """
    leak = find_leak(model, rows, collator, objective, **known)
    if leak is not None:
        raise ConfigError(leak)


def find_leak(
    model: BaseLanguageModel,
    rows: Rows,
    collator: Collator,
    objective: Objective,
    *,
    causal: bool,
    carry_state: bool = False,
    half: bool = False,
    loss_without_logits: bool = True,
) -> str | None:
    """Return the first leak that is found in a model or in its batches, as a line; None: there is
    none.

    Args:
        rows: the training text.
        causal: whether the objective needs a model whose position t sees positions up to t only.
        carry_state: whether rows continue from the state after the row before.
        half: whether the model computes in bf16 or fp16.
        loss_without_logits: let a model that can do so compute its loss alone, as it is trained.
    """
    read = rows.first(ROWS)
    inputs = next(evaluation_batches(read, collator, batch_size=ROWS)).inputs
    if not causal and (leak := _visible_targets(inputs, objective)):
        return leak
    alone = loss_without_logits and model.computes_loss_alone
    probe = _Probe(model, inputs, carry_state=carry_state, half=half, alone=alone)
    with torch.no_grad(), as_it_was(model):
        for training in (False, True):  # batch normalisation mixes positions in training only
            model.train(training)
            if leak := probe.leak(causal=causal):
                return f"model.architecture (={model.model_type}): {leak}"
    return None


def _visible_targets(inputs: dict[str, Tensor], objective: Objective) -> str | None:
    labels, ids = inputs["labels"], inputs["input_ids"]
    scored = objective.scored(labels)
    if labels.shape != ids.shape or int(scored.sum()) < FEWEST_SCORED:
        return None
    share = float((ids == labels)[scored].float().mean())
    if share <= MOST_VISIBLE:
        return None
    return (
        f"training.objective: {share:.0%} of the tokens that are to be predicted stand in the "
        "input as they are, so that the model need only copy them; correct the collator of "
        f"{type(objective).__name__}"
    )


class _Probe:
    """Reads two rows again and again, each time with something changed."""

    def __init__(
        self,
        model: BaseLanguageModel,
        inputs: dict[str, Tensor],
        *,
        carry_state: bool,
        half: bool,
        alone: bool,
    ) -> None:
        self.model, self.tolerance = model, HALF_TOLERANCE if half else TOLERANCE
        device = next(model.parameters()).device
        self.inputs = {
            name: two.to(device) for name, two in two_rows(inputs).items() if name != "labels"
        }
        self.carried = {"use_cache": True} if carry_state else {}
        ids = self.inputs["input_ids"]
        mask = self.inputs.get("attention_mask")
        self.real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
        self.others = other_tokens(ids, self.real, model)
        self.alone = {"return_logits": False} if alone else {}

    def leak(self, *, causal: bool) -> str | None:
        """Return what is wrong with the model in its present mode."""
        first, again = self._read(), self._read()
        if first[0] is None or not torch.isfinite(first[0]).all():
            return None  # training says so
        self.base = first
        self.control = CONTROL * float(_difference(first, again).max())
        self.limit = self.tolerance * float(first[0].abs().max()) + self.control
        checks: list[Callable[[], str | None]] = [self._rows]
        if not self.model.training:
            checks = [*([self._targets] if causal else []), *checks, self._labels]
        if causal:
            checks = [self._later_tokens, *checks]
        return next((leak for check in checks if (leak := check())), None)

    def _read(self, changed: Tensor | None = None, **more: Tensor) -> list[Tensor]:
        """Return the logits (B, T, V), and the states behind the rows where these are carried.

        Args:
            changed: (B, T), where other tokens are put.
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
            ids = torch.where(changed & self.real, self.others, self.inputs["input_ids"])
            inputs["input_ids"] = ids
        return inputs

    def _from(self, place: int) -> Tensor:
        """Return where the tokens from a place on are, (B, T)."""
        places = torch.arange(self.real.shape[1], device=self.real.device)
        return (places >= place).expand_as(self.real)

    def _places(self) -> list[int]:
        """Return places before which and from which on rows are changed, the same number always."""
        length = self.real.shape[1]
        places = [min(max(place, 1), length - 1) for place in (1, length // 2)]
        if self.model.training:
            return places
        return [*places, min(max(2 * length // 3, 1), length - 1), length - 1]

    def _later_tokens(self) -> str | None:
        """Logits before a place change where the tokens from there on do."""
        for cut in self._places():
            moved = self._moved(self._from(cut))[:cut].nonzero()
            if len(moved):
                seen = int(moved[-1])
                return self._told(seen, self._seen_from(seen, cut))
        return None

    def _moved(self, changed: Tensor) -> Tensor:
        """Return at which positions logits move, (T,)."""
        difference = _difference(self.base[:1], self._read(changed)[:1])
        return ((difference > self.limit) & self.real).any(0)

    def _seen_from(self, seen: int, cut: int) -> int | None:
        """Return the first token from a cut on that moves the logits of a position alone."""
        if isinstance(next(self.model.parameters()), DTensor):
            return None  # all processes would have to search alike
        for place in range(cut, self.real.shape[1]):
            if self._moved(self._from(place) & ~self._from(place + 1))[seen]:
                return place
        return None

    def _told(self, seen: int, read: int | None) -> str:
        token = "tokens behind it" if read is None else f"the token at position {read}"
        mode = " in training, though not in evaluation" if self.model.training else ""
        return (
            f"is registered as causal, but its logits at position {seen} depend on {token}{mode}: "
            "it reads what it is to predict, and its loss means nothing; "
            f"{FORWARD} (pad convolutions on the left, mask attention, normalise within a "
            "position), or register it with is_causal=False"
        )

    def _targets(self) -> str | None:
        """The loss of a token changes where the token itself, and what follows, does."""
        for place in self._places()[:2]:
            labels = torch.full_like(self.real, IGNORE_INDEX, dtype=torch.int64)
            labels[:, place] = self.inputs["input_ids"][:, place]
            labels = labels.masked_fill(~self.real, IGNORE_INDEX)
            loss, moved = (self._loss(labels, changed) for changed in (None, self._from(place)))
            if loss is None or moved is None:
                return None  # training says so
            if abs(loss - moved) > self.tolerance * max(1.0, abs(loss)) + self.control:
                return (
                    f"its loss of the token at position {place} depends on that token in the "
                    "input: labels are not shifted by the caller, so the logits of each position "
                    f"are to be scored with the label of the next; {FORWARD}, for example with "
                    "language_model_loss(logits, labels, causal=True)"
                )
        return None

    def _loss(self, labels: Tensor, changed: Tensor | None) -> float | None:
        with seeded(0):
            output = self.model(**self._inputs(changed), labels=labels, **self.alone)
        return None if output.loss is None else float(output.loss)

    def _rows(self) -> str | None:
        """A row changes where another one does."""
        first = torch.zeros_like(self.real)
        first[0] = True
        found = self._read(first)
        differences = [
            _difference([one[1:]], [other[1:]]) for one, other in zip(self.base, found, strict=True)
        ]
        if all(float(difference.max()) <= self.limit for difference in differences):
            return None
        mode = " in training, though not in evaluation" if self.model.training else ""
        return (
            f"what it computes of row 1 depends on the tokens of row 0{mode}: rows of a batch are "
            "independent texts, so its results would depend on how batches are cut; "
            f"{FORWARD} (layer instead of batch normalisation, no statistics over rows)"
        )

    def _labels(self) -> str | None:
        """Logits change where labels do."""
        ids = self.inputs["input_ids"]
        read = [
            self._read(labels=labels.masked_fill(~self.real, IGNORE_INDEX))
            for labels in (ids, self.others)
        ]
        if any(float(_difference([a], [b]).max()) > self.limit for a, b in zip(*read, strict=True)):
            return f"its output depends on the labels that it is given to be scored by; {FORWARD}"
        return None


def _difference(some: list[Tensor], others: list[Tensor]) -> Tensor:
    """Return the largest difference of the first two tensors at each place, (B, T)."""
    difference = (some[0] - others[0]).abs()
    return difference.flatten(2).amax(-1) if difference.dim() > 2 else difference

"""The figures of a plan, as plain data."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Parameters of a model by part; tied ones count once, where they are embeddings."""

    total: int
    trainable: int
    embeddings: int
    """Tables that are looked up by an id or a position, and what belongs to them."""
    layers: int
    """The stacked layers."""
    other: int
    """The rest of the body, such as its last norm."""
    head: int
    """What maps the output of the body onto the targets."""
    tied: bool
    """True if the output matrix is the embedding matrix."""
    multiplied: int
    """Weights of the matrices that multiply at each position, the output matrix included."""


@dataclass(frozen=True, kw_only=True)
class Length:
    """The length of a run."""

    steps: int
    examples_per_step: int
    examples: int
    """Training examples that one pass reads."""
    passes: float
    """Passes over the training examples."""
    first_epoch: int
    """Steps in which each example is seen once at least, be the run shorter or not."""
    per_step: dict[str, float]
    """Units (tokens, words) in a step, on average; {}: only examples are counted."""
    in_all: dict[str, int]
    """The same in the whole run, repeats included."""
    row: int | None
    """Positions of a row; None: the examples are no rows of a token stream."""
    evaluated: int
    """Validation examples that each evaluation reads."""


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Floating-point operations of the training."""

    per_position: float | None
    """Operations of a training step for each position of a row, by the formula; None: the formula
    does not hold for this kind of model."""
    attention: float
    """The share of attention in it."""
    counted_per_example: float | None
    """Operations of the products in a training step that was made, for each example; None: none
    was made, or the model learns by counting."""
    total: float | None
    """Operations of the whole run: by the formula, else as counted; None: neither is known."""
    tokens_per_parameter: float | None
    """Tokens of the run for each parameter; None: no tokens are counted."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes in the memory of one device while it trains."""

    device: str
    rows: int
    """Rows in a forward pass on one device."""
    weights: int
    gradients: int
    average: int
    """Average of the weights (`training.ema_decay`); 0: there is none."""
    optimizer: int | None
    """State of the optimizer; None: it is not known, as the model does not fit."""
    activations: int | None
    """The most that lives beside weights, their average, gradients that are kept and optimizer
    state; None: not known."""
    logits: int | None
    """What of the activations are tensors as wide as the vocabulary; None: not known."""
    peak: int | None
    """Most bytes of tensors at a time; None: not known."""
    per_row: float | None
    """Bytes that a further row in a forward pass adds to the peak; None: one row was tried."""
    tried_rows: int
    """Rows of the largest step that was made for this plan; 0: none was."""
    process: int
    """Memory of this process before there is a model: libraries and data; on a GPU of the host."""
    growth: int | None
    """What the process is expected to grow by: the peak, with the share that the allocator
    loses."""
    available: int | None
    """Bytes that are free on the device now; None: not known."""
    installed: int | None
    """Bytes that the device has; None: not known."""


@dataclass(frozen=True, kw_only=True)
class LargestBatch:
    """The most rows of a forward pass that fit on one device."""

    rows: int
    how: str
    """How it was found: `estimated` or `tried`."""
    dividing: int
    """The most rows among these that divide the global batch."""
    passes: int
    """Forward passes in a step with so many rows."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The steps after which something is recorded, ascending."""

    evaluations: list[int]
    checkpoints: list[int]
    """Those to resume from, milestones not counted unless they fall on one."""
    milestones: list[int]
    about: bool
    """True if milestones follow words or tokens, which differ from step to step."""


@dataclass(frozen=True, kw_only=True)
class Disk:
    """Bytes on the disk of the run directory."""

    checkpoint: int
    """A checkpoint to resume from."""
    model: int
    """A model with its processors: a milestone, or the final model."""
    models: int
    """Final models: that of the weights, and that of their average if there is one."""
    kept: int
    """Checkpoints to resume from that are left at the end."""
    lean: int
    """Milestones of which only the model is left."""
    extra: int
    """Checkpoints that are there before another is deleted."""
    in_all: int
    """The most at a time: everything that is kept, the extra ones and the final models. Checkpoints
    because of the time (`save_minutes`) come on top, at most three at a time."""
    present: int
    """Bytes of `in_all` that are there already: the checkpoints of a run to be resumed."""
    free: int | None
    """Bytes that are free; None: not known."""


@dataclass(frozen=True, kw_only=True)
class Time:
    """Seconds, measured on a few steps of this experiment."""

    start: float
    """From the start of the command to the first step, the data read from the cache; imports are
    counted if a command has made the plan."""
    step: float
    steps_measured: int
    evaluation: float
    """An evaluation, that of the average of the weights included."""
    checkpoint: float
    training: float
    """All steps of the run."""
    evaluations: float
    """All evaluations, that of test data included."""
    checkpoints: float
    """All checkpoints and the final models."""
    in_all: float


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The use of the vocabulary by the training text."""

    ordinary: int
    """Entries that are not special tokens."""
    never: int
    """Entries among these that the training text does not have."""
    rare: int
    """Entries that it has fewer than `RARE` times, those that it does not have included."""


@dataclass(frozen=True, kw_only=True)
class Risk:
    """Something that is going to go wrong, or to be a waste."""

    name: str
    text: str
    """The figure and the remedy."""
    certain: bool
    """True if the run is certain to fail."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All figures of a run before it starts."""

    experiment_name: str
    architecture: str
    objective: str
    parameters: Parameters
    length: Length
    compute: Compute
    memory: Memory
    largest_batch: LargestBatch | None
    """None: not known."""
    schedule: Schedule
    disk: Disk
    vocabulary: Vocabulary | None
    """None: the task reads no token stream."""
    time: Time | None
    """None: nothing was measured."""
    risks: list[Risk]

    @property
    def fails(self) -> bool:
        """True if the run is certain to fail."""
        return any(risk.certain for risk in self.risks)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)

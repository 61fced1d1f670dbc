"""What a run has come to. Whatever must survive a restart is a field here or a tensor."""

from dataclasses import dataclass

from model_foundry.run_directory import RunProgress


@dataclass
class TrainState(RunProgress):
    """Counters of a run."""

    blocks_seen: int = 0
    """Blocks drawn, over all passes and processes: the position in the training order."""
    tokens_seen: int = 0
    """Tokens of text trained on, repeats included, framing and padding not."""
    words_seen: int = 0
    """Words of text trained on, repeats included."""

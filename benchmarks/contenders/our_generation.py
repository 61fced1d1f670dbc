"""Generation as this package does it."""

from torch import Tensor

from benchmarks.contenders.generation import repeat
from benchmarks.contenders.work import Work
from model_foundry.model import load_model


def run(work: Work) -> None:
    """Generate without end."""
    model = load_model(work.directory / "model").to(work.device)

    def generate(prompts: Tensor, new: int) -> Tensor:
        return model.generate(prompts, max_new_tokens=new, eos_token_id=None)

    repeat(work, generate)

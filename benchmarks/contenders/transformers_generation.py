"""Generation by transformers' own `generate`, from the same directory."""

from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from benchmarks.contenders.generation import repeat
from benchmarks.contenders.work import Work


def run(work: Work) -> None:
    """Generate without end."""
    directory = work.directory / "model"
    model: Any = AutoModelForCausalLM.from_pretrained(directory, trust_remote_code=True)
    model = model.to(work.device).eval()
    model.generation_config.eos_token_id = None  # so that all rows get their full length

    @torch.no_grad()
    def generate(prompts: Tensor, new: int) -> Tensor:
        generated: Tensor = model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            max_new_tokens=new,
            do_sample=False,
            pad_token_id=0,
        )
        return generated

    repeat(work, generate)

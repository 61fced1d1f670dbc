"""litgpt's GPT in a plain loop, with the sizes of GPT-2 (github.com/Lightning-AI/litgpt).

It needs a Python of its own: litgpt asks for an older huggingface_hub than transformers 5 does.
"""

import torch
from litgpt.config import Config
from litgpt.model import GPT

from benchmarks.contenders.work import Rows, Work


def run(work: Work) -> None:
    """Train without end."""
    shape, rows = work.shape, Rows(work)
    model = GPT(
        Config(
            block_size=shape.block,
            vocab_size=shape.vocabulary,
            padded_vocab_size=shape.vocabulary,
            n_layer=shape.layers,
            n_head=shape.heads,
            n_embd=shape.width,
            mlp_class_name="GptNeoxMLP",
            parallel_residual=False,
            gelu_approximate="tanh",
        )
    ).to(work.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    step = 0
    while True:
        ids = rows()
        with work.autocast():
            logits = model(ids)[:, :-1]
            loss = torch.nn.functional.cross_entropy(
                logits.reshape(-1, shape.vocabulary), ids[:, 1:].reshape(-1)
            )
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        if step % shape.steps == 0:
            work.tick(step, loss)

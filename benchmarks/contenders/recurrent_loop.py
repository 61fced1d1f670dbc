"""Embedding, `nn.LSTM` (`nn.GRU`, `nn.RNN`) and a linear layer in a plain loop, fused AdamW."""

from typing import Final

import torch
from torch import Tensor, nn

from benchmarks.contenders.work import Rows, Work
from benchmarks.shapes import Shape

LAYERS: Final = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class RecurrentModel(nn.Module):
    """The model of torch's word_language_model example, without dropout."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = LAYERS[shape.architecture](
            shape.width, shape.width, shape.layers, batch_first=True
        )
        self.output = nn.Linear(shape.width, shape.vocabulary)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the loss of predicting each id of (B, T) from those before it."""
        states, _ = self.layers(self.embedding(ids[:, :-1]))
        logits = self.output(states)  # (B, T - 1, V)
        return nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def run(work: Work) -> None:
    """Train without end."""
    rows, model = Rows(work), RecurrentModel(work.shape).to(work.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    step = 0
    while True:
        with work.autocast():
            loss = model(rows())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        if step % work.shape.steps == 0:
            work.tick(step, loss)

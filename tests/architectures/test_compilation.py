"""Models are compiled for training alone."""

from typing import Any

import torch
from torch import Tensor, nn

from model_foundry.architectures.compilation import compilation_disabled


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x.relu()


def test_other_rows_do_not_change_the_graph_of_training() -> None:
    shapes: list[tuple[int, ...]] = []

    def backend(graph: Any, inputs: list[Tensor]) -> Any:
        shapes.extend(tuple(each.shape) for each in inputs)
        return graph.forward

    model = Doubled()
    model.compile(backend=backend)
    for rows in (4, 2, 3, 4):
        with compilation_disabled(model):
            assert torch.equal(model(torch.ones(rows, 3)), torch.full((rows, 3), 2.0))
    assert shapes == []
    model(torch.ones(4, 3))
    with compilation_disabled(model):
        model(torch.ones(2, 3))
    model(torch.ones(4, 3))
    assert shapes == [(4, 3)]


def test_a_model_that_is_not_compiled_is_left_alone() -> None:
    model = Doubled()
    with compilation_disabled(model):
        assert model(torch.ones(1)).item() == 2.0

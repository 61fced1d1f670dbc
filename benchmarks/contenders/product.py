"""The widest matrix product of a layer, repeated: the peak of the machine at this shape.

Its two backward products have the same sizes, transposed, so that one product represents all.
"""

from itertools import count

import torch

from benchmarks.contenders.work import Work

SECONDS = 0.25  # of a tick, at the speed that the first products show


def run(work: Work) -> None:
    """Multiply without end; a step is one product."""
    rows, inner, columns = work.shape.product
    dtype = torch.bfloat16 if work.bf16 else torch.float32
    left = torch.randn(rows, inner, device=work.device).to(dtype)
    right = torch.randn(inner, columns, device=work.device).to(dtype)
    out = torch.empty(rows, columns, device=work.device, dtype=dtype)
    products = max(1, int(SECONDS * 100e9 / (2 * rows * inner * columns)))
    if work.device.type == "cuda":
        products *= 1000
    for step in count(products, products):
        for _ in range(products):
            torch.mm(left, right, out=out)
        work.tick(step, out[0, 0])

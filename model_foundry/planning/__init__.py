"""`foundry plan`: what a run will take, before it starts.

`build_plan` computes it; nothing is written but the cache of the data.
"""

from model_foundry.planning.figures import Plan
from model_foundry.planning.plan import build_plan

__all__ = ["Plan", "build_plan"]

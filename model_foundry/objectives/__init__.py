"""Training objectives, one file each."""

from model_foundry.objectives.base import Objective, register_objective
from model_foundry.objectives.causal import CausalLM
from model_foundry.objectives.masked import MaskedLM

__all__ = ["CausalLM", "MaskedLM", "Objective", "register_objective"]

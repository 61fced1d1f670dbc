"""Training objectives: what a model is trained to do, from the data to losses and metrics."""

from model_foundry.objectives.base import Objective, Prepared
from model_foundry.objectives.causal import CausalLM
from model_foundry.objectives.forward_pass import ForwardPass
from model_foundry.objectives.language import LanguageObjective
from model_foundry.objectives.losses import Loss, register_loss
from model_foundry.objectives.masked import MaskedLM
from model_foundry.objectives.metrics import Metric, register_metric
from model_foundry.objectives.processors import Processor
from model_foundry.objectives.records import RecordObjective
from model_foundry.objectives.registration import register_objective
from model_foundry.objectives.transforms import register_transform

__all__ = [
    "CausalLM",
    "ForwardPass",
    "LanguageObjective",
    "Loss",
    "MaskedLM",
    "Metric",
    "Objective",
    "Prepared",
    "Processor",
    "RecordObjective",
    "register_loss",
    "register_metric",
    "register_objective",
    "register_transform",
]

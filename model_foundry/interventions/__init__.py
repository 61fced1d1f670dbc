"""Steps that change the documents of a corpus before tokenization."""

from model_foundry.interventions.description import describe
from model_foundry.interventions.registration import (
    Intervention,
    intervention,
    register_intervention,
)

__all__ = ["Intervention", "describe", "intervention", "register_intervention"]

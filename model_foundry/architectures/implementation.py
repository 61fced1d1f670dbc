"""The choice of the network of GPT-2 and BERT: transformers' own class, or this package's blocks.

Both compute the same and are saved as the same directories. The choice depends on the settings
alone, so that each start of a run makes it again.
"""

from typing import Final

from model_foundry.architectures.kernels.attention_choice import FLASH
from model_foundry.architectures.saving.native_format import LANGUAGE
from model_foundry.config import OBJECTIVES, ExperimentConfig, Implementation
from model_foundry.errors import ConfigError

DEFAULT: Final[Implementation] = "transformers"


def obstacle_to_native(config: ExperimentConfig) -> str | None:
    """Return the setting that the package's own blocks cannot follow; None: there is none."""
    asked, objective = config.training.attn_implementation, config.training.objective
    if asked == FLASH:
        return f"training.attn_implementation (={asked}), since its kernel is torch's"
    if OBJECTIVES[objective].model_kind != LANGUAGE:
        return f"training.objective (={objective}), whose head is saved with transformers' body"
    return None


def choose_implementation(config: ExperimentConfig) -> Implementation:
    """Return `native` or `transformers`.

    Raises:
        ConfigError: `native` was asked for and does not fit another setting.
    """
    asked, obstacle = config.model.implementation, obstacle_to_native(config)
    if asked == "native" and obstacle:
        raise ConfigError(
            f"model.implementation (=native) does not fit {obstacle}; set it to auto or "
            "transformers."
        )
    if asked != "auto":
        return asked
    return "transformers" if obstacle else DEFAULT

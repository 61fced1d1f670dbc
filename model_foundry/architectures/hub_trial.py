"""A trial of generation with the cache of a model type of transformers."""

from typing import Any, Final

import torch

from model_foundry.architectures.base import BaseLanguageModel
from model_foundry.architectures.base_model import device_of
from model_foundry.architectures.model_type_laws import LAWS, holds
from model_foundry.errors import ConfigError, is_out_of_memory
from model_foundry.foundation.messages import reason_of

NUMBER: Final = 3  # tokens to generate; the second is the first one that the cache gives


def try_generation(model: BaseLanguageModel, model_type: str) -> None:
    """Continue a token, where the model generates with the cache of its type.

    On the meta device, where nothing is computed, nothing is tried.

    Raises:
        ConfigError: the type has a cache, but not with these fields.
    """
    device = device_of(model)
    number = min(NUMBER, (model.num_positions or NUMBER + 1) - 1)
    cached = model.supports_generation and holds("cache", model_type, "causal")
    if not cached or number < 1 or device.type == "meta":
        return
    lengths: dict[str, Any] = {"max_new_tokens": number, "min_new_tokens": number}
    ids = torch.zeros(1, 1, dtype=torch.long, device=device)
    try:
        model.generate(ids, pad_token_id=0, do_sample=False, **lengths)
    except Exception as error:  # transformers validates little
        if is_out_of_memory(error):
            raise
        law = f"which needs the law 'cache' ({LAWS['cache']})"
        raise ConfigError(
            f"model.huggingface: {model_type} cannot generate with these fields, {law}: "
            f"{reason_of(error)}; use other sizes, or another type"
        ) from error

"""`HFEncoderDecoder`, the base class of encoder-decoders made of transformers classes.

Letters of shapes: B rows, S source positions, T target positions, V vocabulary of the target.
"""

from typing import Any, cast

import torch
from torch import Tensor

from model_foundry.architectures.hf_model import HFModel
from model_foundry.architectures.modeling.modeling_encoder_decoder import shifted_right
from model_foundry.architectures.output import ModelOutput
from model_foundry.architectures.restored import evaluation_mode
from model_foundry.architectures.saving.native_format import Record
from model_foundry.config import ExperimentConfig
from model_foundry.errors import ConfigError


def start_of(ids: Record) -> int | None:
    """Return the id that begins each target: that of `<s>`, else of padding, else of the end.

    Args:
        ids: of special tokens, by role.
    """
    roles = ("bos_token_id", "pad_token_id", "eos_token_id")
    return next((ids[role] for role in roles if ids.get(role) is not None), None)


def padded_by_end(ids: Record) -> Record:
    """Return ids of special tokens, by role, in which the end pads where no other token does."""
    end, pad = ids.get("eos_token_id"), ids.get("pad_token_id")
    return ids | {"eos_token_id": end, "pad_token_id": end if pad is None else pad}


def require_one_vocabulary(config: ExperimentConfig) -> None:
    """Raise a `ConfigError` for targets with a tokenizer of their own."""
    objective = config.training.objective
    if getattr(config.training.section_of(objective), "target_tokenizer", None) is not None:
        name = repr(config.model.architecture)
        law = f"{name} has one vocabulary for sources and targets; leave it out"
        raise ConfigError(f"training.{objective}.target_tokenizer: {law}")


class HFEncoderDecoder(HFModel):
    """A model that reads one sequence and writes another, a token at a time."""

    @property
    def start_token_id(self) -> int:
        """The id that the decoder reads before the first target."""
        return int(self.hf_model.config.decoder_start_token_id)

    def forward(self, *given: Any, **inputs: Any) -> ModelOutput:
        """Compute the logits of each target, given those before it (teacher forcing).

        Args:
            given: none.
            inputs: `input_ids` (B, S); `attention_mask` (B, S), 0 at padding, left out: there is
                none; `labels` (B, T), -100 at padding.

        Returns:
            Logits (B, T, V), aligned with the labels, and the mean loss over the targets.

        Raises:
            ValueError: a text exceeds the positions.
        """
        lengths = {"source": inputs["input_ids"].shape[1], "target": inputs["labels"].shape[1]}
        self.require_positions(**lengths)
        start = self.start_token_id
        # nothing is predicted from what stands at padding, so its id is of no importance
        read = shifted_right(inputs["labels"], start, pad=start)
        return super().forward(*given, **inputs, decoder_input_ids=read)

    def generate(
        self,
        input_ids: Tensor,
        *,
        attention_mask: Tensor | None = None,
        max_new_tokens: int = 20,
        **kwargs: Any,
    ) -> Tensor:
        """Write the target of each row with transformers' `generate`, greedily by default.

        Args:
            input_ids: (B, S).
            attention_mask: (B, S), 0 at padding; None: no padding.
            max_new_tokens: maximum length of a target.
            **kwargs: `num_beams` and the others of transformers.

        Returns:
            The targets without the start token, (B, up to `max_new_tokens`), padded after their
            end token.

        Raises:
            ValueError: the source or `max_new_tokens` exceeds the positions.
        """
        self.require_positions(source=input_ids.shape[1], max_new_tokens=max_new_tokens)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        with evaluation_mode(self):
            found = self.hf_model.generate(
                input_ids=input_ids, attention_mask=mask, max_new_tokens=max_new_tokens, **kwargs
            )
        return cast(Tensor, found)[:, 1:]

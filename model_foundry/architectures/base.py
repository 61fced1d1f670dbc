"""`BaseLanguageModel`, the interface through which the rest of the package uses a language model.

An architecture derives from it, defines the abstract methods and inherits the rest. Models made of
HuggingFace classes derive from `hf_language_model.HFLanguageModel`.
"""

from abc import abstractmethod
from pathlib import Path
from typing import Any, Self, cast

from torch import Tensor, nn

from model_foundry.architectures.base_model import BaseModel
from model_foundry.architectures.decoding import Sampling, continue_rows
from model_foundry.architectures.output import ModelOutput
from model_foundry.architectures.restored import evaluation_mode
from model_foundry.architectures.saving.native_format import ARGUMENTS
from model_foundry.config import ExperimentConfig
from model_foundry.errors import ConfigError


class BaseLanguageModel(BaseModel):
    """A language model of any architecture.

    `model(**batch).loss.backward()` works for every one of them. Labels are not shifted by the
    caller; -100 marks positions that are not predicted.
    """

    @classmethod
    @abstractmethod
    def from_config(
        cls,
        config: ExperimentConfig,
        *,
        vocab_size: int | None = None,
        pad_token_id: int | None = None,
        bos_token_id: int | None = None,
        eos_token_id: int | None = None,
        **kwargs: Any,
    ) -> Self:
        """Make a model with random weights, drawn from torch's global generator.

        Args:
            config: the experiment; an architecture reads its own section below `config.model`.
            vocab_size: number of rows of the embedding matrix; None: `config.tokenizer.vocab_size`.
            pad_token_id, bos_token_id, eos_token_id: of the tokenizer; None: it has none.
            **kwargs: ids of further special tokens, by role (`mask_token_id`), and whatever else
                the objective derives from the data, as plain JSON.
        """

    @abstractmethod
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> ModelOutput:
        """Compute logits and, given labels, the loss.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), 1 for tokens and 0 for padding on either side; None: no padding.
            labels: (B, T), aligned with `input_ids`; -100 is ignored; None: no loss. A causal model
                with carried state gets (B, T + 1), including the token that follows each row.
            **kwargs: `output_hidden_states`, `output_attentions`, and those of the architecture.
                With `carries_state`, also `use_cache` and `past_key_values`. With
                `isolates_documents` in its spec, also `document_ids` (B, T): a token sees only
                tokens of its row with the same id. Ids count from 0, in runs, with -1 at padding;
                None: each row is one document. With `computes_loss_alone`, also `return_logits`:
                False, given labels, leaves the logits None.
        """

    @abstractmethod
    def get_input_embeddings(self) -> nn.Module:
        """Return the module that maps ids to vectors; it has a `weight` (V, E).

        A model without such vectors raises a `ConfigError`, and overrides `vocabulary_size`.
        """

    @abstractmethod
    def resize_token_embeddings(self, new_num_tokens: int) -> nn.Module:
        """Change the vocabulary size, keep the rows that stay, and return the new embeddings."""

    @property
    def vocabulary_size(self) -> int:
        """The number of tokens that the model knows, V."""
        return cast(Tensor, self.get_input_embeddings().weight).shape[0]

    @property
    @abstractmethod
    def supports_generation(self) -> bool:
        """True if the model continues text from left to right."""

    @property
    def is_causal(self) -> bool:
        """True if position t sees only positions up to t."""
        return self.supports_generation

    def generate(
        self,
        input_ids: Tensor,
        *,
        attention_mask: Tensor | None = None,
        max_new_tokens: int = 20,
        **kwargs: Any,
    ) -> Tensor:
        """Continue rows of ids, greedily unless `do_sample=True`.

        Args:
            input_ids: (B, T), padded on the left where rows differ in length.
            attention_mask: (B, T), 0 for padding; None: no padding.
            max_new_tokens: maximum number of tokens added to a row.
            **kwargs: `do_sample`, `temperature`, `top_k`, `top_p`, `eos_token_id`, `pad_token_id`.

        Returns:
            The rows with their continuations, (B, up to T + max_new_tokens).

        Raises:
            ConfigError: the model fills masks instead.
        """
        self.require_generation()
        with evaluation_mode(self):
            sampling = Sampling(**kwargs)
            return continue_rows(
                self._next_logits, input_ids, attention_mask, max_new_tokens, sampling
            )

    def require_generation(self) -> None:
        """Raise a `ConfigError` unless the model continues text."""
        if not self.supports_generation:
            raise ConfigError(
                f"a {self.model_type} model that fills masks cannot generate text; use one "
                "that was trained with the objective causal_lm."
            )

    def save_pretrained(self, directory: str | Path) -> None:
        """Write the model to a directory: weights as safetensors, the rest as JSON."""
        if (record := self.build_record) is not None:  # the vocabulary may have been resized
            arguments = record[ARGUMENTS] | {"vocab_size": self.vocabulary_size}
            self.build_record = record | {ARGUMENTS: arguments}
        super().save_pretrained(directory)

    def _next_logits(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        logits = self(input_ids=input_ids, attention_mask=attention_mask).logits
        return cast(Tensor, logits[:, -1])

"""`BaseLanguageModel`, the interface through which the rest of the package uses a model.

An architecture derives from it, defines the abstract methods and inherits the rest. Models made of
HuggingFace classes derive from `hf_model.HFModel`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, cast

from torch import Tensor, nn

from model_foundry.architectures.decoding import Sampling, continue_rows, evaluation_mode
from model_foundry.architectures.output import ModelOutput
from model_foundry.architectures.saving import native_format
from model_foundry.config import ARCHITECTURES, ExperimentConfig
from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import reason_of


class BaseLanguageModel(nn.Module, ABC):
    """A language model of any architecture.

    `model(**batch).loss.backward()` works for every one of them. Labels are not shifted by the
    caller; -100 marks positions that are not predicted.
    """

    build_record: native_format.Record | None = None
    """The arguments of `create_model_from_config`; None if the model was made otherwise."""

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
            **kwargs: ids of further special tokens, by role (`mask_token_id`).
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
        """Return the module that maps ids to vectors; it has a `weight` (V, E)."""

    @abstractmethod
    def resize_token_embeddings(self, new_num_tokens: int) -> nn.Module:
        """Change the vocabulary size, keep the rows that stay, and return the new embeddings."""

    @property
    @abstractmethod
    def model_type(self) -> str:
        """The name under which the architecture is registered."""

    @property
    @abstractmethod
    def supports_generation(self) -> bool:
        """True if the model continues text from left to right."""

    @property
    def is_causal(self) -> bool:
        """True if position t sees only positions up to t."""
        return self.supports_generation

    @property
    def num_positions(self) -> int | None:
        """The maximum number of tokens in a row; None: any number."""
        return None

    @property
    def attention_in_use(self) -> str | None:
        """The attention kernel, by its name in transformers; None: no attention."""
        return None

    @property
    def computes_loss_alone(self) -> bool:
        """True if `forward` accepts `return_logits=False`, so that no logits need be kept."""
        return False

    @property
    def carries_state(self) -> bool:
        """True if a text can be read in pieces, each from the state after the last one."""
        return False

    def state_tensors(self, past_key_values: Any) -> dict[str, Tensor]:
        """Return the state of an output, (B, ...) each, detached from its graph.

        Raises:
            ConfigError: the architecture carries no state.
        """
        raise self._no_carried_state()

    def state_from(self, tensors: Mapping[str, Tensor]) -> Any:
        """Return `past_key_values`, given the result of `state_tensors`.

        Raises:
            ConfigError: the architecture carries no state.
            ValueError: the tensors are not a state of this model.
        """
        raise self._no_carried_state()

    def require_carried_state(self) -> None:
        """Raise a `ConfigError` unless the model `carries_state`."""
        if not self.carries_state:
            raise self._no_carried_state()

    def _no_carried_state(self) -> ConfigError:
        return ConfigError(
            f"training.carry_state (=true) is not supported by {self.model_type!r}; leave it out."
        )

    def get_parameter_count(self, trainable_only: bool = False) -> int:
        """Return the number of parameters; tied ones count once."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad or not trainable_only)

    def get_memory_footprint(self) -> int:
        """Return the bytes of all parameters and buffers."""
        return sum(t.nbytes for t in (*self.parameters(), *self.buffers()))

    def gradient_checkpointing_enable(self) -> None:
        """Recompute activations in the backward pass instead of keeping them.

        Raises:
            ConfigError: the architecture does not support it.
        """
        raise ConfigError(
            f"training.gradient_checkpointing (=true) is not supported by {self.model_type!r}; "
            "leave it out."
        )

    def compile_for_training(self) -> None:
        """Compile the model in place, by default all of it."""
        self.compile()

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
        if self.build_record is None:
            raise RuntimeError(
                f"{type(self).__name__} was not made by create_model_from_config; use that, or "
                "override save_pretrained and load_directory."
            )
        vocab_size = cast(Tensor, self.get_input_embeddings().weight).shape[0]
        record = self.build_record | {"vocab_size": vocab_size}
        native_format.save_model_files(self, record, Path(directory))

    @classmethod
    def from_pretrained(cls, directory: str | Path, **kwargs: Any) -> Self:
        """Load a saved model, as the class registered for it.

        Args:
            directory: a model directory. Nothing is downloaded and none of its code is run.
            **kwargs: arguments of the architecture's `load_directory`.

        Raises:
            ConfigError: the directory holds no model, or one of another architecture than `cls`.
        """
        directory = Path(directory)
        name = native_format.architecture_of(directory)
        registered = ARCHITECTURES.load(name)
        if not issubclass(registered, cls):
            raise ConfigError(
                f"{directory}: holds the architecture {name!r} ({registered.__name__}), "
                f"not a {cls.__name__}; use {registered.__name__}.from_pretrained."
            )
        return cast(Self, registered.load_directory(directory, **kwargs))

    @classmethod
    def load_directory(cls, directory: Path) -> Self:
        """Load a directory that holds this architecture.

        Raises:
            ConfigError: it was not saved by this package, or its weights do not fit.
        """
        record = native_format.read_config_json(directory)
        source = str(directory / native_format.CONFIG)
        config, ids = native_format.read_record(record, source)
        try:
            model = cls.from_config(config, **cast(dict[str, int], ids))
        except (RuntimeError, TypeError, ValueError) as error:  # no such sizes, or no such ids
            reason = f"describes no {cls.__name__}: {reason_of(error)}"
            raise ConfigError(f"{source}: {reason}") from error
        native_format.load_weights(model, directory)
        model.build_record = record
        return model

    def _next_logits(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        logits = self(input_ids=input_ids, attention_mask=attention_mask).logits
        return cast(Tensor, logits[:, -1])

"""The transformers configuration of an experiment or of a saved model, of any model type."""

from typing import Any

from transformers import CONFIG_MAPPING

from model_foundry.architectures import hub_types
from model_foundry.architectures.hub_values import with_plain_types
from model_foundry.architectures.saving.native_format import Record
from model_foundry.config import OBJECTIVES, ExperimentConfig, HuggingFaceConfig
from model_foundry.config.target_lengths import longest_target, positions_needed
from model_foundry.errors import ConfigError

HEAD = "foundry_head"  # field of the configuration: causal, masked or seq2seq
SEQ2SEQ = "encoder_decoder"  # the kind of a model with the head seq2seq
NEEDS = {"left_to_right": "causal", "both": "masked"}


def type_and_head(config: ExperimentConfig) -> tuple[Any, str]:
    """Return the configuration class of a model type, and the head that the objective needs.

    Raises:
        ConfigError: there is no such type, head or field.
    """
    section: HuggingFaceConfig = config.model.section
    model_type = hub_types.known_type(section.model_type)
    objective = OBJECTIVES[config.training.objective]
    seq2seq = objective.model_kind == SEQ2SEQ
    needed = "seq2seq" if seq2seq else NEEDS.get(objective.direction)
    head = hub_types.head_for(model_type, objective.name, asked=section.head, needed=needed)
    hf_config_class = hub_types.config_class(model_type)
    hub_types.require_known(hf_config_class, section.fields)
    return hf_config_class, head


def _require_positions(config: ExperimentConfig, model_type: str, pad: int | None) -> None:
    """Raise a `ConfigError` for a text that is longer than the positions of the experiment."""
    given, longest = config.model.section.fields.get(hub_types.POSITIONS), positions_needed(config)
    field = "data.max_sequence_length"
    if longest > config.data.max_sequence_length:
        setting, _ = longest_target(config) or ("", 0)
        field = f"training.{config.training.objective}.{setting}"
    needed = longest + hub_types.unused_positions(model_type, pad)
    if isinstance(given, int) and given < needed:
        own = f"{hub_types.SECTION}.{hub_types.POSITIONS}"
        law = f"texts of up to {longest} tokens need {own} to be {needed}, got {given}"
        raise ConfigError(f"{field}: {law}; lower the first or raise the second")


def configuration_of(config: ExperimentConfig, arguments: Record) -> Any:
    """Return the transformers configuration of an experiment.

    Args:
        arguments: vocabulary size, and ids of special tokens by role.

    Raises:
        ConfigError: there is no such type, head or field, or a value is not valid.
    """
    hf_config_class, head = type_and_head(config)
    own = hub_types.fields_of(hf_config_class)
    pad, vocabularies = arguments.get("pad_token_id"), hub_types.VOCABULARIES
    values = {
        **hub_types.positions_fields(hf_config_class, positions_needed(config), pad),
        **with_plain_types(hf_config_class, config.model.section.fields, hub_types.SECTION),
        **dict.fromkeys(own & {*vocabularies}, arguments["vocab_size"]),
        **hub_types.special_tokens(hf_config_class, arguments),
        HEAD: head,
    }
    _require_positions(config, hf_config_class.model_type, pad)
    hf_config = hub_types.made_config(hf_config_class, values)
    if hasattr(hf_config, "is_decoder"):
        hf_config.is_decoder = head == "causal"
    return hf_config


class SavedConfig:
    """The configuration class of whatever model type a directory names."""

    @staticmethod
    def from_dict(fields: Record) -> Any:
        """Return the configuration.

        Raises:
            ConfigError: the type or the head is unknown.
        """
        if fields.get(HEAD) not in hub_types.CLASSES:
            known = ", ".join(hub_types.CLASSES)
            raise ConfigError(f"{HEAD} must be one of {known}; save the model again.")
        found = CONFIG_MAPPING[hub_types.known_type(str(fields["model_type"]))]
        return found.from_dict(with_floats(fields))


def with_floats(value: Any) -> Any:
    """Return JSON in which `{"__float__": "Infinity"}`, as transformers writes it, is a number."""
    if isinstance(value, list):
        return [with_floats(each) for each in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"__float__"}:
        return float(value["__float__"])
    return {key: with_floats(each) for key, each in value.items()}

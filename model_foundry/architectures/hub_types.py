"""The model types of transformers: their names, their heads and the fields of their configurations.

transformers itself silently accepts any field.
"""

from dataclasses import fields
from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from model_foundry.architectures.hub_values import reason_within
from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import short_repr
from model_foundry.registry import nearest

SECTION = "model.huggingface"
NAMES = {
    "causal": MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    "masked": MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    "seq2seq": MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
}
CLASSES = {
    "causal": MODEL_FOR_CAUSAL_LM_MAPPING,
    "masked": MODEL_FOR_MASKED_LM_MAPPING,
    "seq2seq": MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
}
LANGUAGE_HEADS = ("causal", "masked")
OBJECTIVE = {"causal": "causal_lm", "masked": "masked_lm", "seq2seq": "seq2seq_lm"}
# Of encoder-decoders, which have one vocabulary for sources and targets here.
VOCABULARIES = ("src_vocab_size", "tgt_vocab_size", "decoder_vocab_size")
# Set by the experiment, as are the ids of special tokens.
SET_HERE = (
    *("vocab_size", "is_decoder", "add_cross_attention", "use_bidirectional_attention"),
    *VOCABULARIES,
)
POSITIONS = "max_position_embeddings"
# Like RoBERTa, they number tokens from the id of padding plus one.
COUNT_FROM_PADDING = frozenset(
    {
        *("camembert", "data2vec-text", "ibert", "longformer", "luke", "mpnet", "roberta"),
        *("roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"),
    }
)


def known_type(name: str) -> str:
    """Return a model type as transformers spells it.

    Raises:
        ConfigError: it does not exist, or predicts no tokens.
    """
    every = sorted(set().union(*NAMES.values()))
    spelled = next((each for each in (name, name.replace("_", "-")) if each in every), None)
    if spelled is None:
        close = nearest(name.lower().replace("_", "-"), every) or nearest(name.lower(), every)
        exists = name in CONFIG_MAPPING
        law = "has no language model" if exists else "is no model type of transformers"
        hint = f"did you mean {close!r}?" if close and not exists else "use llama, for instance"
        raise ConfigError(f"{SECTION}.model_type: {short_repr(name)} {law}; {hint}")
    return spelled


def heads_of(model_type: str) -> list[str]:
    """Return the heads that a type offers, `causal`, `masked` and `seq2seq`.

    The masked head of an encoder-decoder rebuilds whole texts, which is another task.
    """
    whole = CONFIG_MAPPING[model_type]().is_encoder_decoder
    return [
        head for head in NAMES if model_type in NAMES[head] and not (whole and head == "masked")
    ]


def head_for(model_type: str, objective: str, *, asked: str | None, needed: str | None) -> str:
    """Return the head of a model.

    Args:
        objective: that of the experiment.
        asked: by the experiment; None: not given.
        needed: by the objective; None: `causal` or `masked`.

    Raises:
        ConfigError: the type does not offer it, or offers both and none is named.
    """
    offered = heads_of(model_type)
    if asked is not None and needed == "seq2seq":
        law = f"{objective!r} trains the seq2seq head of a type"
        raise ConfigError(f"{SECTION}.head (={asked}): {law}; leave it out")
    one = asked or needed
    wanted = LANGUAGE_HEADS if one is None else (one,)
    found = [head for head in wanted if head in offered]
    if len(found) > 1:
        raise ConfigError(f"{SECTION}.head: {model_type} offers {' and '.join(found)}; name one")
    if not found:
        field, value = (f"{SECTION}.head", asked) if asked else ("training.objective", objective)
        given = " and ".join(offered) or "no"
        raise ConfigError(
            f"{field} (={value}) needs a {' or '.join(wanted)} head, but {model_type} has {given} "
            f"head; use another type{f', or {OBJECTIVE[offered[0]]}' if offered else ''}"
        )
    return found[0]


def fields_of(hf_config_class: Any) -> set[str]:
    """Return the names of all fields of a configuration class, those with another name here too."""
    return {field.name for field in fields(hf_config_class)} | set(hf_config_class.attribute_map)


def config_class(model_type: str) -> Any:
    """Return the configuration class of a type.

    Raises:
        ConfigError: it holds those of several models, such as one for text and one for images.
    """
    found = CONFIG_MAPPING[model_type]
    if "text_config" in found.sub_configs or "vocab_size" not in fields_of(found):
        text = f"{model_type}_text"
        hint = f"use {text}" if text in CONFIG_MAPPING else "use a type for text alone"
        parts = ", ".join(found.sub_configs) or "no vocabulary"
        raise ConfigError(f"{SECTION}.model_type: {model_type} is made of {parts}; {hint}")
    return found


def known_fields(hf_config_class: Any) -> list[str]:
    """Return the fields that an experiment may give, those that only this class has."""
    common = {field.name for field in fields(PreTrainedConfig)}
    return sorted(
        name
        for name in fields_of(hf_config_class) - common
        if name not in SET_HERE and not name.endswith("_token_id") and not name.startswith("_")
    )


def dropout_fields(model_type: str) -> list[str]:
    """Return the fields of a type that are rates of dropout, of whole layers too."""
    found = fields(CONFIG_MAPPING[known_type(model_type)])
    return [each.name for each in found if "drop" in each.name and type(each.default) is float]


def require_known(hf_config_class: Any, given: dict[str, Any]) -> None:
    """Raise a `ConfigError` for a field that the class does not have, or that follows here."""
    known = known_fields(hf_config_class)
    for name in given:
        if name in SET_HERE or name.endswith("_token_id"):
            law = "follows from tokenizer, objective and head; leave it out"
            raise ConfigError(f"{SECTION}.{name}: {law}")
        if name not in known:
            close = nearest(name, known)
            hint = f"did you mean {close!r}?" if close else f"it has {', '.join(known)}"
            raise ConfigError(
                f"{SECTION}.{name}: is no field of {hf_config_class.__name__}; {hint}"
            )


def special_tokens(hf_config_class: Any, ids: dict[str, Any]) -> dict[str, Any]:
    """Return the ids by role, and None for those that the tokenizer lacks.

    The defaults of the library are ids in the vocabulary of a published tokenizer. Some types need
    a number where nothing reads it.
    """
    own = {each.name: each for each in fields(hf_config_class) if each.name.endswith("_token_id")}
    stand_in = {"cls_token_id": ids.get("bos_token_id"), "sep_token_id": ids.get("eos_token_id")}
    optional = {name: None for name, each in own.items() if "None" in str(each.type)}
    required = {name: stand_in.get(name) or 0 for name in own if name not in optional}
    return required | optional | ids


def positions_fields(hf_config_class: Any, length: int, pad: int | None) -> dict[str, int]:
    """Return the field for the number of positions of rows of a length; empty if it has none."""
    unused = unused_positions(hf_config_class.model_type, pad)
    return {POSITIONS: length + unused} if POSITIONS in fields_of(hf_config_class) else {}


def unused_positions(model_type: str, pad: int | None) -> int:
    """Return the number of position embeddings that no token uses.

    Raises:
        ConfigError: the type counts positions from the id of padding, which there is none of.
    """
    if model_type not in COUNT_FROM_PADDING:
        return 0
    if pad is None:
        law = f"{model_type} counts positions from the id of its padding token"
        raise ConfigError(f"tokenizer: has no padding token, but {law}; use one that has")
    return pad + 1


def made_config(hf_config_class: Any, values: dict[str, Any]) -> Any:
    """Return a configuration.

    Raises:
        ConfigError: a value is not valid.
    """
    try:
        return hf_config_class(**values)
    except Exception as error:  # of huggingface_hub, pydantic-like, and of the class itself
        raise ConfigError(
            f"{SECTION}: {hf_config_class.model_type}: {reason_within(error)}"
        ) from error

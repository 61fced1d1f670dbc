"""Refusal of weights that would compute something else in a model than where they come from."""

import re
from collections.abc import Mapping
from typing import Any, Final

from model_foundry.architectures.hub_configuration import with_floats
from model_foundry.architectures.hub_types import NAMES
from model_foundry.architectures.hub_values import reason_within
from model_foundry.architectures.initial_target import OWN, Target
from model_foundry.architectures.saving.named_weights import Mismatch
from model_foundry.architectures.saving.native_format import (
    ARCHITECTURE_KEY,
    NOT_RECORDED,
    Record,
    read_record,
)
from model_foundry.architectures.saving.published_weights import LAYOUTS
from model_foundry.config import ARCHITECTURES
from model_foundry.config.fields import flat
from model_foundry.foundation.messages import reason_of, short_repr

# Fields on which the function of equal weights depends, by any name that a configuration gives them
DECISIVE: Final[tuple[str, ...]] = (
    *("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers"),
    *("encoder_layers", "decoder_layers", "num_attention_heads", "n_head", "n_heads", "num_heads"),
    *("encoder_attention_heads", "decoder_attention_heads", "num_key_value_heads"),
    *("hidden_act", "activation_function", "activation", "feed_forward_proj", "positions"),
    *("layer_norm_epsilon", "layer_norm_eps", "rms_norm_eps", "norm_eps", "norm", "norm_place"),
    *("rnn_type", "bidirectional", "layout", "layer_types", "sliding_window"),
    *(
        "rope_theta",
        "rope_scaling",
        "rope_parameters",
        "rotary_dim",
        "relative_attention_max_distance",
    ),
)
# Settings of a module of plain torch that only its training reads
OF_TRAINING: Final = re.compile(r"[._](dropout|init|initializer)(_[^.]*)?$")


def body_fields(record: Record) -> Record:
    """Return the configuration of the body in a `config.json`."""
    fields = record.get("body_config", record)
    return fields if isinstance(fields, dict) else record


def require_architecture(target: Target, record: Record) -> None:
    """Raise a `Mismatch` for weights of another architecture, or of another type of one."""
    here = target.model.model_type
    there = record.get(ARCHITECTURE_KEY, record.get("model_type"))
    fields = body_fields(record)
    if here == there if target.fields is None else _same_network(target.fields, fields):
        return
    known = isinstance(there, str) and there in ARCHITECTURES
    if target.section == "huggingface" and (there == here or not known):
        ours, theirs = target.fields.model_type, fields.get("model_type")
        raise Mismatch(
            f"holds a model of the type {short_repr(theirs)}, and model.huggingface.model_type is "
            f"{ours!r}; set model.huggingface.model_type={reason_of(theirs)}, or name another model"
        )
    remedy = f"set model.architecture={there}" if known else "use another"
    if not known and any(there in names for names in NAMES.values()):
        fields_here = f"model.huggingface.model_type={there}"
        remedy = f"set model.architecture=huggingface and {fields_here}"
    raise Mismatch(
        f"holds a model of the architecture {short_repr(there)}, and model.architecture is "
        f"{here!r}; {remedy}, or name another model"
    )


def _same_network(here: Any, there: Record) -> bool:
    """Return whether two configurations are of one type, or of two that are converted."""
    ours, theirs = here.model_type, there.get("model_type")
    if ours == theirs:
        return True
    other, layout = ours, there.get("layout", "decoder")
    if ours == OWN:
        other, layout = str(theirs), here.layout
    published = LAYOUTS.get(other)
    return OWN in (ours, theirs) and bool(published and published.native["layout"] == layout)


def completed(kind: Any, fields: Record) -> Record:
    """Return the fields of a configuration with the defaults of its class.

    Raises:
        Mismatch: the class refuses them.
    """
    try:
        whole: Record = kind.from_dict(with_floats(fields)).to_dict()
    except Exception as error:  # transformers validates little
        raise Mismatch(
            f"has a configuration that cannot be read: {reason_within(error)}"
        ) from error
    return whole


def require_form(target: Target, there: Record) -> Record:
    """Raise a `Mismatch` where equal weights would compute something else.

    Args:
        there: the configuration of the weights, in the terms of that of the model.

    Returns:
        It with the defaults that it leaves out.
    """
    kind = type(target.fields)
    wholes = [completed(kind, fields) for fields in (target.fields.to_dict(), there)]
    ours, theirs = ({n: whole[n] for n in DECISIVE if n in whole} for whole in wholes)
    _require_equal_fields(target, dict(flat(ours)), dict(flat(theirs)))
    return wholes[1]


def require_settings(target: Target, record: Record) -> None:
    """Raise a `Mismatch` for other settings of a module of plain torch, of whatever effect."""
    ours, theirs = map(_settings, (target.model.build_record, record))
    _require_equal_fields(target, ours, theirs)


def _settings(record: Record | None) -> Record:
    """Return the settings of a model by dotted name, completed; without a record, none."""
    if record is None:
        raise TypeError("A model that begins with others' weights is made by `create_model`.")
    model = read_record(record, "config.json")[0].model
    fields = flat(model.model_dump(mode="json", exclude=NOT_RECORDED))
    return {name: value for name, value in fields if not OF_TRAINING.search(name)}


def _require_equal_fields(
    target: Target, ours: Mapping[str, Any], theirs: Mapping[str, Any]
) -> None:
    for name in {**ours, **theirs}:
        here, there = ours.get(name), theirs.get(name)
        if here != there:
            field = name.removeprefix(f"{target.section}.")
            raise Mismatch(
                f"has {field} (={short_repr(there)}), and this model {short_repr(here)}; "
                f"set the same in model.{target.section}, or name another model"
            )

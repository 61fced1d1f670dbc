"""The weights of a saved model as the first weights of another, `model.init_from`.

The body is kept: its tensors are matched by their names within it, so that the head may be another.
A head is kept where it is of the same kind and size. GPT-2's and BERT's layouts and those of our
own blocks are converted into each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from model_foundry.architectures.base import BaseLanguageModel
from model_foundry.architectures.base_model import BaseModel, CountedModel
from model_foundry.architectures.hf_model import HFModel
from model_foundry.architectures.modeling.configuration_transformer import TransformerConfig
from model_foundry.architectures.saving.named_weights import (
    Mismatch,
    aligned,
    strange_tensors,
    to_native_names,
    to_published_names,
)
from model_foundry.architectures.saving.native_format import (
    ARCHITECTURE_KEY,
    KIND_KEY,
    Record,
    read_config_json,
    read_weights,
)
from model_foundry.architectures.saving.published_weights import (
    LAYOUTS,
    SEGMENTS,
    Tensors,
    layout_of,
    native_config,
    published_config,
)
from model_foundry.config import ARCHITECTURES
from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import reason_of, short_repr

OWN: Final = TransformerConfig.model_type
# LayerNorm in the first directories of BERT
OLD_NAMES: Final = {".gamma": ".weight", ".beta": ".bias"}
# Fields on which the function of equal weights depends, by any name that a configuration gives them
DECISIVE: Final = (
    *("num_hidden_layers", "n_layer", "num_layers", "num_attention_heads", "n_head", "num_heads"),
    *("num_key_value_heads", "hidden_act", "activation_function", "activation", "positions"),
    *("layer_norm_epsilon", "layer_norm_eps", "rms_norm_eps", "norm_eps", "norm", "norm_place"),
    *("rnn_type", "bidirectional", "layout"),
)


@dataclass(frozen=True)
class Beginning:
    """The first weights of a model: of a directory, as far as it has them, and random ones."""

    kept: list[str]
    """Tensors of the model with the weights of the directory."""
    new: list[str]
    """Tensors of the model with random weights."""
    unused: list[str]
    """Tensors of the directory, as it names them or converted, that the model does not have."""
    merged: list[str]
    """Tensors of the directory that were added to others."""

    def __str__(self) -> str:
        counts = f"{len(self.kept)} tensors kept, {_told(self.new, 'new')}"
        merged = f", {', '.join(self.merged)} added to the positions" if self.merged else ""
        return f"{counts}, {_told(self.unused, 'left unused')}{merged}"


def _told(names: list[str], state: str) -> str:
    """Return a number of tensors with the names of the first ones."""
    some = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return f"{len(names)} {state}" + (f" ({some})" if names else "")


def _body_fields(record: Record) -> Record:
    """Return the configuration of the body in a `config.json`."""
    fields = record.get("body_config", record)
    return fields if isinstance(fields, dict) else record


def _name_of(record: Record) -> Any:
    """Return the architecture that a `config.json` names."""
    return record.get(ARCHITECTURE_KEY, record.get("model_type"))


class Target:
    """The model that gets the weights, apart by body and head."""

    def __init__(self, model: BaseModel) -> None:
        self.model = model
        self.network: nn.Module = model.hf_model if isinstance(model, HFModel) else model
        state = self.network.state_dict()
        named = chain(
            self.network.named_parameters(remove_duplicate=False), self.network.named_buffers()
        )
        self.tensors = {name: tensor for name, tensor in named if name in state}
        self.prefix = self._prefix()
        self.body = {
            name.removeprefix(self.prefix) for name in state if name.startswith(self.prefix)
        }

    def _prefix(self) -> str:
        """Return the beginning of the names of the body's tensors."""
        if not isinstance(self.model, HFModel):
            return ""
        body = self.model.hf_model.base_model
        name = next(name for name, module in self.network.named_modules() if module is body)
        return f"{name}." if name else ""

    @property
    def fields(self) -> Any:
        """The configuration of the body; None: it is no model of transformers."""
        return self.model.hf_model.base_model.config if isinstance(self.model, HFModel) else None

    @property
    def section(self) -> str | None:
        """The section of the settings of its architecture."""
        return ARCHITECTURES[self.model.model_type].section

    @property
    def is_native(self) -> bool:
        """True if the body is made of this package's own blocks."""
        return getattr(self.fields, "model_type", None) == OWN

    @property
    def vocabulary(self) -> int | None:
        """The identity of the embedding matrix; None: there is none."""
        if not isinstance(self.model, HFModel) or not hasattr(self.fields, "vocab_size"):
            return None
        return id(self.model.hf_model.get_input_embeddings().weight)

    def has_head_of(self, record: Record) -> bool:
        """Return whether the head of a directory is of the same kind, with the same labels."""
        fields: Any = self.model.hf_config if isinstance(self.model, HFModel) else None
        if getattr(fields, KIND_KEY, None) != record.get(KIND_KEY):
            return False
        named = None if isinstance(self.model, BaseLanguageModel) else record.get("id2label")
        return named is None or named == {str(n): label for n, label in fields.id2label.items()}


def _require_architecture(target: Target, record: Record) -> None:
    """Raise a `Mismatch` for weights of another architecture."""
    here, there = target.model.model_type, _name_of(record)
    types = {getattr(target.fields, "model_type", None), _body_fields(record).get("model_type")}
    same = here == there or len(types) == 1
    if not same and not (OWN in types and types & LAYOUTS.keys()):
        remedy = f"set model.architecture={there}" if there in ARCHITECTURES else "use another"
        raise Mismatch(
            f"holds a model of the architecture {short_repr(there)}, and model.architecture is "
            f"{here!r}; {remedy}, or name another model"
        )


def _require_form(target: Target, here: Any, there: Mapping[str, Any]) -> None:
    """Raise a `Mismatch` where equal weights would compute something else."""
    for field in DECISIVE:
        ours = getattr(here, field, None)
        if field in there and ours is not None and there[field] not in (None, ours):
            raise Mismatch(
                f"has {field} (={short_repr(there[field])}), and this model {short_repr(ours)}; "
                f"set the same in model.{target.section}, or name another model"
            )


def _converted(target: Target, tensors: Tensors, record: Record) -> Tensors:
    """Return the tensors of a directory in the layout of the model, whatever their head."""
    fields = _body_fields(record)
    here, there = target.fields, fields.get("model_type")
    if here is None or here.model_type == there or OWN not in (here.model_type, there):
        _require_form(target, here, fields)
        return tensors
    try:
        if there == OWN:
            saved = TransformerConfig.from_dict(fields)
            layout, form = layout_of(saved), published_config(saved)
        else:
            layout = LAYOUTS[str(there)]
            form = saved = native_config(layout.hf_config_class.from_dict(fields))
    except ValueError as error:
        raise Mismatch(f"cannot be converted: {reason_of(error)}") from error
    _require_form(target, here, form.to_dict())
    convert = to_published_names if there == OWN else to_native_names
    return convert(layout, saved.num_hidden_layers, tensors, here)


def _require_shape(target: Target, name: str, saved: Tensor, directory: Path) -> None:
    """Raise a `Mismatch` for a tensor of the body of another shape."""
    own = target.tensors[name]
    if own.shape == saved.shape:
        return
    if id(own) == target.vocabulary and own.shape[1:] == saved.shape[1:]:
        raise Mismatch(
            f"has a vocabulary of {len(saved):,} entries, and this experiment {len(own):,}; set "
            f"tokenizer.path={directory} to take its tokenizer, or name another model"
        )
    raise Mismatch(
        f"has {name} of the shape {tuple(saved.shape)}, and this model {tuple(own.shape)}; set the "
        f"sizes in model.{target.section} as there, or name another model"
    )


def _require_equal(target: Target, name: str, saved: Tensor, tied: Tensor, *, head: bool) -> None:
    """Raise a `Mismatch` for two matrices in a directory that are one in the model."""
    if (head or name.startswith(target.prefix)) and not torch.equal(saved, tied):
        raise Mismatch(
            f"has {name} as a matrix of its own, which this model ties to its embeddings; untie "
            f"them in model.{target.section}, or name another model"
        )


def _require_whole_body(target: Target, tensors: Tensors, merged: list[str]) -> None:
    """Raise a `Mismatch` for tensors of a body without which it would compute something else."""
    known = {*target.tensors, *merged}
    if more := strange_tensors(tensors, target.prefix, known):
        raise Mismatch(
            f"has {len(more)} tensors that this model lacks, such as {more[0]}; set "
            f"model.{target.section} as there, or name another model"
        )


def _copy(target: Target, tensors: Tensors, directory: Path, *, head: bool) -> list[str]:
    """Copy tensors into the model, tied ones once; return their names.

    Args:
        head: keep the tensors of the head that have its shapes.
    """
    kept, done = [], dict[int, Tensor]()
    for name, own in target.tensors.items():
        if name not in tensors:
            continue
        saved, in_body = tensors[name], name.startswith(target.prefix)
        if id(own) in done:
            _require_equal(target, name, saved, done[id(own)], head=head)
            continue
        if in_body:
            _require_shape(target, name, saved, directory)
        elif not head or own.shape != saved.shape:
            continue
        with torch.no_grad():
            own.copy_(saved)
        kept.append(name)
        done[id(own)] = saved
    return kept


def _begun(model: BaseModel, directory: Path) -> Beginning:
    if isinstance(model, CountedModel):
        raise Mismatch(
            f"does not suit {model.model_type!r}, which learns by counting; leave it out"
        )
    record, target = read_config_json(directory), Target(model)
    _require_architecture(target, record)
    found = {_new_name(name): tensor for name, tensor in read_weights(directory).items()}
    merged = [name for name in found if SEGMENTS.endswith(name) and target.is_native]
    tensors = aligned(_converted(target, found, record), target.body, target.prefix)
    _require_whole_body(target, tensors, merged)
    kept = _copy(target, tensors, directory, head=target.has_head_of(record))
    done = {id(target.tensors[name]) for name in kept}
    tied = {name for name, own in target.tensors.items() if id(own) in done}
    new = [name for name in target.tensors if name not in tied]
    if lost := [name for name in new if name.startswith(target.prefix)]:
        raise Mismatch(f"lacks {len(lost)} tensors of this model, such as {lost[0]}")
    unused = sorted(tensors.keys() - tied - set(merged))
    return Beginning(kept=kept, new=new, unused=unused, merged=merged)


def _new_name(name: str) -> str:
    return next((name.removesuffix(a) + b for a, b in OLD_NAMES.items() if name.endswith(a)), name)


def begin_from(model: BaseModel, directory: Path) -> Beginning:
    """Give a model the weights of a directory: those of the body, and of an equal head.

    On the meta device nothing is copied, but all is checked.

    Args:
        model: has random weights.
        directory: a model directory of this package or of transformers.

    Raises:
        ConfigError: it holds no weights, or those of another model.
    """
    try:
        return _begun(model, directory)
    except Mismatch as error:
        raise ConfigError(f"model.init_from (={directory}): {error}.") from error

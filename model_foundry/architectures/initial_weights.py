"""The weights of a saved model as the first weights of another, `model.init_from`.

The body is kept: its tensors are matched by their names within it, so that the head may be another.
A head is kept where it is of the same kind and size. GPT-2's and BERT's layouts and those of our
own blocks are converted into each other.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from model_foundry.architectures.base_model import BaseModel, CountedModel
from model_foundry.architectures.hf_language_model import HFLanguageModel
from model_foundry.architectures.initial_form import (
    body_fields,
    require_architecture,
    require_form,
    require_settings,
)
from model_foundry.architectures.initial_target import OWN, Target
from model_foundry.architectures.modeling.configuration_transformer import TransformerConfig
from model_foundry.architectures.plugin_check import is_ours
from model_foundry.architectures.saving.named_weights import (
    Mismatch,
    aligned,
    strange_tensors,
    to_native_names,
    to_published_names,
)
from model_foundry.architectures.saving.native_format import (
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
from model_foundry.config import ARCHITECTURES, ExperimentConfig
from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import reason_of
from model_foundry.foundation.random_state import seeded

# LayerNorm in the first directories of BERT
OLD_NAMES: Final = {".gamma": ".weight", ".beta": ".bias"}


@dataclass(frozen=True)
class Beginning:
    """The first weights of a model: of a directory, as far as it has them, and random ones."""

    kept: list[str]
    """Tensors of the model with the weights of the directory."""
    new: list[str]
    """Tensors of the model with random weights, or with rows of added tokens: `NAME[FIRST:]`."""
    unused: list[str]
    """Tensors of the directory, as it names them or converted, that the model does not have."""
    merged: list[str]
    """Tensors of the directory that were added to others."""
    copied: list[str]
    """Output matrices that begin as the embeddings, to which the directory ties them."""

    def __str__(self) -> str:
        counts = f"{len(self.kept)} tensors kept, {_told(self.new, 'new')}"
        merged = f", {', '.join(self.merged)} added to the positions" if self.merged else ""
        copied = f", {', '.join(self.copied)} a copy of the embeddings" if self.copied else ""
        return f"{counts}, {_told(self.unused, 'left unused')}{merged}{copied}"


def _told(names: list[str], state: str) -> str:
    """Return a number of tensors with the names of the first ones."""
    some = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return f"{len(names)} {state}" + (f" ({some})" if names else "")


def _converted(target: Target, tensors: Tensors, record: Record) -> tuple[Tensors, Record]:
    """Return the tensors of a directory in the layout of the model, and their configuration."""
    fields = body_fields(record)
    here, there = target.fields, fields.get("model_type")
    if here is None:
        require_settings(target, record)
        return tensors, {}
    if here.model_type == there:
        return tensors, require_form(target, fields)
    try:
        if there == OWN:
            saved = TransformerConfig.from_dict(fields)
            layout, form = layout_of(saved), published_config(saved)
        else:
            layout = LAYOUTS[str(there)]
            form = saved = native_config(layout.hf_config_class.from_dict(fields))
    except ValueError as error:
        raise Mismatch(f"cannot be converted: {reason_of(error)}") from error
    whole = require_form(target, form.to_dict())
    convert = to_published_names if there == OWN else to_native_names
    return convert(layout, saved.num_hidden_layers, tensors, here), whole


def _remedy_for_positions(target: Target, length: int, more: int) -> str:
    """Return the settings that give a model of a length as many more learned positions."""
    return (
        f"its positions are learned, so set data.max_sequence_length={length + more}, or for "
        f"shorter texts model.{target.section}.max_position_embeddings="
        f"{target.fields.max_position_embeddings + more}"
    )


def _require_shape(target: Target, name: str, saved: Tensor, directory: Path) -> None:
    """Raise a `Mismatch` for a tensor of the body of another shape."""
    own = target.tensors[name]
    is_embedding = id(own) == target.vocabulary
    if own.shape == saved.shape or (is_embedding and target.has_added_rows(own, saved)):
        return
    if is_embedding and own.shape[1:] == saved.shape[1:]:
        raise Mismatch(
            f"has a vocabulary of {len(saved):,} entries, and this experiment {len(own):,}; set "
            f"tokenizer.path={directory} to take its tokenizer, or name another model"
        )
    remedy = f"set the sizes in model.{target.section} as there"
    length = target.model.num_positions
    if length and target.are_positions(name) and own.shape[1:] == saved.shape[1:]:
        remedy = _remedy_for_positions(target, length, len(saved) - len(own))
    raise Mismatch(
        f"has {name} of the shape {tuple(saved.shape)}, and this model {tuple(own.shape)}; "
        f"{remedy}, or name another model"
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
        elif not head or not (own.shape == saved.shape or target.has_added_rows(own, saved)):
            continue
        with torch.no_grad():
            (own if own.shape == saved.shape else own[: len(saved)]).copy_(saved)
        kept.append(name)
        done[id(own)] = saved
    return kept


def _tied_output(target: Target, tensors: Tensors, form: Record) -> Tensors:
    """Return the output matrix that a directory ties to its embeddings, if the model unties it."""
    names = target.output(tensors)
    if names is None or not form.get("tie_word_embeddings", True):
        return {}
    return {names[0]: tensors[names[1]]}


def _added_rows(target: Target, names: list[str], tensors: Tensors) -> list[str]:
    """Return the random rows below the kept ones, `NAME[FIRST:]` each."""
    pairs = ((name, target.tensors[name], tensors[name]) for name in names)
    return [f"{name}[{len(saved)}:]" for name, own, saved in pairs if own.shape != saved.shape]


def _begun(model: BaseModel, directory: Path, added_tokens: int) -> Beginning:
    if isinstance(model, CountedModel):
        raise Mismatch(
            f"does not suit {model.model_type!r}, which learns by counting; leave it out"
        )
    record, target = read_config_json(directory), Target(model, added_tokens)
    require_architecture(target, record)
    found = {_new_name(name): tensor for name, tensor in read_weights(directory).items()}
    merged = [name for name in found if SEGMENTS.endswith(name) and target.is_native]
    tensors, form = _converted(target, found, record)
    tensors = aligned(tensors, target.body, target.prefix)
    _require_whole_body(target, tensors, merged)
    has_head = target.has_head_of(record)
    tied_output = _tied_output(target, tensors, form) if has_head else {}
    given = tensors | tied_output
    kept = _copy(target, given, directory, head=has_head)
    done = {id(target.tensors[name]) for name in kept}
    tied = {name for name, own in target.tensors.items() if id(own) in done}
    new = [name for name in target.tensors if name not in tied]
    if lost := [name for name in new if name.startswith(target.prefix)]:
        raise Mismatch(f"lacks {len(lost)} tensors of this model, such as {lost[0]}")
    unused = sorted(tensors.keys() - tied - set(merged))
    new += _added_rows(target, kept, given)
    kept = [name for name in kept if name not in tied_output]
    return Beginning(kept=kept, new=new, unused=unused, merged=merged, copied=[*tied_output])


def _new_name(name: str) -> str:
    return next((name.removesuffix(a) + b for a, b in OLD_NAMES.items() if name.endswith(a)), name)


def begin_from(model: BaseModel, directory: Path, *, added_tokens: int = 0) -> Beginning:
    """Give a model the weights of a directory: those of the body, and of an equal head.

    On the meta device nothing is copied, but all is checked.

    Args:
        model: has random weights.
        directory: a model directory of this package or of transformers.
        added_tokens: tokens of the model after all those of the directory; their rows are random.

    Raises:
        ConfigError: it holds no weights, or those of another model.
    """
    try:
        return _begun(model, directory, added_tokens)
    except Mismatch as error:
        raise ConfigError(f"model.init_from (={directory}): {error}.") from error


def require_same_body(config: ExperimentConfig, directory: Path) -> None:
    """Refuse weights that do not fit a model, before it is made.

    The vocabulary is that of the directory here, since that of the experiment needs its tokenizer.
    Architectures whose configuration is not one of transformers are left to `begin_from`.

    Raises:
        ConfigError: it holds no weights, or those of another model.
    """
    cls = ARCHITECTURES.load(config.model.architecture)
    if not (issubclass(cls, HFLanguageModel) and is_ours(cls)):
        return
    fields = body_fields(read_config_json(directory))
    size, pad = (fields.get(name) for name in ("vocab_size", "pad_token_id"))
    if type(size) is not int or size < 1:  # of another kind of model, which is told first
        size = 1
    ids = {"pad_token_id": pad or 0, "bos_token_id": None, "eos_token_id": None}
    with seeded(0), torch.device("meta"):
        model = cls.from_config(config, vocab_size=size, **ids)
    begin_from(model, directory)

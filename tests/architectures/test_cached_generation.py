"""Cached generation equals full recomputation, for every registered model that writes.

The cases come from the registry: every architecture of a kind that writes, with every value of
`positions` where its section has that field.
"""

from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from model_foundry.architectures import BaseModel, create_model_from_config
from model_foundry.architectures.modeling.positions import POSITIONS
from model_foundry.config import ARCHITECTURES
from tests.architectures.conftest import make_config

V, NEW, IDS = 61, 6, {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
Case = tuple[str, dict[str, Any]]


def variants(kind: str) -> list[Any]:
    """Return each architecture of a kind, with each kind of positions that its section has."""
    found = []
    for name, spec in ARCHITECTURES.items():
        only_fills = kind == "language" and spec.objectives == ("masked_lm",)
        if spec.kind != kind or only_fills or not spec.target.startswith("model_foundry."):
            continue
        field = spec.schema.model_fields.get("positions") if spec.schema else None
        for positions in get_args(field.annotation) if field else (None,):
            section = {"positions": positions} if positions else {}
            id = "-".join(filter(None, (name, positions)))
            found.append(pytest.param((name, section), id=id))
    return found


def make(case: Case) -> Any:
    """Return a model whose tokens depend on all before, as those of a fresh one hardly do."""
    name, section = case
    torch.manual_seed(0)
    model: BaseModel = create_model_from_config(make_config(name, **section), vocab_size=V, **IDS)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:  # states above 0, as in minimal recurrent units, need more
                parameter.normal_(std=2.0 if name.startswith("min_") else 0.7)
    return model.eval()


def rows(*shape: int) -> Tensor:
    return torch.randint(3, V, shape, generator=torch.Generator().manual_seed(1))


def padded(ids: Tensor, side: str) -> tuple[Tensor, Tensor]:
    """Return ids of which the second row has two tokens of padding on a side, and their mask."""
    mask = torch.ones_like(ids)
    outside = {"none": slice(0, 0), "left": slice(2), "right": slice(-2, None)}[side]
    mask[1, outside] = 0
    return ids.masked_fill(mask == 0, 0), mask


def write(model: Any, ids: Tensor, mask: Tensor, **options: Any) -> Any:
    """Return what transformers' `generate` writes, with the logits of each step.

    No token is written twice, so that each step reads something else.
    """
    given = {"max_new_tokens": NEW, "attention_mask": mask, "output_logits": True, **options}
    special = {"suppress_tokens": list(IDS.values()), "pad_token_id": 0}
    return model.hf_model.generate(
        ids, no_repeat_ngram_size=1, return_dict_in_generate=True, **special, **given
    )


@pytest.mark.parametrize("side", ["none", "left"])
@pytest.mark.parametrize("case", variants("language"))
def test_each_cached_step_of_a_language_model_has_the_logits_of_the_whole_text(
    case: Case, side: str
) -> None:
    model, (ids, mask) = make(case), padded(rows(3, 5), side)
    cached = write(model, ids, mask)
    found = torch.stack(cached.logits, 1)  # (B, NEW, V)
    longer = torch.cat([mask, mask.new_ones(3, NEW)], 1)
    whole = model(cached.sequences, attention_mask=longer).logits[:, 4:-1]
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("case", variants("language"))
def test_a_language_model_writes_the_same_without_a_cache(case: Case, beams: int) -> None:
    model, (ids, mask) = make(case), padded(rows(3, 5), "left")
    cached, whole = (
        write(model, ids, mask, num_beams=beams, use_cache=use_cache).sequences
        for use_cache in (True, False)
    )
    assert torch.equal(cached, whole)


@pytest.mark.parametrize("case", variants("language"))
def test_padding_on_the_left_changes_no_cached_text(case: Case) -> None:
    model, (ids, mask) = make(case), padded(rows(3, 5), "left")
    together = write(model, ids, mask).sequences[1, 5:]
    alone = write(model, ids[1:2, 2:], mask[1:2, 2:]).sequences[0, 3:]
    assert torch.equal(together, alone)


@pytest.mark.parametrize("side", ["none", "left", "right"])
@pytest.mark.parametrize("case", variants("encoder_decoder"))
def test_each_cached_step_of_an_encoder_decoder_has_the_logits_of_the_whole_target(
    case: Case, side: str
) -> None:
    model, (ids, mask) = make(case), padded(rows(3, 7), side)
    cached = write(model, ids, mask)
    found = torch.stack(cached.logits, 1)  # (B, NEW, V)
    inputs = {"input_ids": ids, "attention_mask": mask}
    whole = model(**inputs, labels=cached.sequences[:, 1:]).logits
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("case", variants("encoder_decoder"))
def test_an_encoder_decoder_writes_the_same_without_a_cache_and_alone(
    case: Case, beams: int, side: str
) -> None:
    model, (ids, mask) = make(case), padded(rows(3, 7), side)
    cached, whole = (
        write(model, ids, mask, num_beams=beams, use_cache=use_cache).sequences
        for use_cache in (True, False)
    )
    assert torch.equal(cached, whole)
    real = mask[1:2].bool()
    alone = write(model, ids[1:2][real][None], mask[1:2][real][None], num_beams=beams)
    assert torch.equal(alone.sequences[0], cached[1])


def test_the_registry_gives_every_kind_of_positions_and_state() -> None:
    found = {case.id for kind in ("language", "encoder_decoder") for case in variants(kind)}
    native = {f"transformer{end}-{kind}" for end in ("", "_decoder") for kind in POSITIONS}
    assert found >= {"gpt2", "huggingface", "lstm", "min_gru", "t5", *native}
    assert "bert" not in found

"""The encoder-decoder: shifted labels, padding, cached generation, saving, and learning."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from model_foundry.architectures.modeling.configuration_transformer import TransformerConfig
from model_foundry.architectures.modeling.modeling_encoder_decoder import (
    TransformerForSeq2SeqLM,
    shifted_right,
)
from model_foundry.architectures.modeling.positions import POSITIONS

V, PAD, START, END = 23, 0, 1, 2


def make(std: float | None = None, **fields: Any) -> TransformerForSeq2SeqLM:
    torch.manual_seed(0)
    config = TransformerConfig(
        layout="encoder_decoder",
        vocab_size=V,
        hidden_size=16,
        num_attention_heads=2,
        max_position_embeddings=32,
        dropout=0.0,
        pad_token_id=PAD,
        eos_token_id=END,
        decoder_start_token_id=START,
        **fields,
    )
    model = TransformerForSeq2SeqLM(config)
    for parameter in model.parameters():
        if std and parameter.dim() > 1:
            nn.init.normal_(parameter, std=std)
    return model.eval()


def sources() -> tuple[torch.Tensor, torch.Tensor]:
    ids, mask = torch.randint(3, V, (3, 7)), torch.ones(3, 7, dtype=torch.long)
    mask[1, 4:] = 0
    return ids, mask


def test_labels_are_shifted_right_behind_the_start() -> None:
    labels = torch.tensor([[5, 6, END], [7, END, -100]])
    assert shifted_right(labels, START, PAD).tolist() == [[START, 5, 6], [START, 7, END]]


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("positions", POSITIONS)
def test_cached_generation_equals_recomputation(positions: str, beams: int) -> None:
    model, (ids, mask) = make(std=0.7, positions=positions), sources()
    cached, whole = (
        model.generate(
            ids, attention_mask=mask, max_new_tokens=10, num_beams=beams, use_cache=use_cache
        )
        for use_cache in (True, False)
    )
    assert torch.equal(cached, whole)
    assert len(cached[:, 1:].unique()) > 1  # not one token throughout


def test_padding_of_the_source_changes_nothing_and_its_words_do() -> None:
    model, (ids, mask) = make(std=0.5), sources()
    labels = torch.randint(3, V, (3, 5))
    logits = model(ids, mask, labels=labels).logits
    alone = model(ids[1:2, :4], labels=labels[1:2]).logits
    torch.testing.assert_close(logits[1:2], alone, atol=1e-5, rtol=1e-5)
    other = model(ids.flip(0), mask.flip(0), labels=labels).logits
    assert (other[0] - logits[0]).abs().max() > 0.01


def test_a_saved_model_is_the_same(tmp_path: Path) -> None:
    model, (ids, mask) = make(encoder_layers=1, decoder_layers=2), sources()
    assert (len(model.encoder.stack.blocks), len(model.decoder.blocks)) == (1, 2)
    model.save_pretrained(tmp_path)
    loaded = TransformerForSeq2SeqLM.from_pretrained(tmp_path).eval()
    assert torch.equal(loaded(ids, mask, labels=ids).logits, model(ids, mask, labels=ids).logits)
    assert loaded.lm_head.weight is loaded.get_input_embeddings().weight


def test_it_learns_to_copy() -> None:
    model, (ids, mask) = make().train(), sources()
    labels = ids.masked_fill(mask == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = model(ids, mask, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3

"""GPT-2 and BERT of transformers against our own blocks with their weights."""

from typing import Any

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from model_foundry.architectures.modeling.configuration_transformer import TransformerConfig
from model_foundry.architectures.modeling.modeling_transformer import (
    TransformerForCausalLM,
    TransformerForMaskedLM,
)
from model_foundry.architectures.saving.published_weights import (
    from_published,
    to_published,
)

V, T = 31, 9


def randomised(model: Any) -> Any:
    """Return a model in evaluation mode whose weights and biases are all random."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def gpt2() -> GPT2LMHeadModel:
    ids = {"bos_token_id": 1, "eos_token_id": 2}
    config = GPT2Config(n_embd=12, n_layer=2, n_head=3, vocab_size=V, n_positions=T, **ids)
    return randomised(GPT2LMHeadModel(config))


def bert() -> BertForMaskedLM:
    sizes = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3}
    config = BertConfig(intermediate_size=20, vocab_size=V, max_position_embeddings=T, **sizes)
    return randomised(BertForMaskedLM(config))


CASES = {"gpt2": gpt2, "bert": bert}


@pytest.mark.parametrize("case", CASES)
def test_ours_computes_the_logits_and_gradients_of_the_published_model(case: str) -> None:
    published = CASES[case]()
    native = from_published(published).eval()
    ids, mask = torch.randint(3, V, (2, T)), torch.ones(2, T, dtype=torch.long)
    mask[1, 6:] = 0
    theirs, ours = (model(ids, attention_mask=mask).logits for model in (published, native))
    torch.testing.assert_close(ours[mask == 1], theirs[mask == 1], atol=1e-5, rtol=1e-5)
    for model in (published, native):
        labels = ids.masked_fill(mask == 0, -100)
        model(ids, attention_mask=mask, labels=labels).loss.backward()
    gradients = [model.get_input_embeddings().weight.grad for model in (native, published)]
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_a_model_is_written_back_as_the_published_kind(case: str) -> None:
    published = CASES[case]()
    again = to_published(from_published(published)).eval()
    assert type(again) is type(published)
    ids = torch.randint(3, V, (2, T))
    torch.testing.assert_close(again(ids).logits, published(ids).logits, atol=1e-5, rtol=1e-5)
    if case == "gpt2":  # nothing is merged, so that every weight returns to the bit
        theirs = published.state_dict()
        assert all(torch.equal(w, theirs[name]) for name, w in again.state_dict().items())


@pytest.mark.parametrize(
    "fields", [{"positions": "rotary"}, {"norm_place": "post"}, {"norm": "rms_norm"}]
)
def test_what_gpt2_lacks_cannot_be_written_as_gpt2(fields: dict[str, str]) -> None:
    native = TransformerForCausalLM(TransformerConfig(vocab_size=V, **fields))
    (name, value), *_ = fields.items()
    with pytest.raises(ValueError, match=rf"{name} \(='{value}'\) cannot be written as GPT-2"):
        to_published(native)


def test_a_pre_norm_encoder_cannot_be_written_as_bert() -> None:
    native = TransformerForMaskedLM(TransformerConfig(layout="encoder", vocab_size=V))
    with pytest.raises(ValueError, match=r"norm_place \(='pre'\) cannot be written as BERT"):
        to_published(native)

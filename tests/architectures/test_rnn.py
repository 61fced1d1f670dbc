"""The recurrent models against the recurrent layers of torch, and their own features."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from model_foundry.architectures import create_model_from_config
from model_foundry.architectures.modeling.configuration_recurrent import RecurrentConfig
from model_foundry.architectures.modeling.modeling_recurrent import (
    RecurrentForCausalLM,
    RecurrentForMaskedLM,
)
from model_foundry.config import ExperimentConfig

V, E, H, LAYERS = 31, 6, 8, 3
TORCH = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
KINDS = sorted(TORCH)
MakeConfig = Callable[..., ExperimentConfig]


def recurrent_config(rnn_type: str, **fields: object) -> RecurrentConfig:
    sizes = {
        "vocab_size": V,
        "embedding_size": E,
        "hidden_size_per_direction": H,
        "num_hidden_layers": LAYERS,
    }
    return RecurrentConfig(rnn_type=rnn_type, **(sizes | fields))


def wandering(rnn_type: str) -> RecurrentForCausalLM:
    """Return a model whose texts do not settle on one token."""
    model = RecurrentForCausalLM(recurrent_config(rnn_type)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.7)
    return model


def copied_into_torch(model: nn.Module, rnn_type: str, *, bidirectional: bool) -> nn.RNNBase:
    """Return one stacked layer of torch with the weights of a model's layers."""
    oracle = TORCH[rnn_type](E, H, LAYERS, batch_first=True, bidirectional=bidirectional)
    weights = {}
    for index, layer in enumerate(model.recurrent.layers):
        for name, value in layer.rnn.state_dict().items():
            weights[name.replace("_l0", f"_l{index}")] = value
    oracle.load_state_dict(weights)
    return oracle


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("rnn_type", KINDS)
def test_the_logits_are_those_of_torchs_layers(rnn_type: str, bidirectional: bool) -> None:
    cls = RecurrentForMaskedLM if bidirectional else RecurrentForCausalLM
    model = cls(recurrent_config(rnn_type, bidirectional=bidirectional)).eval()
    oracle = copied_into_torch(model, rnn_type, bidirectional=bidirectional)
    ids = torch.randint(0, V, (4, 7))
    states, _ = oracle(model.recurrent.embed(ids))
    torch.testing.assert_close(model(ids).logits, model.lm_head(states))


@pytest.mark.parametrize("rnn_type", KINDS)
def test_the_final_state_is_torchs_and_ignores_padding(rnn_type: str) -> None:
    model = wandering(rnn_type)
    oracle = copied_into_torch(model, rnn_type, bidirectional=False)
    ids = torch.randint(0, V, (2, 5))
    _, final = oracle(model.recurrent.embed(ids))
    h, c = final if rnn_type == "lstm" else (final, None)
    padded = torch.cat((ids.new_zeros(2, 2), ids, ids.new_zeros(2, 1)), dim=1)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 0]] * 2)
    for cache in (
        model(ids, use_cache=True).past_key_values,
        model(padded, attention_mask=mask, use_cache=True).past_key_values,
    ):
        for index, layer in enumerate(cache.layers):
            torch.testing.assert_close(layer.hidden, h[index])
            if c is not None:
                torch.testing.assert_close(layer.cell, c[index])


@pytest.mark.parametrize("rnn_type", KINDS)
def test_reading_in_pieces_equals_reading_at_once(rnn_type: str) -> None:
    model = wandering(rnn_type)
    ids = torch.randint(0, V, (2, 9))
    cache, pieces = None, []
    for piece in ids.split(4, dim=1):
        output = model(piece, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        pieces.append(output.logits)
    torch.testing.assert_close(torch.cat(pieces, dim=1), model(ids).logits)
    assert cache.get_seq_length() == 9


@pytest.mark.parametrize("rnn_type", KINDS)
def test_a_state_of_another_precision_serves_as_well(rnn_type: str) -> None:
    model = RecurrentForCausalLM(recurrent_config(rnn_type)).eval()
    ids = torch.randint(0, V, (2, 9))
    cache = model(ids[:, :4], use_cache=True).past_key_values
    for layer in cache.layers:  # as autocast makes them on some machines
        layer.hidden, layer.cell = layer.hidden.bfloat16(), layer.cell.bfloat16()
    rest = model(ids[:, 4:], past_key_values=cache).logits
    torch.testing.assert_close(rest, model(ids).logits[:, 4:], rtol=0, atol=0.05)


@pytest.mark.parametrize("rnn_type", KINDS)
def test_beams_with_states_equal_beams_that_read_everything_again(rnn_type: str) -> None:
    model = wandering(rnn_type)
    ids, mask = torch.randint(3, V, (2, 4)), torch.ones(2, 4, dtype=torch.long)
    ids[0, :2], mask[0, :2] = 0, 0
    arguments = {"attention_mask": mask, "num_beams": 3, "num_return_sequences": 2,
                 "max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}  # fmt: skip
    beams = model.generate(ids, use_cache=True, **arguments)
    assert torch.equal(beams, model.generate(ids, use_cache=False, **arguments))
    assert beams.shape[0] == 4


@pytest.mark.parametrize("rnn_type", KINDS)
def test_sampling_with_states_equals_sampling_without(rnn_type: str) -> None:
    model = wandering(rnn_type)
    ids = torch.randint(3, V, (2, 4))
    rows = []
    for use_cache in (True, False):
        torch.manual_seed(5)
        rows.append(model.generate(ids, max_new_tokens=8, do_sample=True, use_cache=use_cache,
                                   attention_mask=torch.ones_like(ids)))  # fmt: skip
    assert torch.equal(*rows)


def test_a_causal_model_that_sees_its_targets_is_refused() -> None:
    with pytest.raises(ValueError, match=r"bidirectional.*shows a causal model the token"):
        RecurrentForCausalLM(recurrent_config("lstm", bidirectional=True))


def test_a_bidirectional_model_keeps_no_state() -> None:
    model = RecurrentForMaskedLM(recurrent_config("lstm", bidirectional=True))
    with pytest.raises(ValueError, match="keeps no state"):
        model.recurrent(torch.zeros(1, 2, dtype=torch.long), use_cache=True)


def test_an_unknown_kind_of_cell_is_refused() -> None:
    with pytest.raises(
        ValueError, match="must be one of gru, lstm, min_gru, min_lstm, rnn, got 'qrnn'"
    ):
        recurrent_config("qrnn")


@pytest.mark.parametrize("bidirectional", [False, True])
def test_an_lstm_starts_with_open_forget_gates(bidirectional: bool) -> None:
    cls = RecurrentForMaskedLM if bidirectional else RecurrentForCausalLM
    model = cls(recurrent_config("lstm", bidirectional=bidirectional))
    for layer in model.recurrent.layers:
        biases = {n: p for n, p in layer.rnn.named_parameters() if n.startswith("bias")}
        assert len(biases) == (4 if bidirectional else 2)
        for name, bias in biases.items():
            i, f, g, o = bias.chunk(4)
            assert (f == (1 if "_ih_" in name else 0)).all()
            assert not torch.cat((i, g, o)).any()


@pytest.mark.parametrize("rnn_type", KINDS)
def test_initial_weights_have_their_scale(rnn_type: str) -> None:
    model = RecurrentForCausalLM(
        recurrent_config(rnn_type, hidden_size_per_direction=64, embedding_size=100)
    )
    for layer in model.recurrent.layers:
        for name, parameter in layer.rnn.named_parameters():
            if name.startswith("weight"):
                assert 0.9 / 8 < parameter.abs().max() <= 1 / 8
            elif rnn_type != "lstm":
                assert not parameter.any()
    assert model.recurrent.embed.weight.std().item() == pytest.approx(1, rel=0.1)
    assert model.lm_head.weight.std().item() == pytest.approx(1 / 8, rel=0.1)
    assert not model.lm_head.bias.any()


def test_tied_embeddings_are_small_as_output_and_large_as_input() -> None:
    config = recurrent_config("gru", embedding_size=100, tie_word_embeddings=True)
    model = RecurrentForCausalLM(config).eval()
    assert model.lm_head.weight.std().item() == pytest.approx(0.1, rel=0.1)
    states = model(torch.arange(V)[None], output_hidden_states=True).hidden_states
    assert states[0].std().item() == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_tied_matrices_of_other_width_get_a_projection(
    tiny_config: MakeConfig, bidirectional: bool
) -> None:
    section = {"bidirectional": bidirectional, "tie_word_embeddings": True}
    model = create_model_from_config(tiny_config("gru", **section), vocab_size=V).hf_model
    assert model.projection.weight.shape == (12, 32 if bidirectional else 16)
    assert model.lm_head.weight is model.recurrent.embed.weight
    same = tiny_config("gru", embedding_size=16, hidden_size=8 if bidirectional else 16, **section)
    model = create_model_from_config(same, vocab_size=V).hf_model
    assert isinstance(model.projection, nn.Identity)


def test_dropout_falls_on_embeddings_and_on_each_layer() -> None:
    model = RecurrentForCausalLM(recurrent_config("lstm", dropout=0.5)).train()
    states = model(torch.randint(0, V, (8, 9)), output_hidden_states=True).hidden_states
    for state in states:
        assert 0.4 < (state == 0).float().mean() < 0.6


def test_a_row_of_padding_alone_does_no_harm() -> None:
    model = wandering("lstm")
    ids = torch.randint(0, V, (2, 5))
    mask = torch.tensor([[1] * 5, [0] * 5])
    logits = model(ids, attention_mask=mask).logits
    assert logits.isfinite().all()
    torch.testing.assert_close(logits[:1], model(ids[:1]).logits)


def test_the_loss_of_the_exported_class_is_ours(tiny_config: MakeConfig) -> None:
    model = create_model_from_config(tiny_config("lstm"), vocab_size=V)
    ids = torch.randint(0, V, (2, 9))
    torch.testing.assert_close(model(ids, labels=ids).loss, model.hf_model(ids, labels=ids).loss)

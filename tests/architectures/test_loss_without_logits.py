"""Each way of computing faster learns what the plain one learns, over every architecture."""

import copy
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model_foundry.architectures import (
    MODEL_REGISTRY,
    BaseLanguageModel,
    ModelOutput,
    create_model_from_config,
)
from model_foundry.architectures.hf_language_model import HFLanguageModel
from model_foundry.architectures.kernels import chunked_cross_entropy, onednn_linear
from model_foundry.architectures.losses import labelled
from model_foundry.config import ARCHITECTURES, ExperimentConfig

V, B, T = 61, 4, 12
LANGUAGE = [
    name
    for name in sorted(MODEL_REGISTRY)
    if ARCHITECTURES[name].kind == "language" and name != "huggingface"  # keeps its own head
]
RECURRENT = [name for name in LANGUAGE if ARCHITECTURES[name].section == "rnn"]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in LANGUAGE},
    **{f"{name}-both-ways": (name, {"bidirectional": True}) for name in RECURRENT},
    "lstm-tied": ("lstm", {"tie_word_embeddings": True}),
    "lstm-both-ways-tied": ("lstm", {"bidirectional": True, "tie_word_embeddings": True}),
}
MakeConfig = Callable[..., ExperimentConfig]
Inputs = dict[str, Any]


@pytest.fixture(params=CASES)
def make(request: pytest.FixtureRequest, tiny_config: MakeConfig) -> Callable[..., Any]:
    """Return what makes one and the same model, with the settings of speed that are given."""
    name, section = CASES[request.param]

    def made(dropout: float = 0.0, **speed: Any) -> BaseLanguageModel:
        config = tiny_config(name, training={"speed": speed}, **(section | {"dropout": dropout}))
        torch.manual_seed(0)
        return create_model_from_config(config, vocab_size=V, pad_token_id=0)

    return made


@pytest.fixture(params=["kept logits", "chunks"])
def _few_logits_are_chunked_too(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if request.param == "chunks":
        monkeypatch.setattr(chunked_cross_entropy, "PLAIN_BYTES", 0)
        monkeypatch.setattr(chunked_cross_entropy, "CHUNK_BYTES", 10 * V * 4)


def random_ids(*shape: int, seed: int = 1) -> Tensor:
    return torch.randint(3, V, shape, generator=torch.Generator().manual_seed(seed))


def batches(model: BaseLanguageModel) -> Iterator[tuple[str, Inputs]]:
    """Yield batches whose labels are all, few or none, padded, of documents and of streams."""
    ids = random_ids(B, T)
    yield "all labels", {"input_ids": ids, "labels": ids}
    few = torch.full_like(ids, -100)
    few[0, 3], few[1, 2:9:3], few[3, 0], few[3, -1] = 5, 7, 4, 9
    yield "few labels", {"input_ids": ids, "labels": few}
    yield "no label", {"input_ids": ids, "labels": torch.full_like(ids, -100)}
    mask = torch.ones_like(ids)
    mask[0, 8:], mask[1, :3] = 0, 0
    padded = ids.masked_fill(mask == 0, -100)
    yield "padding", {"input_ids": ids, "attention_mask": mask, "labels": padded}
    if ARCHITECTURES[model.model_type].isolates_documents:
        documents = torch.tensor([[0] * 5 + [1] * 7] * B)
        first = padded.clone()
        first[:, (0, 5)] = -100
        yield "documents", {"input_ids": ids, "document_ids": documents, "labels": first}
    if model.carries_state:
        labels = torch.cat((ids, random_ids(B, 1, seed=2)), dim=1)
        yield "stream", {"input_ids": ids, "labels": labels, "use_cache": True}


def learn(model: nn.Module, inputs: Inputs, **kwargs: Any) -> tuple[ModelOutput, list[Tensor]]:
    """Return the output, and with its loss the gradients of all parameters."""
    torch.manual_seed(5)  # for dropout
    model.zero_grad(set_to_none=True)
    output = model(**inputs, **kwargs)
    output.loss.backward()
    gradients = [p.grad for p in model.parameters()]
    return output, [output.loss.detach(), *gradients]


@pytest.mark.usefixtures("_few_logits_are_chunked_too")
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_the_loss_without_logits_is_the_plain_loss(
    make: Callable[..., BaseLanguageModel], dropout: float
) -> None:
    model = make(dropout).train()
    assert model.computes_loss_alone
    for name, inputs in batches(model):
        plain, expected = learn(model, inputs)
        alone, found = learn(model, inputs, return_logits=False)
        assert alone.logits is None, name
        assert plain.logits.shape == (B, T, V)
        torch.testing.assert_close(
            found, expected, rtol=1e-5, atol=3e-7, msg=lambda m, n=name: n + m
        )


@pytest.mark.usefixtures("_few_logits_are_chunked_too")
def test_everything_but_the_logits_is_returned_all_the_same(
    make: Callable[..., BaseLanguageModel],
) -> None:
    model = make().eval()
    for _, inputs in batches(model):
        plain = model(**inputs, output_hidden_states=True)
        alone = model(**inputs, output_hidden_states=True, return_logits=False)
        for ours, theirs in zip(alone.hidden_states, plain.hidden_states, strict=True):
            assert torch.equal(ours, theirs)
        assert (alone.past_key_values is None) == (plain.past_key_values is None)
        if alone.past_key_values is not None:
            states = [model.state_tensors(o.past_key_values) for o in (alone, plain)]
            assert all(torch.equal(states[0][key], states[1][key]) for key in states[1])


def test_without_labels_the_logits_come_whatever_was_asked(
    make: Callable[..., BaseLanguageModel],
) -> None:
    assert make()(random_ids(B, T), return_logits=False).logits.shape == (B, T, V)


def test_no_state_is_kept_unless_it_is_asked_for(make: Callable[..., BaseLanguageModel]) -> None:
    model, ids = make(), random_ids(B, T)
    for return_logits in (True, False):
        output = model(ids, labels=ids, return_logits=return_logits)
        assert output.past_key_values is None
    if model.supports_generation:
        output = model(ids, labels=ids, return_logits=False, use_cache=True)
        assert output.past_key_values is not None


def test_the_head_sees_labelled_positions_only(make: Callable[..., BaseLanguageModel]) -> None:
    model = make()
    seen = []
    head = model.hf_model.get_output_embeddings()
    head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[0]))
    for name, inputs in batches(model):
        labels = inputs["labels"][:, 1:] if model.is_causal else inputs["labels"]
        model(**inputs, return_logits=False)
        assert seen.pop() == (labels != -100).sum(), name


PLAIN = {"fused_activations": False, "fp32_products": "default"}
LEVERS: dict[str, dict[str, Any]] = {
    "loss_without_logits": {},
    "fused_activations": {"fused_activations": True},
    "fp32_products": {"fp32_products": "onednn"},
}


def hundred_losses(config: ExperimentConfig, *, return_logits: bool) -> Tensor:
    torch.manual_seed(0)
    model = create_model_from_config(config, vocab_size=V, pad_token_id=0).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(100):
        ids = random_ids(2, T, seed=step % 4)
        labels = ids.masked_fill(random_ids(2, T, seed=100 + step % 4) % 3 == 0, -100)
        inputs = {"input_ids": ids, "labels": labels, "return_logits": return_logits}
        losses.append(learn(model, inputs)[1][0])
        optimizer.step()
    return torch.stack(losses)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert", "gpt2", "lstm"])
def test_a_hundred_steps_have_the_same_losses_with_each_lever(
    name: str, tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked_cross_entropy, "PLAIN_BYTES", 0)
    section = {} if name == "lstm" else {"layers": 1, "activation_function": "gelu_new"}
    plain = tiny_config(name, training={"speed": PLAIN}, dropout=0.1, **section)
    expected = hundred_losses(plain, return_logits=True)
    assert expected[-1] < 0.9 * expected[0]  # something was learned
    for lever, speed in LEVERS.items():
        if lever == "fused_activations" and name == "lstm":
            continue  # its gates are fused as they are
        config = plain.model_copy(deep=True)
        config.training.speed = config.training.speed.model_copy(update=speed)
        found = hundred_losses(config, return_logits=lever != "loss_without_logits")
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=0, msg=lambda m, n=lever: n + m)
        # on sizes like these the two libraries may agree to the bit
        assert lever == "fp32_products" or not torch.equal(found, expected), f"{lever} was not on"


def test_an_architecture_of_ones_own_has_to_say_so() -> None:
    class Silent(HFLanguageModel):
        model_type = "silent"
        supports_generation = True
        hf_class = hf_fields = classmethod(lambda cls, *_: None)

    model = Silent(nn.Linear(1, 1), None)
    assert not model.computes_loss_alone
    with pytest.raises(NotImplementedError, match="Silent has no output_features"):
        model.output_features(torch.zeros(1, 1))


def test_labelled_rows_by_hand() -> None:
    hidden = torch.arange(8.0).view(2, 4, 1)
    labels = torch.tensor([[9, 7, -100, 5], [-100, -100, 6, 4]])
    rows, targets = labelled(hidden, labels, causal=True)
    assert (rows[:, 0].tolist(), targets.tolist()) == ([0, 2, 5, 6], [7, 5, 6, 4])
    rows, targets = labelled(hidden, labels, causal=False)
    assert (rows[:, 0].tolist(), targets.tolist()) == ([0, 1, 3, 6, 7], [9, 7, 5, 6, 4])
    rows, targets = labelled(hidden[:, :3], labels, causal=True)  # of a stream
    assert (rows[:, 0].tolist(), targets.tolist()) == ([0, 2, 5, 6], [7, 5, 6, 4])
    rows, targets = labelled(hidden, labels.clamp(min=0), causal=True)
    assert (rows[:, 0].tolist(), targets.tolist()) == ([0, 1, 2, 4, 5, 6], [7, 0, 5, 0, 6, 4])


INDUCTOR = [
    pytest.mark.torture,  # it compiles with g++
    pytest.mark.skipif(shutil.which("g++") is None, reason="there is no compiler"),
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=INDUCTOR)])
def test_a_compiled_body_computes_the_same(
    backend: str, tiny_config: MakeConfig, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    config = tiny_config("gpt2", training={"speed": {"fp32_products": "onednn"}}, layers=1)
    plain = create_model_from_config(config, vocab_size=V)
    compiled = copy.deepcopy(plain)
    compiled.compile_for_training()
    ids = random_ids(B, T)
    inputs = {"input_ids": ids, "labels": ids, "return_logits": False}
    _, expected = learn(plain, inputs)
    _, found = learn(compiled, inputs)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    assert compiled.hf_model.base_model._compiled_call_impl is not None
    assert isinstance(compiled.hf_model.transformer.h[0].attn.c_attn, onednn_linear.OneDnnConv1D)

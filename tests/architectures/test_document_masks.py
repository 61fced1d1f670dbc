"""Documents that share a row do not see each other, whatever the architecture."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from model_foundry.architectures import (
    MODEL_REGISTRY,
    BaseLanguageModel,
    create_model_from_config,
)
from model_foundry.architectures.document_masks import (
    as_scores,
    positions_within,
    same_document,
    without_padding,
)
from model_foundry.architectures.hf_language_model import HFLanguageModel
from model_foundry.config import ARCHITECTURES, ExperimentConfig

V, T = 61, 12
ISOLATING = [name for name in sorted(MODEL_REGISTRY) if ARCHITECTURES[name].isolates_documents]
RECURRENT = [name for name in ISOLATING if ARCHITECTURES[name].section == "rnn"]
EAGER = {"training": {"attn_implementation": "eager"}}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in ISOLATING},
    **{f"{name}-both-ways": (name, {"bidirectional": True}) for name in RECURRENT},
    **{f"{name}-eager": (name, EAGER) for name in ISOLATING if name not in RECURRENT},
    **{f"{name}-native": (name, {"implementation": "native"}) for name in ("bert", "gpt2")},
}
LENGTHS = [[4, 1, 3], [2, 2, 4], [8], [1, 6, 1]]  # of the documents in each row
PADDING = {"none": (0, 0), "left": (3, 0), "right": (0, 3), "both": (1, 2)}
MakeConfig = Callable[..., ExperimentConfig]


def make(tiny_config: MakeConfig, case: str, **more: Any) -> BaseLanguageModel:
    """Return a model whose logits depend much on what it sees."""
    name, section = CASES[case]
    model = create_model_from_config(tiny_config(name, **section, **more), vocab_size=V)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3, generator=generator)
    return model.eval()


def pack(left: int = 0, right: int = 0) -> tuple[Tensor, Tensor]:
    """Return rows of random tokens and the ids of their documents, padded on the sides."""
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(0, V, (len(LENGTHS), left + sum(LENGTHS[0]) + right), generator=generator)
    documents = torch.full_like(ids, -1)
    for row, lengths in enumerate(LENGTHS):
        within = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
        documents[row, left : left + len(within)] = within
    return ids, documents


def each_document(ids: Tensor, documents: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the positions of each document, (B, T) bool, and its tokens as a row, (1, T)."""
    places = [
        (documents == number) & (torch.arange(len(ids)) == row)[:, None]
        for row in range(len(ids))
        for number in range(int(documents[row].max()) + 1)
    ]
    return [(place, ids[place][None]) for place in places]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_built_in_architecture_keeps_documents_apart() -> None:
    assert sorted(MODEL_REGISTRY) == ISOLATING


@pytest.mark.parametrize("mask_too", [False, True])
@pytest.mark.parametrize("padding", PADDING)
def test_a_document_among_others_has_the_logits_it_has_alone(
    tiny_config: MakeConfig, case: str, padding: str, mask_too: bool
) -> None:
    model = make(tiny_config, case)
    ids, documents = pack(*PADDING[padding])
    mask = (documents >= 0).long() if mask_too else None
    logits = model(ids, attention_mask=mask, document_ids=documents).logits
    assert logits.isfinite().all()
    for place, alone in each_document(ids, documents):
        torch.testing.assert_close(logits[place], model(alone).logits[0], rtol=0, atol=1e-5)


def test_a_changed_token_changes_nothing_outside_its_document(
    tiny_config: MakeConfig, case: str
) -> None:
    model = make(tiny_config, case)
    ids, documents = pack(1, 2)
    before = model(ids, document_ids=documents).logits
    for place, alone in each_document(ids, documents):
        changed = ids.clone()
        first = place.flatten().nonzero()[0]
        changed.flatten()[first] = (ids.flatten()[first] + 1) % V
        after = model(changed, document_ids=documents).logits
        differ = (after != before).any(-1)
        assert not (differ & ~place).any()
        # all of it: the first token is seen by all the others
        assert differ.sum() == alone.shape[1]


def test_changed_padding_changes_nothing(tiny_config: MakeConfig, case: str) -> None:
    model = make(tiny_config, case)
    ids, documents = pack(1, 2)
    real = documents >= 0
    other = torch.where(real, ids, (ids + 1) % V)
    logits = [model(rows, document_ids=documents).logits[real] for rows in (ids, other)]
    assert torch.equal(*logits)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_gradients_are_those_of_the_documents_alone(
    tiny_config: MakeConfig, case: str, checkpointing: bool
) -> None:
    packed, single = make(tiny_config, case), make(tiny_config, case)
    ids, documents = pack(1, 2)
    labels = torch.full_like(ids, -100)
    for place, _ in each_document(ids, documents):
        labels[place] = ids[place]
        if packed.is_causal:
            labels.flatten()[place.flatten().nonzero()[0]] = -100
    if checkpointing:
        packed.gradient_checkpointing_enable()
    packed.train()(ids, document_ids=documents, labels=labels).loss.backward()
    scored = int((labels != -100).sum())
    for _, alone in each_document(ids, documents):
        number = alone.shape[1] - packed.is_causal
        (single(alone, labels=alone).loss * number / scored).backward()
    for ours, theirs in zip(packed.parameters(), single.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("padding", PADDING)
def test_a_row_that_is_one_document_needs_no_ids(
    tiny_config: MakeConfig, case: str, padding: str
) -> None:
    model = make(tiny_config, case)
    ids, documents = pack(*PADDING[padding])
    mask = (documents >= 0).long()
    without = model(ids, attention_mask=mask).logits
    for one in (mask - 1, torch.zeros_like(mask)):  # padding known from both, and from the mask
        logits = model(ids, attention_mask=mask, document_ids=one).logits
        torch.testing.assert_close(logits[mask == 1], without[mask == 1], rtol=0, atol=1e-5)


def test_padding_within_a_document_does_not_end_it(tiny_config: MakeConfig, case: str) -> None:
    model = make(tiny_config, case)
    ids = pack()[0][:1]
    gap, documents = torch.tensor([0, 1, 1, 0, 0, 1, 1, 1]), torch.tensor([0, 0, 0, 0, 0, 0, 1, 1])
    logits = model(ids, attention_mask=gap[None], document_ids=documents[None]).logits
    alone = model(ids[:, [1, 2, 5]]).logits
    torch.testing.assert_close(logits[:, [1, 2, 5]], alone, rtol=0, atol=1e-5)


def test_rows_may_be_padding_alone(tiny_config: MakeConfig, case: str) -> None:
    model = make(tiny_config, case)
    ids, documents = pack()
    alone = model(ids[1:], document_ids=documents[1:]).logits
    documents[0] = -1
    logits = model(ids, document_ids=documents).logits
    assert logits.isfinite().all()
    torch.testing.assert_close(logits[1:], alone, rtol=0, atol=1e-5)
    assert model(ids, document_ids=torch.full_like(ids, -1)).logits.isfinite().all()


@pytest.mark.parametrize("case", ["gpt2", "gpt2-eager", "bert", "bert-eager", "lstm-both-ways"])
def test_rows_longer_than_a_tile_of_the_kernel_are_kept_apart(
    tiny_config: MakeConfig, case: str
) -> None:
    # a tile that a token sees nothing of must not turn into the mean of its values
    positions = {"max_position_embeddings": 1100} if case[:3] in ("gpt", "ber") else {}
    model = make(tiny_config, case, **positions)
    ids = torch.randint(0, V, (1, 1100), generator=torch.Generator().manual_seed(3))
    documents = (torch.arange(1100) >= 1050).long()[None]
    logits = model(ids, document_ids=documents).logits
    alone = model(ids[:, 1050:]).logits
    torch.testing.assert_close(logits[:, 1050:], alone, rtol=0, atol=1e-5)


def test_bf16_autocast_keeps_documents_apart(tiny_config: MakeConfig, case: str) -> None:
    model = make(tiny_config, case)
    ids, documents = pack(1, 2)
    changed = torch.where(documents == 1, (ids + 1) % V, ids)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = [model(rows, document_ids=documents).logits for rows in (ids, changed)]
    assert logits[0].isfinite().all()
    assert torch.equal(logits[0][documents != 1], logits[1][documents != 1])


@pytest.mark.parametrize("case", ["gpt2", "bert"])
def test_a_kernel_that_cannot_keep_documents_apart_is_refused(
    tiny_config: MakeConfig, case: str
) -> None:
    model = make(tiny_config, case)
    model.hf_model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match=r"'flash_attention_2' cannot keep.*eager or sdpa"):
        model(*pack()[:1], document_ids=pack()[1])


def test_an_architecture_that_cannot_isolate_documents_refuses(
    tiny_config: MakeConfig,
) -> None:
    model = make(tiny_config, "lstm")

    class Wrapped(HFLanguageModel):
        model_type = "wrapped"
        supports_generation = True
        hf_class = hf_fields = None

    with pytest.raises(ValueError, match="wrapped does not keep documents apart"):
        Wrapped(model.hf_model, model.hf_config)(pack()[0], document_ids=pack()[1])


@pytest.mark.parametrize("name", RECURRENT)
def test_documents_and_a_carried_state_exclude_each_other(
    tiny_config: MakeConfig, name: str
) -> None:
    ids, documents = pack()
    with pytest.raises(ValueError, match="each document has a fresh one"):
        make(tiny_config, name)(ids, document_ids=documents, use_cache=True)


def test_positions_count_the_tokens_of_the_document_before() -> None:
    documents = torch.tensor([[0, 0, 0, 1, 1, 2, -1, -1], [-1, -1, 0, 0, 3, 3, 3, 3]])
    expected = [[0, 1, 2, 0, 1, 0, 0, 1], [0, 1, 0, 1, 0, 1, 2, 3]]
    assert positions_within(same_document(documents)).tolist() == expected


def test_padding_comes_from_ids_or_from_a_mask_of_their_shape() -> None:
    documents, mask = torch.tensor([[0, 0, 1, -1]]), torch.tensor([[0, 1, 1, 1]])
    assert without_padding(documents, mask).tolist() == [[-1, 0, 1, -1]]
    assert without_padding(documents, None) is documents
    with pytest.raises(ValueError, match=r"document_ids has the shape \(1, 4\).*\(1, 3\)"):
        without_padding(documents, mask[:, 1:])


def test_what_is_not_seen_gets_the_least_score() -> None:
    scores = as_scores(torch.tensor([True, False]), torch.float16)
    assert scores.tolist() == [0.0, -65504.0]
    assert scores.dtype == torch.float16

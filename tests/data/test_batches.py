"""The content of batches, bit for bit: a repeated or resumed run reads the same batches."""

import hashlib
from collections.abc import Iterable
from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch

from model_foundry.data.batches.loaders import (
    Batch,
    Collate,
    evaluation_batches,
    evaluation_streams,
    training_batches,
)
from model_foundry.data.batches.order import BatchSplit
from model_foundry.data.batches.token_examples import Blocks, PackedDocuments, TokenExamples
from model_foundry.data.tokens.token_stream import TokenStream
from model_foundry.data_collators import CausalLMDataCollator, Collator, MaskedLMDataCollator
from model_foundry.data_collators.text import collate_text
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory
from tests.data.streams import stream_of

LETTERS = [chr(code) for code in range(97, 123)]
TOKENIZER = TokenizerFactory.train_character(documents=LETTERS)
LEFT = TokenizerFactory.train_character(documents=LETTERS)
LEFT.padding_side = "left"
CLS, SEP = 2, 3
COLLATORS: dict[str, Collator] = {
    "causal": CausalLMDataCollator(TOKENIZER),
    "left": CausalLMDataCollator(LEFT),
    "eights": CausalLMDataCollator(TOKENIZER, pad_to_multiple_of=8),
    "token": MaskedLMDataCollator(TOKENIZER, seed=7, mlm_probability=0.3),
    "word": MaskedLMDataCollator(TOKENIZER, seed=7, mlm_probability=0.3, masking="word"),
    "span": MaskedLMDataCollator(TOKENIZER, seed=7, mlm_probability=0.3, masking="span"),
}
# A change here changes every run that is resumed or repeated: it needs a note in CHANGELOG.
EXPECTED = {
    ("blocks", "causal"): "11dc6bae861e 14dfeaf83fa6 71c23d2a168e",
    ("blocks", "left"): "0a621c7e2ec4 fb2d74954240 15800dfb7daf",
    ("blocks", "eights"): "11dc6bae861e 14dfeaf83fa6 71c23d2a168e",
    ("blocks", "token"): "5fd866f590dd 858b3d9026c7 6779226d6d4d",
    ("blocks", "word"): "d20ca6c9153a acaec1c75e41 b8a04a39dd22",
    ("blocks", "span"): "f1956b403d5e 766ef68c4f30 f037bf436352",
    ("documents", "causal"): "1013259c5732 5aec5fc4914b e318fb44cd18",
    ("documents", "left"): "75a6eee71d73 4d9246693efc a43f6867fe92",
    ("documents", "eights"): "9ec87791079c 99b5218ba612 d8e95e2a0f01",
    ("documents", "token"): "ddc5fe160270 7d857bfa50e5 252972e4edf5",
    ("documents", "word"): "a9becc48c18a 435a8626bd1b 9a6a6805341c",
    ("documents", "span"): "319819c7c0f7 04622ed5f56f 7fbc0a8abaaf",
    ("documents, overlap", "causal"): "b69954e99780 244eb3a24383 952fa702035a",
    ("documents, overlap", "left"): "1a515b07e844 6e6f1b19ad6b c953c044f4e4",
    ("documents, overlap", "eights"): "ffe80a1720e3 2cfebc01e7da fce2f0babfe2",
    ("documents, overlap", "token"): "15adb8c2f07f c2fc8be21b2e a532d5b9ccde",
    ("documents, overlap", "word"): "c624c1ee51a3 b3b25fe85ba8 39165a7152d6",
    ("documents, overlap", "span"): "8033be0d63b2 5293f2bc7012 ed08540286b7",
    ("streams", "causal"): "f5d5a551e7da e3901fb391fe 1538e9b0e790",
}


def text(shards: int) -> TokenStream:
    """Return documents of 1 to 59 tokens that end with `SEP`."""
    draw = np.random.default_rng(0)
    tokens = draw.integers(5, len(TOKENIZER), 997).astype(np.uint16)
    ends = draw.integers(1, 60, 60).cumsum()
    ends = np.append(ends[ends < len(tokens)], len(tokens))
    num_bytes = draw.integers(1, 5, len(tokens)).astype(np.uint8)
    words = (draw.random(len(tokens)) < 0.3).astype(np.uint8)
    tokens[ends - 1], num_bytes[ends - 1], words[::97] = SEP, 0, 2
    return stream_of(tokens, num_bytes, words, ends=ends, shards=shards)


def rows_of(packing: str, kind: str, *, keep_rest: bool, shards: int) -> TokenExamples:
    masked, word_starts = kind in ("token", "word", "span"), kind in ("word", "span")
    frame = ([CLS], [SEP]) if masked else ((), ())
    if packing.startswith("documents"):
        return PackedDocuments(
            text(shards),
            length=20,
            frame=frame,
            document_frame=([], [SEP]),
            overlap=4 if packing == "documents, overlap" else 0,
            word_starts=word_starts,
        )
    return Blocks(
        text(shards),
        content=16,
        frame=frame,
        keep_rest=keep_rest,
        word_starts=word_starts,
        following=packing == "streams",
    )


def collating(kind: str) -> Collate:
    """Return a collate function for which every token counts, so that all bytes are digested."""
    return partial(collate_text, collator=COLLATORS[kind], scored=torch.ones_like)


def digest(batches: Iterable[Batch]) -> str:
    sha = hashlib.sha256()
    for batch in batches:
        tensors = dict(sorted(batch.inputs.items()))
        if "scored_bytes" in tensors:
            tensors["num_bytes"] = tensors.pop("scored_bytes")
        for name, tensor in tensors.items():
            assert tensor.is_contiguous()
            sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            sha.update(tensor.numpy().tobytes())
        counts = batch.counts["tokens"], batch.counts["words"]
        sha.update(repr((*counts, batch.keys, batch.begins)).encode())
    return sha.hexdigest()[:12]


def evaluated(packing: str, kind: str, shards: int) -> str:
    rows = rows_of(packing, kind, keep_rest=True, shards=shards)
    batches = (
        evaluation_streams(rows, collating(kind))
        if packing == "streams"
        else evaluation_batches(rows, collating(kind), batch_size=6)
    )
    return digest(batches)


def trained(packing: str, kind: str, shards: int, share: BatchSplit, *, start: int = 0) -> str:
    rows = rows_of(packing, kind, keep_rest=False, shards=shards)
    batches = training_batches(
        rows,
        collating(kind),
        share,
        seed=5,
        steps=range(start // share.rows_per_step, start // share.rows_per_step + 1),
        streams=packing == "streams",
    )
    return digest(islice(batches, 2 * len(rows) // 6))


CASES = [
    (packing, kind)
    for packing in ("blocks", "documents", "documents, overlap", "streams")
    for kind in COLLATORS
    if packing != "streams" or kind == "causal"
]


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize(("packing", "kind"), CASES)
def test_batches_are_those_of_every_release(packing: str, kind: str, shards: int) -> None:
    half = BatchSplit(micro_batch=6, rows_per_step=12, rank=1, world_size=2)
    found = [
        evaluated(packing, kind, shards),
        trained(packing, kind, shards, BatchSplit(micro_batch=6, rows_per_step=6)),
        trained(packing, kind, shards, half, start=24),
    ]
    assert " ".join(found) == EXPECTED[packing, kind]

"""The frame around a text: a tokenizer adapted to the objective of the model that it goes with.

One tokenizer serves many models, and they are shown different frames: a causal one reads documents
that begin with BOS, a masked one blocks between two tokens. A tokenizer that is saved with a model
puts exactly that around a text, so that other tools read what training showed. See plans/0014.
"""

import copy
import json
from collections.abc import Iterator
from typing import Any

from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from model_foundry.data.tokens.document_frame import DOCUMENT_FRAME, document_frame, text_prefix
from model_foundry.data.tokens.encoding import trims_offsets
from model_foundry.tokenizer.special_tokens import MODEL_INPUT_NAMES

Frame = tuple[list[int], list[int]]


def framed(tokenizer: PreTrainedTokenizerFast, blocks: Frame) -> PreTrainedTokenizerFast:
    """Return a copy of a tokenizer that puts around a text what a model's training shows there.

    Args:
        tokenizer: of any origin; text becomes the same tokens in the copy.
        blocks: ids around each block, as the objective frames them. Where there are none, documents
            follow each other, and a text stands as the beginning of one: behind BOS, or behind the
            end of another document.

    Raises:
        DataError: the tokenizer has nothing to end a document with.
    """
    begin, end = document_frame(tokenizer)
    adapted: PreTrainedTokenizerFast = copy.deepcopy(tokenizer)
    before, after = blocks if any(blocks) else (text_prefix(tokenizer), [])
    template = _template(tokenizer, before, after, between=end)
    trimmers = _offset_trimmers(tokenizer)
    adapted.backend_tokenizer.post_processor = (
        processors.Sequence([*trimmers, template]) if trimmers else template
    )
    adapted.model_input_names = list(MODEL_INPUT_NAMES)
    names = tokenizer.convert_ids_to_tokens
    # the documents of its corpus, which the frame of a block no longer tells
    adapted.init_kwargs[DOCUMENT_FRAME] = [names(begin), names(end)]
    # tools look for the frame by these names, and take them for words where they miss them
    first, last = ("cls_token", "sep_token") if after else ("bos_token", "eos_token")
    setattr(adapted, first, names(before[0]))
    setattr(adapted, last, names((after or end)[-1]))
    if adapted.pad_token is None:
        adapted.pad_token = names(end[-1])  # as the collators pad
    return adapted


def _template(
    tokenizer: PreTrainedTokenizerFast, before: list[int], after: list[int], *, between: list[int]
) -> processors.TemplateProcessing:
    """Return the template of one text, and of two texts as two documents, all in segment 0."""

    def parts(*pieces: list[int] | str) -> Iterator[str]:
        for piece in pieces:
            if isinstance(piece, str):
                yield piece
            else:
                yield from (f"{name}:0" for name in tokenizer.convert_ids_to_tokens(piece))

    used = sorted({*before, *after, *between})
    return processors.TemplateProcessing(
        single=list(parts(before, "$A:0", after)),
        pair=list(parts(before, "$A:0", after or between, before, "$B:0", after)),
        special_tokens=list(zip(tokenizer.convert_ids_to_tokens(used), used, strict=True)),
    )


def _offset_trimmers(tokenizer: PreTrainedTokenizerFast) -> list[Any]:
    """Return the steps behind a byte-level model that keep spaces out of the offsets of words."""
    return [
        processors.ByteLevel(trim_offsets=True, add_prefix_space=step["add_prefix_space"])
        for step in trims_offsets(json.loads(tokenizer.backend_tokenizer.to_str()))
    ]

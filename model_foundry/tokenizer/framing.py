"""The special tokens around a text, adapted to the objective of a model.

One tokenizer serves many models with different frames: causal models read documents that begin with
BOS, masked models read blocks between two tokens. The tokenizer saved with a model adds exactly
these, so that other tools give a model the same input as in training. See plans/0014.
"""

import copy
import json
from typing import Any

from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from model_foundry.data.tokens.document_frame import DOCUMENT_FRAME, document_frame, text_prefix
from model_foundry.data.tokens.plain_texts import trims_offsets
from model_foundry.errors import DataError
from model_foundry.tokenizer.special_tokens import MODEL_INPUT_NAMES

Frame = tuple[list[int], list[int]]


def block_frame(tokenizer: PreTrainedTokenizerFast) -> Frame:
    """Return the ids before and after a text that is read as a whole: CLS and SEP, or BOS and EOS.

    Raises:
        DataError: the tokenizer has neither pair.
    """
    for first, last in (("cls", "sep"), ("bos", "eos")):
        frame = [getattr(tokenizer, f"{role}_token_id") for role in (first, last)]
        if None not in frame:
            return frame[:1], frame[1:]
    raise DataError(
        "the tokenizer has no cls and sep (or bos and eos) tokens, which frame the blocks of a "
        "masked objective and the texts of a classification or translation; use another tokenizer"
    )


def framed(tokenizer: PreTrainedTokenizerFast, blocks: Frame) -> PreTrainedTokenizerFast:
    """Return a copy of a tokenizer that frames a text as in the training of a model.

    Args:
        tokenizer: of any origin; the copy has the same ids for a text.
        blocks: ids before and after each block under the objective. If there are none, a text is
            the beginning of a document: after BOS, or after the end of another document.

    Raises:
        DataError: the tokenizer has no token that ends a document.
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
    # the frame of documents, which cannot be derived from the frame of a block
    adapted.init_kwargs[DOCUMENT_FRAME] = [names(begin), names(end)]
    # other tools find the frame by these roles; without them, they count its tokens as words
    first, last = ("cls_token", "sep_token") if after else ("bos_token", "eos_token")
    setattr(adapted, first, names(before[0]))
    setattr(adapted, last, names((after or end)[-1]))
    if adapted.pad_token is None:
        adapted.pad_token = names(end[-1])  # as in the collators
    return adapted


def _template(
    tokenizer: PreTrainedTokenizerFast, before: list[int], after: list[int], *, between: list[int]
) -> processors.TemplateProcessing:
    """Return the template of one text and of two texts as two documents, all in segment 0."""

    used = sorted({*before, *after, *between})
    names = dict(zip(used, tokenizer.convert_ids_to_tokens(used), strict=True))
    head, tail, joint = (
        [f"{names[i]}:0" for i in ids] for ids in (before, after, after or between)
    )
    return processors.TemplateProcessing(
        single=[*head, "$A:0", *tail],
        pair=[*head, "$A:0", *joint, *head, "$B:0", *tail],
        special_tokens=[(name, index) for index, name in names.items()],
    )


def _offset_trimmers(tokenizer: PreTrainedTokenizerFast) -> list[Any]:
    """Return the processors of a byte-level model that exclude spaces from the offsets of words."""
    return [
        processors.ByteLevel(trim_offsets=True, add_prefix_space=step["add_prefix_space"])
        for step in trims_offsets(json.loads(tokenizer.backend_tokenizer.to_str()))
    ]

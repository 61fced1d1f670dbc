"""The ids around each document of a token stream, and before a prompt."""

from transformers import PreTrainedTokenizerBase

from model_foundry.errors import DataError
from model_foundry.foundation.token_roles import first_token_id

DOCUMENT_FRAME = "document_frame"
"""The setting of a tokenizer adapted to an objective that holds its document frame."""


def document_frame(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the ids before and after each document of a stream.

    A document ends with EOS, or with SEP if there is no EOS. It begins with BOS, or CLS, if the
    tokenizer's own template puts that before a text. A token that is both is between two documents
    once.

    Raises:
        DataError: the tokenizer has no token to end a document with.
    """
    if DOCUMENT_FRAME in tokenizer.init_kwargs:
        return _saved_frame(tokenizer)
    end = first_token_id(tokenizer, "eos", "sep")
    if end is None:
        raise DataError(
            "the tokenizer has neither an eos nor a sep token to end a document with; "
            "give it one, or train another"
        )
    begin = first_token_id(tokenizer, "bos", "cls")
    if begin is None or begin == end or tokenizer("")["input_ids"][:1] != [begin]:
        return [], [end]
    return [begin], [end]


def _saved_frame(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    vocabulary = tokenizer.get_vocab()
    try:
        before, after = (
            [vocabulary[token] for token in tokens]
            for tokens in tokenizer.init_kwargs[DOCUMENT_FRAME]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"the tokenizer's {DOCUMENT_FRAME} is not a pair of lists of its tokens; save it again"
        ) from error
    return before, after


def text_prefix(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids before the start of a document: BOS, or the end of another document."""
    before, after = document_frame(tokenizer)
    return before or after

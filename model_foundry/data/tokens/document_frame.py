"""The ids around each document of a token stream, and before a text that begins one."""

from transformers import PreTrainedTokenizerBase

from model_foundry.errors import DataError
from model_foundry.foundation.token_roles import first_token_id

DOCUMENT_FRAME = "document_frame"
"""Setting in which a tokenizer adapted to an objective keeps the frame of its documents."""


def document_frame(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the ids before and after each document of a stream.

    A document ends with EOS, or SEP where there is no such role. It begins with BOS, or CLS, where
    the tokenizer's own template puts that before a text. A token that is both stands between two
    documents once.

    Raises:
        DataError: the tokenizer has nothing to end a document with.
    """
    if DOCUMENT_FRAME in tokenizer.init_kwargs:
        return _remembered_frame(tokenizer)
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


def _remembered_frame(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the frame of documents from the settings of a tokenizer adapted to an objective."""
    vocabulary = tokenizer.get_vocab()
    try:
        before, after = (
            [vocabulary[token] for token in tokens]
            for tokens in tokenizer.init_kwargs[DOCUMENT_FRAME]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"the tokenizer's {DOCUMENT_FRAME} is no pair of lists of its tokens; save it again"
        ) from error
    return before, after


def text_prefix(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids before a text that begins a document: BOS, or the end of another document.

    Raises:
        DataError: the tokenizer has nothing to end a document with.
    """
    before, after = document_frame(tokenizer)
    return before or after

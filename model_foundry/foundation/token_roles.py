"""The roles of special tokens: a tokenizer has some of bos, eos, cls, sep, pad, unk and mask."""

from transformers import PreTrainedTokenizerBase


def first_token_id(tokenizer: PreTrainedTokenizerBase, *roles: str) -> int | None:
    """Return the id of the first of these roles that a tokenizer has; None: it has none."""
    ids = (getattr(tokenizer, f"{role}_token_id") for role in roles)
    return next((index for index in ids if index is not None), None)

"""Text generation: a causal model continues a text, a masked one fills it, an encoder-decoder
writes another."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from model_foundry.architectures import BaseLanguageModel, device_of
from model_foundry.architectures.encoder_decoder import HFEncoderDecoder
from model_foundry.config.tracking import temperature_fault
from model_foundry.data.tokens.document_frame import document_frame, text_prefix
from model_foundry.errors import ConfigError, DataError
from model_foundry.foundation.random_state import seeded

MASK: Final = "[MASK]"
"""The place to fill in a text for a masked model, whatever its tokenizer calls it."""
Side = Literal["left", "right"]
TOKENS_AT_ONCE: Final = 2**14
"""Maximum tokens in one batch, prompts and continuations together. A model with 12 layers of size
768 has 73 KB of keys and values per token; larger batches are hardly faster."""


def generate_texts(
    model: BaseLanguageModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 50,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
) -> list[str]:
    """Continue each prompt to the end of its document, `max_new_tokens` or the last position.

    Args:
        prompts: beginnings of documents; may be "". Special tokens in them are plain text.
        temperature: divides the logits before sampling; 0 always takes the most likely token.
        top_k: sample among the k most likely tokens only; None: among all.
        top_p: sample among the most likely tokens that hold this probability; None: among all.
        seed: seed of the sampling.

    Returns:
        Each prompt with its continuation, without special tokens.

    Raises:
        ConfigError: the model is masked, a prompt fills all positions or is not UTF-8, or the
            temperature is out of range.
        DataError: the tokenizer has no end-of-document token.
    """
    model.require_generation()
    _check_prompts(prompts)
    before, (_, (end,)) = text_prefix(tokenizer), document_frame(tokenizer)
    plain = {"add_special_tokens": False, "split_special_tokens": True}  # as for a corpus
    rows = [before + tokenizer(text, **plain)["input_ids"] for text in prompts]
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
    sampling = _sampling(temperature, top_k, top_p)
    device = device_of(model)
    texts: list[str] = []
    with seeded(seed):
        for group in _groups(rows, _room(model, _longest(rows), max_new_tokens)):
            ids, mask = _padded(group, pad, "left")  # away from the new tokens
            out = model.generate(
                ids.to(device),
                attention_mask=mask.to(device),
                max_new_tokens=_room(model, ids.shape[1], max_new_tokens),
                pad_token_id=pad,
                eos_token_id=end,
                **sampling,
            )
            texts += tokenizer.batch_decode(out, skip_special_tokens=True)
    return texts


def write_texts(
    model: HFEncoderDecoder,
    tokenizers: tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase],
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 50,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
) -> list[str]:
    """Return the text that an encoder-decoder writes for each text that it reads.

    Args:
        tokenizers: of what is read and of what is written; one may serve both.
        prompts: the texts that are read. Special tokens in them are plain text.
        temperature: as for `generate_texts`; None: 0, but 1 with `top_k` or `top_p`.
        max_new_tokens, top_k, top_p, seed: as for `generate_texts`.

    Raises:
        ConfigError: a text is longer than the positions or is not UTF-8, or the temperature is out
            of range.
    """
    _check_prompts(prompts)
    source, target = tokenizers
    rows = [source(text, split_special_tokens=True)["input_ids"] for text in prompts]
    longest, positions = _longest(rows), model.num_positions
    if positions is not None and longest > positions:
        law = f"has {longest} tokens, but the model reads at most {positions}"
        raise ConfigError(f"prompt: {law}; shorten it")
    if temperature is None:
        temperature = 0.0 if top_k is None and top_p is None else 1.0
    sampling, room = _sampling(temperature, top_k, top_p), min(max_new_tokens, positions or 2**31)
    device, texts = device_of(model), list[str]()
    with seeded(seed):
        for group in _groups(rows, room):
            ids, mask = _padded(group, source.pad_token_id or 0, "right")
            out = model.generate(
                ids.to(device), attention_mask=mask.to(device), max_new_tokens=room, **sampling
            )
            texts += target.batch_decode(out, skip_special_tokens=True)
    return texts


@torch.no_grad()
def fill_masks(
    model: BaseLanguageModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> list[str]:
    """Return each text with the likeliest token in the place of each `[MASK]`.

    Args:
        texts: with `[MASK]`, or the mask token of the tokenizer.

    Raises:
        ConfigError: a text is longer than the positions or is not UTF-8.
        DataError: the tokenizer has no mask token.
    """
    _check_prompts(texts)
    if tokenizer.mask_token is None:
        raise DataError("the tokenizer has no mask token, so there is nothing to fill")
    device, filled = device_of(model), list[str]()
    for text in texts:
        row = tokenizer(text.replace(MASK, tokenizer.mask_token))["input_ids"]
        if model.num_positions is not None and len(row) > model.num_positions:
            law = f"has {len(row)} tokens, but the model reads at most {model.num_positions}"
            raise ConfigError(f"prompt: {law}; shorten it")
        ids = torch.tensor([row], device=device)
        likeliest = model(input_ids=ids).logits.argmax(-1)
        ids = torch.where(ids == tokenizer.mask_token_id, likeliest, ids)
        filled.append(tokenizer.decode(ids[0], skip_special_tokens=True))
    return filled


def _check_prompts(prompts: Sequence[str]) -> None:
    for text in prompts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ConfigError(
                f"prompt: is not UTF-8 at character {error.start}; give UTF-8, and in another "
                "locale, set PYTHONUTF8=1"
            ) from error


def _groups(rows: list[list[int]], room: int) -> Iterator[list[list[int]]]:
    """Yield the rows in groups of at most `TOKENS_AT_ONCE` tokens, but at least one row.

    Args:
        room: number of tokens that follow each row.
    """
    size = max(1, TOKENS_AT_ONCE // (_longest(rows) + room))
    for begin in range(0, len(rows), size):
        yield rows[begin : begin + size]


def _longest(rows: list[list[int]]) -> int:
    return max(map(len, rows), default=0)


def _padded(rows: list[list[int]], pad: int, side: Side) -> tuple[Tensor, Tensor]:
    """Return ids and mask, (B, T) each, padded on a side."""
    padded = partial(pad_sequence, batch_first=True, padding_side=side)
    ids = padded([torch.tensor(row, dtype=torch.long) for row in rows], padding_value=pad)
    return ids, padded([torch.ones(len(row), dtype=torch.long) for row in rows])


def _room(model: BaseLanguageModel, length: int, wanted: int) -> int:
    """Return the number of tokens to generate after `length` tokens."""
    positions = model.num_positions
    if positions is None:
        return wanted
    if length >= positions:
        raise ConfigError(
            f"prompt: has {length} tokens, but the model reads at most {positions - 1} before a "
            "new one; shorten it"
        )
    return min(wanted, positions - length)


def _sampling(temperature: float, top_k: int | None, top_p: float | None) -> dict[str, Any]:
    """Return the arguments of `generate`; transformers writes 'no limit' as 0 and 1."""
    if temperature == 0:
        return {"do_sample": False}
    if fault := temperature_fault(temperature):
        raise ConfigError(f"temperature: {fault}")
    return {
        "do_sample": True,
        "temperature": temperature,
        "top_k": top_k or 0,
        "top_p": 1.0 if top_p is None else top_p,
    }

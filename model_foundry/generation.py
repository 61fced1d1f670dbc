"""Text from a model that continues text."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from model_foundry.architectures import BaseLanguageModel
from model_foundry.errors import ConfigError
from model_foundry.reproducibility import seeded


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
    """Continue each prompt until the document ends or `max_new_tokens` are reached.

    Args:
        prompts: beginnings of documents; "" begins a new one.
        temperature: divides the logits before sampling; 0 takes the likeliest token each time.
        top_k: samples among the k likeliest tokens only; None: among all.
        top_p: samples among the likeliest tokens that hold this share; None: among all.
        seed: of the sampling.

    Returns:
        Each prompt with its continuation, special tokens left out.

    Raises:
        ConfigError: the model fills masks, or a prompt leaves no room for a token.
    """
    model.require_generation()
    rows = [tokenizer(text)["input_ids"] or [_first_id(tokenizer)] for text in prompts]
    longest = max(map(len, rows))
    room = max_new_tokens
    if model.num_positions is not None:
        room = min(max_new_tokens, model.num_positions - longest)
    if room < 1:
        raise ConfigError(
            f"prompt: {longest} tokens fill the {model.num_positions} positions of the model; "
            "shorten it"
        )
    width = range(longest)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    ids = [[pad] * (longest - len(row)) + list(row) for row in rows]
    mask = [[int(i >= longest - len(row)) for i in width] for row in rows]
    sampling = (
        {"do_sample": False}
        if temperature == 0
        else {
            "do_sample": True,
            "temperature": temperature,
            "top_k": top_k or 0,
            "top_p": top_p or 1.0,
        }
    )
    device = next(model.parameters()).device
    with seeded(seed):
        out = model.generate(
            torch.tensor(ids, device=device),
            attention_mask=torch.tensor(mask, device=device),
            max_new_tokens=room,
            pad_token_id=pad,
            eos_token_id=tokenizer.eos_token_id,
            **sampling,
        )
    texts: list[str] = tokenizer.batch_decode(out, skip_special_tokens=True)
    return texts


def _first_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id before the first token of a document: BOS, or the end of the one before."""
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if first is None:
        raise ConfigError("prompt: is empty, and the tokenizer has no token that begins a text")
    return int(first)

"""Byte-level BPE: pairs of bytes merged by frequency; lossless on any text.

Sennrich, Haddow and Birch 2016 (arXiv:1508.07909); over bytes as in GPT-2 (Radford et al. 2019).
"""

from collections.abc import Iterable, Mapping

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from model_foundry.tokenizer.special_tokens import GPT_STYLE, resolve_special_tokens, wrap
from model_foundry.tokenizer.training_text import TrainedTokenizer, require_vocab_size


def train(
    documents: Iterable[str],
    *,
    vocab_size: int,
    special_tokens: Mapping[str, str | None] | None = None,
) -> TrainedTokenizer:
    """Learn the merges of a byte-level BPE from the documents.

    Raises:
        ConfigError: `vocab_size` has no room for the 256 bytes and the special tokens.
    """
    specials = resolve_special_tokens(GPT_STYLE, special_tokens)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    require_vocab_size(
        vocab_size,
        len(alphabet) + len(specials),
        f"the {len(alphabet)} bytes and {len(specials)} special tokens",
    )
    # no unk_token: every byte is in the vocabulary, so the <unk> of the wrapper is never produced
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(specials.values()),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    backend.train_from_iterator(documents, trainer)
    return TrainedTokenizer(wrap(backend, GPT_STYLE, specials))

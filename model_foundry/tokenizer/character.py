"""Characters: each Unicode code point is one token; lossless on characters of the training text."""

from collections import Counter
from collections.abc import Iterable, Mapping

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from model_foundry.tokenizer.special_tokens import GPT_STYLE, resolve_special_tokens, wrap
from model_foundry.tokenizer.training_text import TrainedTokenizer, require_vocab_size


def most_frequent(counts: Mapping[str, int], limit: int | None) -> list[str]:
    """Return the keys, the most frequent first, equally frequent ones by code points."""
    return sorted(counts, key=lambda key: (-counts[key], key))[:limit]


def train(
    documents: Iterable[str],
    *,
    vocab_size: int | None = None,
    special_tokens: Mapping[str, str | None] | None = None,
) -> TrainedTokenizer:
    """Build a vocabulary of the characters in the documents.

    Args:
        documents: the training text.
        vocab_size: number of tokens, special tokens counted; the most frequent characters are kept.
            None keeps all.
        special_tokens: role -> string, instead of the defaults.

    Raises:
        ConfigError: `vocab_size` has no room for the special tokens and one character.
    """
    specials = resolve_special_tokens(GPT_STYLE, special_tokens)
    if vocab_size is not None:
        reason = f"{len(specials)} special tokens and one character"
        require_vocab_size(vocab_size, len(specials) + 1, reason)
    counts: Counter[str] = Counter()
    for document in documents:
        counts.update(document)
    limit = None if vocab_size is None else vocab_size - len(specials)
    pieces = [*specials.values(), *most_frequent(counts, limit)]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    backend = Tokenizer(models.WordLevel(vocab, unk_token=specials["unk"]))
    # not FixedLength, which tokenizers before 0.22 cannot read; a dot would leave out line breaks
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    return TrainedTokenizer(wrap(backend, GPT_STYLE, specials))

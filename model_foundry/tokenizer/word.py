"""Words: each word between white space is one token.

The usual vocabulary of recurrent language models in psycholinguistics (Gulordava et al. 2018,
arXiv:1803.11138). Lossy by design: rare words become `<unk>`, and decoding joins words with one
space.
"""

import re
from collections.abc import Iterable, Mapping

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from model_foundry.errors import DataError
from model_foundry.tokenizer.special_tokens import GPT_STYLE, resolve_special_tokens, wrap
from model_foundry.tokenizer.training_text import TrainedTokenizer, require_vocab_size


def _replace(specials: Iterable[str], replacement: str) -> normalizers.Normalizer:
    """Return a normalizer that replaces words of a text that equal special tokens.

    Otherwise they would be read as these tokens, which are in the vocabulary.
    """
    words = "|".join(map(re.escape, specials))
    return normalizers.Replace(Regex(rf"(?<!\S)(?:{words})(?!\S)"), replacement)


def train(
    documents: Iterable[str],
    *,
    vocab_size: int,
    special_tokens: Mapping[str, str | None] | None = None,
    min_frequency: int = 1,
) -> TrainedTokenizer:
    """Build a vocabulary of the most frequent words in the documents.

    Args:
        documents: the training text.
        vocab_size: maximum number of tokens, special tokens counted; of equally frequent words, the
            first by code points are kept.
        special_tokens: role -> string, instead of the defaults.
        min_frequency: minimum occurrences of a word.

    Raises:
        ConfigError: `vocab_size` has no room for the special tokens and one word.
        DataError: no word is frequent enough.
    """
    specials = resolve_special_tokens(GPT_STYLE, special_tokens)
    reason = f"{len(specials)} special tokens and one word"
    require_vocab_size(vocab_size, len(specials) + 1, reason)
    backend = Tokenizer(models.WordLevel(unk_token=specials["unk"]))
    backend.normalizer = _replace(specials.values(), "")
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordLevelTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(specials.values()),
        show_progress=False,
    )
    backend.train_from_iterator(documents, trainer)
    if backend.get_vocab_size() == len(specials):
        raise DataError(
            f"tokenizer.min_frequency (={min_frequency}): no word of the training text occurs so "
            "often; lower it."
        )
    backend.normalizer = _replace(specials.values(), specials["unk"])
    return TrainedTokenizer(wrap(backend, GPT_STYLE, specials))

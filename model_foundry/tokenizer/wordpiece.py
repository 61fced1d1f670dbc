"""WordPiece: words split into pieces, the inner ones marked by `##`, as in BERT.

Schuster and Nakajima 2012; Devlin et al. 2019 (arXiv:1810.04805). Lossy by design: white space and
unknown characters are not kept. The pieces are learned by BPE merges, as in the tokenizers library.

The library treats a word of more than 100 characters as unknown, and scripts such as Thai have no
spaces between words, so longer stretches are cut. A higher limit would be slow: the time for a word
grows with the cube of its length.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from model_foundry.tokenizer.special_tokens import BERT_STYLE, resolve_special_tokens, wrap
from model_foundry.tokenizer.training_text import TrainedTokenizer, require_vocab_size

PREFIX = "##"
LONGEST_WORD = 100
_REPEATS = 10_000  # words in one string given to the trainer, so that no string grows large


def _count_words(documents: Iterable[str], backend: Tokenizer) -> Counter[str]:
    """Count the words of the documents as `backend` normalises and splits them."""
    counts: Counter[str] = Counter()
    for document in documents:
        normal = backend.normalizer.normalize_str(document)
        counts.update(word for word, _ in backend.pre_tokenizer.pre_tokenize_str(normal))
    return counts


def _repeat(counts: Mapping[str, int]) -> Iterator[str]:
    """Yield strings in which each word occurs as often as counted."""
    for word, count in counts.items():
        for start in range(0, count, _REPEATS):
            yield f"{word} " * min(_REPEATS, count - start)


def _alphabet(counts: Iterable[str]) -> list[str]:
    """Return the smallest pieces: every character, and every character inside a word."""
    first = {character for word in counts for character in word}
    inner = {PREFIX + character for word in counts for character in word[1:]}
    return sorted(first) + sorted(inner)


def _learn_vocab(counts: Mapping[str, int], *, first: list[str], vocab_size: int) -> dict[str, int]:
    """Return piece -> id; the pieces of `first` have the first ids.

    The library's trainer numbers the `##` characters in the order of a hash table that differs
    between processes, and breaks ties by number. Declaring them first makes it deterministic.
    """
    learner = Tokenizer(models.WordPiece())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=first,
        continuing_subword_prefix=PREFIX,
        show_progress=False,
    )
    learner.train_from_iterator(_repeat(counts), trainer)
    return learner.get_vocab(with_added_tokens=False)


def train(
    documents: Iterable[str],
    *,
    vocab_size: int,
    special_tokens: Mapping[str, str | None] | None = None,
    lowercase: bool = False,
) -> TrainedTokenizer:
    """Learn the pieces of a WordPiece vocabulary from the documents.

    Args:
        documents: the training text.
        vocab_size: number of tokens, special tokens counted.
        special_tokens: role -> string, instead of the defaults.
        lowercase: convert text to lower case and strip accents, as in the uncased BERT.

    Raises:
        ConfigError: `vocab_size` has no room for the characters of the text.
    """
    specials = resolve_special_tokens(BERT_STYLE, special_tokens)
    backend = Tokenizer(models.WordPiece(unk_token=specials["unk"]))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.BertPreTokenizer(),
            pre_tokenizers.Split(Regex(rf"[\s\S]{{{LONGEST_WORD}}}"), "isolated"),
        ]
    )
    backend.decoder = decoders.WordPiece(prefix=PREFIX)
    counts = _count_words(documents, backend)
    first = [*specials.values(), *_alphabet(counts)]
    reason = "the special tokens and the characters of the training text"
    require_vocab_size(vocab_size, len(first), reason)
    vocab = _learn_vocab(counts, first=first, vocab_size=vocab_size)
    backend.model = models.WordPiece(
        vocab,
        unk_token=specials["unk"],
        continuing_subword_prefix=PREFIX,
        max_input_chars_per_word=LONGEST_WORD,
    )
    return TrainedTokenizer(wrap(backend, BERT_STYLE, specials))

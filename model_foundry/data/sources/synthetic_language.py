"""The built-in artificial language as a corpus; each sentence is a document."""

from collections.abc import Iterator
from typing import Any

from model_foundry.config import LanguageSource
from model_foundry.data.sources.base import Hash, Reading, Source
from model_foundry.data.sources.fragments import Fragment, in_text_batches
from model_foundry.data.sources.text_batch import TextBatch
from model_foundry.synthetic_language import load_language
from model_foundry.synthetic_language.language import BUILT_IN

SAMPLER = 1  # incremented when the same seed yields different sentences


class LanguageCorpus(Source):
    """Sentences sampled from the built-in language."""

    name = "the built-in language"

    def __init__(self, source: LanguageSource, reading: Reading) -> None:
        self.sample = source.language

    def batches(self) -> Iterator[TextBatch]:
        """Sample the sentences."""
        texts = load_language().sample(self.sample.sentences, seed=self.sample.seed)
        return in_text_batches(map(Fragment, texts))

    def cache_key(self, sha256: Hash) -> Any:
        """Return the settings of the sample and the hash of the grammar."""
        return ["language", SAMPLER, self.sample.model_dump(), sha256(BUILT_IN)]

"""Computation of the figures of a prepared corpus."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from transformers import PreTrainedTokenizerBase

from model_foundry.config import ExperimentConfig
from model_foundry.corpus_report.counts import (
    Ints,
    LengthFigures,
    Lengths,
    count_ids,
    document_lengths,
    length_edges,
    words_in,
)
from model_foundry.corpus_report.figures import (
    CorpusReport,
    FrequentToken,
    SplitFigures,
    Vocabulary,
)
from model_foundry.corpus_report.samples import sample_rows, texts_of
from model_foundry.data.batches.pass_counts import pass_over
from model_foundry.data.batches.token_examples import TokenExamples
from model_foundry.data.tokens.document_frame import document_frame
from model_foundry.data.tokens.overlap import shared_documents
from model_foundry.errors import ConfigError
from model_foundry.evaluation.comparability import not_comparable
from model_foundry.objectives import LanguageObjective, Prepared
from model_foundry.objectives.language import text_splits

MOST_FREQUENT = 20
BULK = 0.9  # share of the tokens


class _Text:
    """One text of an experiment with its counts; one pass reads `read` rows."""

    def __init__(
        self, name: str, rows: TokenExamples, tokenizer: PreTrainedTokenizerBase, *, read: int
    ) -> None:
        self.name, self.rows, self.stream, self.read = name, rows, rows.stream, read
        self.tokenizer, self.size = tokenizer, 1 + max(tokenizer.get_vocab().values())
        self.lengths: Lengths = document_lengths(self.stream)

    @cached_property
    def counts(self) -> Ints:
        """Count of each id, (V,)."""
        return count_ids(self.stream, self.size)

    @property
    def text_counts(self) -> Ints:
        """Count of each id without the frames of documents, (V,): EOS may be the unknown token."""
        before, after = document_frame(self.tokenizer)
        counts = self.counts.copy()
        for index in (*before, *after):
            counts[index] -= self.stream.documents
        return counts

    def specials_before(self, end: int) -> int:
        """Count the special tokens before a token, with the unknown token."""
        behind = count_ids(self.stream, self.size, start=end)
        return int((self.counts - behind)[self.tokenizer.all_special_ids].sum())


def build_report(config: ExperimentConfig, prepared: Prepared) -> CorpusReport:
    """Compute the figures of a prepared corpus.

    Raises:
        ConfigError: the objective reads no token stream.
        DataError: there are fewer blocks than a step of streams needs.
    """
    objective = prepared.objective
    if not isinstance(objective, LanguageObjective):
        raise ConfigError(
            f"training.objective (={config.training.objective}): these are the figures of token "
            "streams; `foundry prepare` shows those of other data"
        )
    texts = list(_texts(prepared))
    shortest, longest = (f(f(t.lengths) for t in texts) for f in (min, max))
    edges = length_edges(int(shortest), int(longest))
    return CorpusReport(
        experiment_name=config.experiment_name,
        objective=config.training.objective,
        packing=config.data.packing,
        predicted=objective.prediction_rule,
        same_source=config.data.validation is None,
        splits=[_figures(text, objective, prepared, edges) for text in texts],
        length_edges=edges,
        vocabulary=_vocabulary(texts[0]),
        samples=sample_rows(text_splits(prepared)["train"], prepared.tokenizer, prepared.collate),
    )


def _texts(prepared: Prepared) -> Iterator[_Text]:
    read = {"train": prepared.objective.examples_per_pass(len(prepared.train))}
    for name, rows in text_splits(prepared).items():
        yield _Text(name, rows, prepared.tokenizer, read=read.get(name, len(rows)))


def _figures(
    text: _Text, objective: LanguageObjective, prepared: Prepared, edges: list[int]
) -> SplitFigures:
    stream, facts, counts = text.stream, text.stream.facts, text.text_counts
    counted, training = pass_over(text.rows, number=text.read), text_splits(prepared)["train"]
    unknown = prepared.tokenizer.unk_token_id
    unknown_tokens = 0 if unknown is None else int(counts[unknown])
    trains = text.name == "train"
    return SplitFigures(
        name=text.name,
        documents=stream.documents,
        sources=facts.sources,
        words=stream.words,
        bytes=stream.bytes,
        tokens=counted,
        predicted=objective.targets_of(
            text.rows, counted, text.specials_before, evaluating=not trains
        ),
        text_tokens=int(counts.sum()),
        unknown_tokens=unknown_tokens,
        unknown_bytes=facts.unknown_bytes,
        unknown_words=words_in(stream, unknown) if unknown_tokens else 0,
        lengths=LengthFigures.of(text.lengths, edges),
        shared=0 if trains else shared_documents(stream, training.stream),
        left_out=facts.left_out,
        replaced=facts.replaced,
        lossless=facts.lossless,
        not_comparable=not_comparable(text.rows),
        interventions=facts.interventions,
        step_numbers=_step_numbers(objective.config, text.name),
        text_sha256=facts.text_sha256,
        tokens_sha256=facts.tokens_sha256,
    )


def _step_numbers(config: ExperimentConfig, split: str) -> list[int]:
    """Return the positions of the steps that change a text, from 1."""
    steps = enumerate(config.data.interventions, 1)
    return [number for number, step in steps if split in step.splits]


def _vocabulary(text: _Text) -> Vocabulary:
    tokenizer, counts = text.tokenizer, text.text_counts
    ordinary = sorted({*tokenizer.get_vocab().values()} - {*tokenizer.all_special_ids})
    falling = np.argsort(-counts, kind="stable")
    total = int(counts.sum())
    reached = np.cumsum(counts[falling]) >= BULK * total
    top = [int(index) for index in falling[:MOST_FREQUENT] if counts[index]]
    return Vocabulary(
        size=len(tokenizer),
        ordinary=len(ordinary),
        used=int((counts[ordinary] > 0).sum()),
        bulk=int(reached.argmax()) + 1,
        most_frequent=[
            FrequentToken(id=i, text=shown, count=int(counts[i]), share=int(counts[i]) / total)
            for i, shown in zip(top, texts_of(top, tokenizer), strict=True)
        ],
    )

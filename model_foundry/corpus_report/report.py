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
from model_foundry.data.batches.pass_counts import pass_over, predicted_from_the_left
from model_foundry.data.batches.rows import Rows
from model_foundry.data.tokens.document_frame import document_frame
from model_foundry.data.tokens.overlap import shared_documents
from model_foundry.evaluation.comparability import not_comparable
from model_foundry.experiment.prepare_data import Prepared
from model_foundry.experiment.run_length import rows_of_a_pass
from model_foundry.objectives import CausalLM, MaskedLM

MOST_FREQUENT = 20
BULK = 0.9  # share of the tokens


class _Text:
    """One text of an experiment with its counts; one pass reads `read` rows."""

    def __init__(
        self, name: str, rows: Rows, tokenizer: PreTrainedTokenizerBase, *, read: int
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
        DataError: there are fewer blocks than a step of streams needs.
    """
    texts = list(_texts(config, prepared))
    shortest, longest = (f(f(t.lengths) for t in texts) for f in (min, max))
    edges = length_edges(int(shortest), int(longest))
    return CorpusReport(
        experiment_name=config.experiment_name,
        objective=config.training.objective,
        packing=config.data.packing,
        predicted=_prediction_rule(config, prepared),
        same_source=config.data.validation is None,
        splits=[_figures(text, config, prepared, edges) for text in texts],
        length_edges=edges,
        vocabulary=_vocabulary(texts[0]),
        samples=sample_rows(prepared.train, prepared.tokenizer, prepared.collator),
    )


def _texts(config: ExperimentConfig, prepared: Prepared) -> Iterator[_Text]:
    read = rows_of_a_pass(config, len(prepared.train))
    yield _Text("train", prepared.train, prepared.tokenizer, read=read)
    for name, rows in (("validation", prepared.validation), ("test", prepared.test)):
        if rows is not None:
            yield _Text(name, rows, prepared.tokenizer, read=len(rows))


def _figures(
    text: _Text, config: ExperimentConfig, prepared: Prepared, edges: list[int]
) -> SplitFigures:
    stream, facts, counts = text.stream, text.stream.facts, text.text_counts
    unknown = prepared.tokenizer.unk_token_id
    unknown_tokens = 0 if unknown is None else int(counts[unknown])
    trains = text.name == "train"
    return SplitFigures(
        name=text.name,
        documents=stream.documents,
        sources=facts.sources,
        words=stream.words,
        bytes=stream.bytes,
        tokens=pass_over(text.rows, number=text.read),
        predicted=_predicted(text, config, prepared),
        text_tokens=int(counts.sum()),
        unknown_tokens=unknown_tokens,
        unknown_bytes=facts.unknown_bytes,
        unknown_words=words_in(stream, unknown) if unknown_tokens else 0,
        lengths=LengthFigures.of(text.lengths, edges),
        shared=0 if trains else shared_documents(stream, prepared.train.stream),
        left_out=facts.left_out,
        replaced=facts.replaced,
        lossless=facts.lossless,
        not_comparable=not_comparable(text.rows),
        interventions=facts.interventions,
        step_numbers=_step_numbers(config, text.name),
        text_sha256=facts.text_sha256,
        tokens_sha256=facts.tokens_sha256,
    )


def _step_numbers(config: ExperimentConfig, split: str) -> list[int]:
    """Return the positions of the steps that change a text, from 1."""
    steps = enumerate(config.data.interventions, 1)
    return [number for number, step in steps if split in step.splits]


def _prediction_rule(config: ExperimentConfig, prepared: Prepared) -> str:
    kind = type(prepared.objective)  # a subclass may predict other tokens
    if kind is CausalLM and config.data.packing == "documents":
        return "each token but the first of each document or part of one; context is not"
    if kind is CausalLM and config.training.carry_state:
        return "each token but the first of a pass, since rows continue"
    if kind is CausalLM:
        return "each token but the first of each block"
    if kind is MaskedLM:
        share = config.training.mlm_probability
        return f"about {share:.0%} of the tokens that are not special, drawn again in each pass"
    return f"not known: the objective {config.training.objective!r} is a plugin"


def _predicted(text: _Text, config: ExperimentConfig, prepared: Prepared) -> int | None:
    """Return the number of targets in a pass; None if only the objective knows them."""
    kind, counted = type(prepared.objective), pass_over(text.rows, number=text.read)
    if kind is CausalLM:
        return predicted_from_the_left(text.rows, counted)
    if kind is MaskedLM:
        once = counted.in_rows - counted.repeated
        return round(config.training.mlm_probability * (once - text.specials_before(once)))
    return None


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

"""Sequence-to-sequence language modelling: translation, summarisation and the like."""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from torch import Tensor

from model_foundry.architectures import BaseModel
from model_foundry.config import ExperimentConfig
from model_foundry.data.batches.examples import Column, Ragged
from model_foundry.data.batches.loaders import Collate
from model_foundry.data.corpus.record_splits import RecordSplits
from model_foundry.data.sources.records import Records
from model_foundry.data_collators import PaddingCollator
from model_foundry.evaluation.target_leaks import require_no_target_leak
from model_foundry.foundation.token_roles import first_token_id
from model_foundry.objectives.base import Prepared
from model_foundry.objectives.column_texts import TextEncoder, column_tokenizer
from model_foundry.objectives.forward_pass import ForwardPass
from model_foundry.objectives.language import generating
from model_foundry.objectives.processors import TOKENIZER, Processor, Processors, TextTokenizer
from model_foundry.objectives.records import RecordObjective
from model_foundry.tokenizer.special_tokens import special_token_ids

TARGET_TOKENIZER = "target_tokenizer"
REFERENCES = "references"
"""Column with the texts of the targets in UTF-8: decoded ids would lack what a tokenizer cuts, or
does not know, as the written texts do."""


class Seq2SeqLM(RecordObjective):
    """Write the target of a pair of texts, given its source.

    A model learns each token of the target from the source and from those before it (teacher
    forcing); evaluations also let it write, where a metric compares texts.
    """

    processor_types: ClassVar[Mapping[str, type[Processor]]] = {
        TOKENIZER: TextTokenizer,
        TARGET_TOKENIZER: TextTokenizer,
    }
    units: ClassVar[Mapping[str, str]] = {"tokens": "input_ids", "target_tokens": "labels"}
    masks: ClassVar[Mapping[str, str]] = {"input_ids": "attention_mask"}
    withheld = (REFERENCES,)

    def __init__(self, config: ExperimentConfig) -> None:
        super().__init__(config)
        self._encoders: dict[str, TextEncoder] = {}
        self._latest: Callable[[], ForwardPass | None] = lambda: None
        self._written: tuple[list[str], list[str]] = [], []

    @property
    def columns(self) -> Sequence[str]:
        return [self.settings.source, self.settings.target]

    @property
    def grouped_by(self) -> Sequence[str]:
        return ["labels", "input_ids"] if self.settings.bucket_by_length else []

    def learn(self, records: Iterable[Records]) -> dict[str, Processor]:
        texts: dict[str, list[str]] = {column: [] for column in self.columns}
        for each in records:
            for column in self.columns:
                texts[column] += each.texts(column)
        source, target = texts.values()
        settings, own = self.config.tokenizer, self.settings.target_tokenizer
        if own is None:
            shared = column_tokenizer(settings, source + target)
            return {TOKENIZER: shared, TARGET_TOKENIZER: shared}
        section = f"training.{self.spec.name}.{TARGET_TOKENIZER}"
        return {
            TOKENIZER: column_tokenizer(settings, source),
            TARGET_TOKENIZER: column_tokenizer(own, target, section),
        }

    def _encoded(self, splits: RecordSplits, processors: Processors) -> Prepared:
        source, target = _tokenizers(processors)
        limit = (self.config.data.max_sequence_length, "data.max_sequence_length")
        own = self.settings.max_target_length
        of_targets = (own, f"training.{self.spec.name}.max_target_length") if own else limit
        self._encoders = {
            "input_ids": TextEncoder(source, *limit, noun="sources"),
            "labels": TextEncoder(target, *of_targets, noun="targets", frames=False),
        }
        prepared = super()._encoded(splits, processors)
        for encoder in self._encoders.values():
            encoder.warn()
        return prepared

    def encode(self, records: Records, processors: Processors) -> dict[str, Column]:
        end = _end_of(_tokenizers(processors)[1])
        source, target = map(records.texts, self.columns)
        return {
            "input_ids": self._encoders["input_ids"].encode(source),
            "labels": _with_end(self._encoders["labels"].encode(target), end),
            REFERENCES: _in_utf8(target),
        }

    def collate(self, processors: Processors, *, seed: int, evaluating: bool) -> Collate:
        pad = first_token_id(_tokenizers(processors)[0], "pad", "eos", "sep")
        return PaddingCollator({"input_ids": cast(int, pad)}, self.masks)

    def model_arguments(self, processors: Processors) -> dict[str, Any]:
        """Return the size of the vocabulary of the targets and their special tokens.

        With two tokenizers, `source_vocab_size` is that of the sources.
        """
        source, target = _tokenizers(processors)
        own = {} if self.settings.target_tokenizer is None else {"source_vocab_size": len(source)}
        return {"vocab_size": len(target), **special_token_ids(target), **own}

    def result_facts(self, prepared: Prepared, model: BaseModel, run: Path) -> dict[str, Any]:
        return {"next_command": generating(run)}

    def check_model(self, model: BaseModel, prepared: Prepared) -> None:
        """Check that no target is predicted from itself."""
        require_no_target_leak(model, prepared.first_batch(), self.config.training.mixed_precision)

    def written(self, done: ForwardPass) -> tuple[list[str], list[str]]:
        """Return the texts that the model writes for a batch, and those of the data, (B) each."""
        if self._latest() is not done:  # several metrics compare the same texts
            self._written = self._write(done), _texts_in(done.inputs[REFERENCES])
            self._latest = weakref.ref(done)  # its logits are not kept in memory
        return self._written

    def _write(self, done: ForwardPass) -> list[str]:
        found = cast(Any, done.model).generate(
            done.inputs["input_ids"],
            attention_mask=done.inputs["attention_mask"],
            max_new_tokens=self.settings.max_target_length or self.config.data.max_sequence_length,
            num_beams=self.settings.num_beams,
        )
        tokenizer = _tokenizers(self.processors)[1]
        return cast(list[str], tokenizer.batch_decode(found, skip_special_tokens=True))


def _in_utf8(texts: Sequence[str]) -> Ragged:
    return Ragged.of([np.frombuffer(text.encode(), np.uint8) for text in texts])


def _texts_in(rows: Tensor) -> list[str]:
    """Return texts in UTF-8, padded with zeros, which are in no text of the data."""
    return [row.tobytes().rstrip(b"\0").decode() for row in rows.cpu().numpy()]


def _with_end(rows: Ragged, end: int) -> Ragged:
    """Return rows of ids, each with the end token after it."""
    return Ragged.of([np.append(row, end) for row in rows.rows()])


def _tokenizers(processors: Processors) -> tuple[Any, Any]:
    """Return the tokenizers of the sources and of the targets."""
    roles = (TOKENIZER, TARGET_TOKENIZER)
    source, target = (cast(TextTokenizer, processors[role]).tokenizer for role in roles)
    return source, target


def _end_of(tokenizer: Any) -> int:
    """Return the id that ends a target; `column_tokenizer` made sure that there is one."""
    return cast(int, first_token_id(tokenizer, "eos", "sep"))

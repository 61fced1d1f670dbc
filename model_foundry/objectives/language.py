"""`LanguageObjective`: the tasks of language models, whose examples are rows of a token stream."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast

import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from model_foundry.architectures import BaseLanguageModel, BaseModel, ModelOutput
from model_foundry.architectures.plugin_check import plugin_method
from model_foundry.data.batches.loaders import Collate, evaluation_batches
from model_foundry.data.batches.order import usable_blocks
from model_foundry.data.batches.pass_counts import EpochCounts, pass_over
from model_foundry.data.batches.token_examples import TokenExamples
from model_foundry.data.corpus.splits import Split
from model_foundry.data_collators import Collator
from model_foundry.data_collators.text import collate_text
from model_foundry.evaluation.causality import require_no_leak
from model_foundry.evaluation.comparability import not_comparable, require_targets
from model_foundry.foundation.file_hashes import FileHashes
from model_foundry.foundation.labels import IGNORE_INDEX
from model_foundry.foundation.process_pool import processes_for
from model_foundry.foundation.shell_words import pasted, quoted
from model_foundry.interventions.preparation import prepare_steps
from model_foundry.objectives.base import Inspection, Objective, Prepared
from model_foundry.objectives.forward_pass import Inputs
from model_foundry.objectives.plugin_results import require_inputs
from model_foundry.objectives.processors import TOKENIZER, Processor, Processors, TextTokenizer
from model_foundry.objectives.text import (
    ExampleReader,
    load_named_tokenizer,
    obtain_tokenizer,
    open_texts,
    report_shared,
)
from model_foundry.tokenizer.framing import framed
from model_foundry.tokenizer.special_tokens import special_token_ids, with_tokens
from model_foundry.tokenizer.tokenizer_factory import check_settings

logger = logging.getLogger(__name__)

ROWS_OF_A_CHECK = 8  # for the check of the collator; the model reads two of them


class LanguageObjective(Objective):
    """A task of language models: the framing and labelling of rows, and the labels that count."""

    processor_types: ClassVar[Mapping[str, type[Processor]]] = {TOKENIZER: TextTokenizer}
    withheld = ("scored_bytes",)

    def frame(self, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
        """Return the ids that stand before and after the text of each block; none by default.

        Raises:
            DataError: the tokenizer lacks them.
        """
        return [], []

    @property
    def added_tokens(self) -> Sequence[str]:
        """Special tokens that the tokenizer gets for this task; none by default."""
        return ()

    @abstractmethod
    def collator(self, tokenizer: PreTrainedTokenizerBase, *, seed: int) -> Collator:
        """Return the collator that turns rows into labelled batches.

        Args:
            seed: seed of whatever it draws.

        Raises:
            DataError: the tokenizer lacks a token that it needs.
        """

    def evaluation_collator(self, tokenizer: PreTrainedTokenizerBase, *, seed: int) -> Collator:
        """Return the collator of evaluations; by default that of training."""
        return self.collator(tokenizer, seed=seed)

    @property
    def needs_word_starts(self) -> bool:
        """True if the collator needs `word_starts`; False by default."""
        return False

    @abstractmethod
    def scored(self, labels: Tensor) -> Tensor:
        """Return the tokens that a model's loss counts, (B, T) bool, given the labels (B, T)."""

    @property
    def prediction_rule(self) -> str:
        """The tokens that are predicted, in words."""
        return f"not known: the objective {self.spec.name!r} is a plugin"

    def targets_of(
        self,
        examples: TokenExamples,
        counted: EpochCounts,
        specials: Callable[[int], int],
        *,
        evaluating: bool = False,
    ) -> int | None:
        """Return the number of targets in a pass; None: it is not known.

        Args:
            specials: returns the number of special tokens before a token of the stream.
            evaluating: count those of an evaluation.
        """
        return None

    def count_targets(self, inputs: Inputs) -> int:
        return int(self.scored(inputs["labels"]).sum())

    def aligned(self, output: ModelOutput, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Return logits (B, T, V) and the token that each predicts, (B, T)."""
        logits, labels = cast(Tensor, output.logits), inputs["labels"]
        labels = labels.masked_fill(~self.scored(labels), IGNORE_INDEX)
        if self.spec.direction == "left_to_right":
            labels = F.pad(labels[:, 1:], (0, 1), value=IGNORE_INDEX)[:, : logits.shape[1]]
        return logits, labels

    def prepare(self, kept: Path | None = None) -> Prepared:
        config = self.config
        prepare_steps(config.data.interventions)
        hashes = FileHashes(config.data.cache)
        splits = open_texts(config)
        tokenizer, source = obtain_tokenizer(config, splits.train, kept, hashes=hashes)
        tokenizer = framed(with_tokens(tokenizer, self.added_tokens), self.frame(tokenizer))
        collate = self._collate(self.collator(tokenizer, seed=config.seeds.data))
        reader = ExampleReader(
            config,
            tokenizer,
            frame=self.frame(tokenizer),
            word_starts=self.needs_word_starts,
            hashes=hashes,
        )
        train = reader.read(splits.train)
        without = train.stream if config.data.shared_documents == "drop" else None
        validation = reader.read(splits.validation, without)
        test = None if splits.test is None else reader.read(splits.test, without)
        prepared = Prepared(
            objective=self,
            processors={TOKENIZER: TextTokenizer(tokenizer, source)},
            collate=collate,
            # what a study measures on is the same for all seeds of its data
            evaluating=self._collate(self.evaluation_collator(tokenizer, seed=config.seeds.split)),
            train=train,
            validation=validation,
            test=test,
        )
        for name, examples in text_splits(prepared).items():
            self._check_examples(name, examples, train)
            require_targets(name, examples, collate, self.count_targets, type(self).__name__)
        return prepared

    def _collate(self, collator: Collator) -> Collate:
        return partial(collate_text, collator=collator, scored=self.scored)

    def _check_examples(self, name: str, examples: TokenExamples, train: TokenExamples) -> None:
        """Report documents shared with the training text, and figures that cannot be compared."""
        if examples is not train:
            report_shared(name, examples.stream, train.stream, self.config.data)
        if reason := not_comparable(examples):
            logger.warning(
                "%s: %s, so its bits per byte cannot be compared with those of another tokenizer",
                *(name, reason),
            )

    def inspect(self) -> Inspection:
        config = self.config
        prepare_steps(config.data.interventions, writes=False)
        splits = open_texts(config)
        arguments, sizes = self._inspect_tokenizer()
        lines, processes = [], processes_for(config.data.preprocessing_num_workers)
        for name in ("train", "validation", "test"):
            split: Split | None = getattr(splits, name)
            if split is not None:
                documents, characters = split.count(processes)
                lines.append(f"{name}: {documents:,} documents, {characters:,} characters")
        return Inspection(lines, arguments, sizes)

    def _inspect_tokenizer(self) -> tuple[dict[str, Any], str]:
        """Return arguments of the model, as far as they are known, and the size in words."""
        settings = self.config.tokenizer
        if settings.path is None:
            check_settings(settings)
            size = settings.vocab_size + len(self.added_tokens)
            most = f"the {size:,} entries that its tokenizer may have at most"
            return {"vocab_size": size}, most
        tokenizer = with_tokens(load_named_tokenizer(settings), self.added_tokens)
        self.frame(tokenizer)
        self.collator(tokenizer, seed=0)
        arguments = {"vocab_size": len(tokenizer), **special_token_ids(tokenizer)}
        return arguments, f"a vocabulary of {len(tokenizer):,}"

    @property
    def streams(self) -> bool:
        return self.config.data.packing == "streams"

    def examples_per_pass(self, examples: int) -> int:
        """Return how many of the training rows one pass reads.

        Raises:
            DataError: there are fewer than a step of streams needs.
        """
        if not self.streams:
            return examples
        return usable_blocks(examples, rows_per_step=self.config.training.rows_per_step)

    def summary(self, prepared: Prepared) -> dict[str, Any]:
        """Return what a run reads of each of its texts, as plain data; nothing is counted again.

        Raises:
            DataError: there are fewer blocks than a step of streams needs.
        """
        read = {"train": self.examples_per_pass(len(prepared.train))}
        return {
            name: {
                "documents": examples.stream.documents,
                "tokens": asdict(pass_over(examples, number=read.get(name, len(examples)))),
                **examples.stream.facts.as_json(),
            }
            for name, examples in text_splits(prepared).items()
        }

    def result_facts(self, prepared: Prepared, model: BaseModel, run: Path) -> dict[str, Any]:
        """Return vocabulary, losses of the tokenizer, and a command that tries the model."""
        unit = "nats per token" if model.supports_generation else "nats per masked token"
        generates, mask = model.supports_generation, prepared.tokenizer.mask_token
        return {
            "vocab_size": len(prepared.tokenizer),
            "generates": generates,
            "loss_unit": unit if self.weights == {"model": 1} else None,
            "mask_token": mask,
            "lossless": text_splits(prepared)["validation"].stream.facts.lossless,
            "not_comparable": self.not_comparable(prepared),
            "next_command": generating(run) if generates else filling(run / "model", mask),
        }

    def not_comparable(self, prepared: Prepared) -> dict[str, str]:
        """Return the reason for each text whose bits per byte compare no tokenizers."""
        texts = text_splits(prepared)
        named = {"eval": texts["validation"]} | ({"test": texts["test"]} if "test" in texts else {})
        reasons = {name: not_comparable(text) for name, text in named.items()}
        return {name: reason for name, reason in reasons.items() if reason}

    def model_arguments(self, processors: Processors) -> dict[str, Any]:
        """Return the size of the vocabulary and the ids of the special tokens."""
        tokenizer = cast(TextTokenizer, processors[TOKENIZER]).tokenizer
        return {"vocab_size": len(tokenizer), **special_token_ids(tokenizer)}

    def check_model(self, model: BaseModel, prepared: Prepared) -> None:
        """Check that a model does not read its targets."""
        training, rows = self.config.training, text_splits(prepared)["train"].first(ROWS_OF_A_CHECK)
        batch = next(evaluation_batches(rows, prepared.collate, batch_size=ROWS_OF_A_CHECK))
        if training.transforms:
            require_inputs(self, model, self.given(batch.inputs))
        with plugin_method(type(self), "collator"):  # a name that the model does not know
            require_no_leak(
                cast(BaseLanguageModel, model),
                self.given(batch.inputs),
                scored=self.scored,
                objective_name=type(self).__name__,
                causal=self.spec.direction == "left_to_right",
                carry_state=training.carry_state,
                half=training.mixed_precision in ("bf16", "fp16"),
                loss_without_logits=training.speed.loss_without_logits,
            )


def generating(run: Path) -> str:
    """Return a command by which the model of a run continues text."""
    return f"foundry generate {pasted(run)} --prompt 'The'"


def filling(model: Path, mask: str | None) -> str:
    """Return a command by which the model of a directory fills its mask token."""
    filler = f"pipeline('fill-mask', {str(model)!r}, trust_remote_code=True)"
    code = f"from transformers import pipeline; print({filler}({f'The {mask} is'!r}))"
    return f"python -c {quoted(code)}"


def text_splits(prepared: Prepared) -> dict[str, TokenExamples]:
    """Return the splits of a task that reads a token stream."""
    return cast(dict[str, TokenExamples], prepared.splits)

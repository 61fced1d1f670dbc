"""Texts that the model makes at each evaluation, for `samples.jsonl` and trackers."""

import logging
from collections.abc import Callable
from typing import Any, cast

from model_foundry.architectures import BaseLanguageModel, BaseModel
from model_foundry.architectures.compilation import compilation_disabled
from model_foundry.architectures.encoder_decoder import HFEncoderDecoder
from model_foundry.config import SamplesConfig
from model_foundry.errors import Interrupted, is_out_of_memory
from model_foundry.foundation.interrupts import blocking_section
from model_foundry.foundation.plugins import describe_error
from model_foundry.generation import fill_masks, generate_texts, write_texts
from model_foundry.objectives import Prepared
from model_foundry.objectives.processors import TextTokenizer
from model_foundry.objectives.seq2seq import TARGET_TOKENIZER
from model_foundry.training.evaluate_hook import evaluation_is_due
from model_foundry.training.hooks import FinishedStep, Hook, Training
from model_foundry.training.sinks import Sink

logger = logging.getLogger(__name__)

Writer = Callable[[], list[str]]


class SamplesHook(Hook):
    """Has the model write at each evaluation, on rank 0, with one seed.

    A failure, such as a prompt that it cannot read, is reported once; the run goes on without
    samples.
    """

    def __init__(self, sinks: Sink, settings: SamplesConfig, prepared: Prepared) -> None:
        self.sinks, self.settings, self.prepared = sinks, settings, prepared
        self._failed = False

    def on_start(self, training: Training) -> None:
        self._write_if_due(training)  # as the evaluation

    def after_step(self, training: Training, step: FinishedStep) -> None:
        self._write_if_due(training)

    def _write_if_due(self, training: Training) -> None:
        if self._failed or not evaluation_is_due(training):
            return
        step, model = training.context.state.step, training.model
        model.eval()  # the next step switches back
        try:
            with (
                training.stopwatch.paused(),
                blocking_section(f"the samples of step {step}"),
                compilation_disabled(model),
            ):
                texts = self._texts(model)
        except Interrupted:
            raise
        except Exception as error:  # of any model, a plugin's too
            self._failed = True
            logger.warning("tracking.samples: %s; the run goes on without samples", _fault(error))
            return
        named = {f"samples/{number}": text for number, text in enumerate(texts)}
        self.sinks.texts(step, named)

    def _texts(self, model: BaseModel) -> list[str]:
        settings, tokenizer = self.settings, self.prepared.tokenizer
        sampling: dict[str, Any] = {
            "max_new_tokens": settings.max_new_tokens,
            "temperature": settings.temperature,
        }
        if isinstance(model, HFEncoderDecoder):
            target = self.prepared.processors.get(TARGET_TOKENIZER)
            other = target.tokenizer if isinstance(target, TextTokenizer) else tokenizer
            texts = write_texts(model, (tokenizer, other), settings.prompts, **sampling)
            pairs = zip(settings.prompts, texts, strict=True)
            return [f"{prompt} -> {text}" for prompt, text in pairs]
        language_model = cast(BaseLanguageModel, model)
        if not model.supports_generation:
            return fill_masks(language_model, tokenizer, settings.prompts)
        return generate_texts(language_model, tokenizer, settings.prompts, **sampling)


def _fault(error: Exception) -> str:
    if is_out_of_memory(error):
        return "out of memory while texts were made; set fewer prompts or a smaller max_new_tokens"
    return describe_error(error)

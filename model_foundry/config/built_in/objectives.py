"""The built-in objectives, and the losses and metrics that they offer."""

from typing import Any

from model_foundry.config.classification import (
    SequenceClassificationConfig,
    TokenClassificationConfig,
)
from model_foundry.config.images import ImageClassificationConfig
from model_foundry.config.seq2seq import Seq2SeqConfig, SpanDenoisingConfig
from model_foundry.config.specs import TEXT_METRICS, LossSpec, MetricSpec, ObjectiveSpec
from model_foundry.registry import Registry

OBJECTIVES: Registry[ObjectiveSpec] = Registry(
    "objective",
    (
        ObjectiveSpec(
            name="causal_lm",
            target="model_foundry.objectives.causal:CausalLM",
            direction="left_to_right",
            metrics=TEXT_METRICS,
        ),
        ObjectiveSpec(
            name="image_classification",
            target="model_foundry.objectives.image_classification:ImageClassification",
            model_kind="image_classifier",
            reads_token_stream=False,
            units=(),
            schema=ImageClassificationConfig,
            metrics=("accuracy", "loss"),
        ),
        ObjectiveSpec(
            name="masked_lm",
            target="model_foundry.objectives.masked:MaskedLM",
            direction="both",
            metrics=TEXT_METRICS,
            framing_tokens=2,
            needs_mask_token=True,
            settings=(
                *("mlm_probability", "mlm_probability_end", "mlm_eval_probability"),
                *("mlm_masking", "mlm_span_length"),
            ),
        ),
        ObjectiveSpec(
            name="seq2seq_lm",
            target="model_foundry.objectives.seq2seq:Seq2SeqLM",
            model_kind="encoder_decoder",
            reads_token_stream=False,
            units=("tokens", "target_tokens"),
            schema=Seq2SeqConfig,
            losses={"label_loss": 1.0},
            metrics=("loss", "bleu"),
            framing_tokens=2,
            settings=("tokenizer", "data.max_sequence_length"),
        ),
        ObjectiveSpec(
            name="sequence_classification",
            target="model_foundry.objectives.sequence_classification:SequenceClassification",
            model_kind="text_classifier",
            reads_token_stream=False,
            units=("tokens",),
            schema=SequenceClassificationConfig,
            losses={"label_loss": 1.0},
            metrics=("accuracy", "macro_f1", "loss"),
            framing_tokens=2,
            settings=("tokenizer", "data.max_sequence_length"),
        ),
        ObjectiveSpec(
            name="span_denoising",
            target="model_foundry.objectives.denoising:SpanDenoising",
            model_kind="encoder_decoder",
            schema=SpanDenoisingConfig,
            metrics=("loss", "perplexity"),
            framing_tokens=2,
        ),
        ObjectiveSpec(
            name="token_classification",
            target="model_foundry.objectives.token_classification:TokenClassification",
            model_kind="token_classifier",
            reads_token_stream=False,
            units=("tokens",),
            schema=TokenClassificationConfig,
            losses={"label_loss": 1.0},
            metrics=("accuracy", "macro_f1", "loss"),
            framing_tokens=2,
            settings=("tokenizer", "data.max_sequence_length"),
        ),
    ),
    entry_points="model_foundry.objectives",
)

LOSSES: Registry[LossSpec] = Registry(
    "loss",
    (
        LossSpec(
            name="confidence_penalty",
            target="model_foundry.objectives.losses:ConfidencePenalty",
        ),
        LossSpec(name="label_loss", target="model_foundry.objectives.label_loss:LabelLoss"),
        LossSpec(name="label_smoothing", target="model_foundry.objectives.losses:LabelSmoothing"),
        LossSpec(
            name="model", target="model_foundry.objectives.losses:ModelLoss", needs_logits=False
        ),
        LossSpec(name="z_loss", target="model_foundry.objectives.losses:ZLoss"),
    ),
    entry_points="model_foundry.losses",
)


_OF_LOGITS = {"greater_is_better": True, "needs_logits": True}


def _metric(name: str, class_name: str, **known: Any) -> MetricSpec:
    return MetricSpec(
        name=name,
        target=f"model_foundry.objectives.metrics:{class_name}",
        **({"greater_is_better": False, "needs_logits": False} | known),
    )


def _of_written(name: str, class_name: str) -> MetricSpec:
    target = f"model_foundry.objectives.sequence_metrics:{class_name}"
    known: dict[str, bool] = {"greater_is_better": True, "needs_logits": False, "generates": True}
    return MetricSpec(name=name, target=target, **known)


METRICS: Registry[MetricSpec] = Registry(
    "metric",
    (
        _metric("loss", "MeanLoss"),
        _metric("perplexity", "Perplexity", several_labels=False),
        _metric("bits_per_byte", "BitsPerByte", reads_text=True),
        _metric("accuracy", "Accuracy", **_OF_LOGITS, several_labels=False),
        _metric("top5_accuracy", "Top5Accuracy", **_OF_LOGITS, several_labels=False),
        MetricSpec(
            name="calibration_error",
            target="model_foundry.objectives.calibration:CalibrationError",
            greater_is_better=False,
            several_labels=False,
        ),
        _of_written("bleu", "Bleu"),
        _of_written("chrf", "ChrF"),
        _of_written("exact_match", "ExactMatch"),
        MetricSpec(
            name="macro_f1",
            target="model_foundry.objectives.label_metrics:MacroF1",
            greater_is_better=True,
        ),
        MetricSpec(
            name="matthews",
            target="model_foundry.objectives.label_metrics:Matthews",
            greater_is_better=True,
            several_labels=False,
        ),
        _of_written("rouge1", "Rouge1"),
        _of_written("rouge2", "Rouge2"),
        _of_written("rougeL", "RougeL"),
        _metric("micro_f1", "MicroF1", **_OF_LOGITS, several_labels=True),
    ),
    entry_points="model_foundry.metrics",
)

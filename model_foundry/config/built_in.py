"""The registries of everything that an experiment names, with the built-in entries.

An implementation is imported through the `target` of its spec on demand. Other packages announce
theirs in entry points, in a group for each kind: `model_foundry.architectures`,
`model_foundry.objectives` and so on.
"""

from model_foundry.config.backbone import BackboneConfig
from model_foundry.config.classification import (
    SequenceClassificationConfig,
    TokenClassificationConfig,
)
from model_foundry.config.huggingface import HuggingFaceConfig, direction
from model_foundry.config.images import DenseConfig, ImageClassificationConfig
from model_foundry.config.optimizers import SGDConfig
from model_foundry.config.sections import (
    BERTSpecificConfig,
    RNNModelConfig,
    TransformerModelConfig,
)
from model_foundry.config.seq2seq import Seq2SeqConfig
from model_foundry.config.sources import (
    DiskSource,
    HubSource,
    ImagesSource,
    LanguageSource,
    PairsSource,
)
from model_foundry.config.specs import (
    TEXT_METRICS,
    ArchitectureSpec,
    HeadSpec,
    InterventionSpec,
    LossSpec,
    MetricSpec,
    ObjectiveSpec,
    OptimizerSpec,
    ScheduleSpec,
    SourceSpec,
)
from model_foundry.registry import Registry


def _recurrent(name: str, class_name: str) -> ArchitectureSpec:
    return ArchitectureSpec(
        name=name,
        target=f"model_foundry.architectures.rnn:{class_name}",
        section="rnn",
        schema=RNNModelConfig,
        objectives=("causal_lm", "masked_lm"),
        is_causal=lambda section: not section.bidirectional,
        settings=("carry_state",),
        isolates_documents=True,
    )


def _native(name: str, class_name: str, objective: str) -> ArchitectureSpec:
    return ArchitectureSpec(
        name=name,
        target=f"model_foundry.architectures.native_transformer:{class_name}",
        section="backbone",
        schema=BackboneConfig,
        objectives=(objective,),
        is_causal=objective == "causal_lm",
        settings=("attn_implementation",),
        isolates_documents=True,
    )


ARCHITECTURES: Registry[ArchitectureSpec] = Registry(
    "architecture",
    (
        ArchitectureSpec(
            name="gpt2",
            target="model_foundry.architectures.gpt:GPT2Model",
            section="transformer",
            schema=TransformerModelConfig,
            objectives=("causal_lm",),
            ties_embedding_size=True,
            settings=("attn_implementation",),
            isolates_documents=True,
            implementations=("native", "transformers"),
            gains_from_compile=True,
        ),
        ArchitectureSpec(
            name="bert",
            target="model_foundry.architectures.bert:BERTModel",
            section="transformer",
            schema=TransformerModelConfig,
            optional_sections={"bert": BERTSpecificConfig},
            objectives=("masked_lm",),
            is_causal=False,
            ties_embedding_size=True,
            settings=("attn_implementation",),
            isolates_documents=True,
            implementations=("native", "transformers"),
            gains_from_compile=True,
        ),
        ArchitectureSpec(
            name="huggingface",
            target="model_foundry.architectures.huggingface:HuggingFaceModel",
            section="huggingface",
            schema=HuggingFaceConfig,
            objectives=("causal_lm", "masked_lm"),
            is_causal=direction,
            settings=("attn_implementation",),
            isolates_documents=True,
        ),
        ArchitectureSpec(
            name="dense",
            target="model_foundry.architectures.dense:DenseModel",
            kind="image_classifier",
            section="dense",
            schema=DenseConfig,
            objectives=(),
        ),
        _recurrent("lstm", "LSTMModel"),
        _recurrent("gru", "GRUModel"),
        _recurrent("min_gru", "MinGRUModel"),
        _recurrent("min_lstm", "MinLSTMModel"),
        _recurrent("rnn", "RNNModel"),
        ArchitectureSpec(
            name="t5",
            target="model_foundry.architectures.t5:T5Model",
            kind="encoder_decoder",
            section="transformer",
            schema=TransformerModelConfig,
            objectives=(),
            ties_embedding_size=True,
        ),
        _native("transformer_decoder", "TransformerDecoder", "causal_lm"),
        _native("transformer_encoder", "TransformerEncoder", "masked_lm"),
    ),
    entry_points="model_foundry.architectures",
)

HEADS: Registry[HeadSpec] = Registry(
    "head",
    (
        HeadSpec(
            name="text_classifier", target="model_foundry.architectures.classifier:TextClassifier"
        ),
        HeadSpec(
            name="token_classifier", target="model_foundry.architectures.classifier:TokenClassifier"
        ),
    ),
    entry_points="model_foundry.heads",
)

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
            settings=("mlm_probability", "mlm_masking", "mlm_span_length"),
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
            settings=("tokenizer", "data.max_sequence_length"),
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
            settings=("tokenizer", "data.max_sequence_length"),
        ),
    ),
    entry_points="model_foundry.objectives",
)


def _step(name: str, file: str) -> InterventionSpec:
    return InterventionSpec(name=name, target=f"model_foundry.interventions.{file}:{name}")


INTERVENTIONS: Registry[InterventionSpec] = Registry(
    "intervention",
    (
        _step("ai_step", "ai_step.step"),
        _step("delete_words", "words"),
        _step("drop_duplicates", "documents"),
        _step("drop_sentences", "sentences"),
        _step("drop_tagged_sentences", "tagged"),
        _step("filter_documents", "documents"),
        _step("filter_length", "documents"),
        _step("keep_sentences", "sentences"),
        _step("keep_tagged_sentences", "tagged"),
        _step("lowercase", "text"),
        _step("normalize_unicode", "text"),
        _step("replace", "text"),
        _step("replace_words", "words"),
        _step("shuffle_sentences", "sentences"),
        _step("shuffle_words", "words"),
    ),
    entry_points="model_foundry.interventions",
)

OPTIMIZERS: Registry[OptimizerSpec] = Registry(
    "optimizer",
    (
        OptimizerSpec(
            name="adamw",
            target="model_foundry.training.optimizer:adamw",
            settings=("weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon"),
        ),
        OptimizerSpec(
            name="sgd",
            target="model_foundry.training.optimizer:sgd",
            schema=SGDConfig,
            settings=("weight_decay",),
        ),
        OptimizerSpec(
            name="adafactor",
            target="model_foundry.training.optimizer:adafactor",
            settings=("weight_decay",),
        ),
    ),
    entry_points="model_foundry.optimizers",
)

SCHEDULES: Registry[ScheduleSpec] = Registry(
    "schedule",
    (
        ScheduleSpec(
            name="cosine",
            target="model_foundry.training.lr_schedule:cosine",
            settings=("min_learning_rate",),
        ),
        ScheduleSpec(
            name="linear",
            target="model_foundry.training.lr_schedule:linear",
            settings=("min_learning_rate",),
        ),
        ScheduleSpec(name="constant", target="model_foundry.training.lr_schedule:constant"),
    ),
    entry_points="model_foundry.schedules",
)

LOSSES: Registry[LossSpec] = Registry(
    "loss",
    (
        LossSpec(name="label_loss", target="model_foundry.objectives.label_loss:LabelLoss"),
        LossSpec(
            name="model", target="model_foundry.objectives.losses:ModelLoss", needs_logits=False
        ),
        LossSpec(name="z_loss", target="model_foundry.objectives.losses:ZLoss"),
    ),
    entry_points="model_foundry.losses",
)


def _metric(name: str, class_name: str, **known: bool) -> MetricSpec:
    return MetricSpec(
        name=name,
        target=f"model_foundry.objectives.metrics:{class_name}",
        **({"greater_is_better": False, "needs_logits": False} | known),
    )


def _of_written(name: str, class_name: str) -> MetricSpec:
    target = f"model_foundry.objectives.sequence_metrics:{class_name}"
    return MetricSpec(name=name, target=target, greater_is_better=True, needs_logits=False)


METRICS: Registry[MetricSpec] = Registry(
    "metric",
    (
        _metric("loss", "MeanLoss"),
        _metric("perplexity", "Perplexity"),
        _metric("bits_per_byte", "BitsPerByte", reads_text=True),
        _metric("accuracy", "Accuracy", greater_is_better=True, needs_logits=True),
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
        ),
        _metric("micro_f1", "MicroF1", greater_is_better=True, needs_logits=True),
    ),
    entry_points="model_foundry.metrics",
)

SOURCES: Registry[SourceSpec] = Registry(
    "source",
    (
        SourceSpec(name="files", target="model_foundry.data.sources.files:open_files"),
        SourceSpec(
            name="hub",
            target="model_foundry.data.sources.datasets_rows:HubRows",
            schema=HubSource,
        ),
        SourceSpec(
            name="disk",
            target="model_foundry.data.sources.datasets_rows:SavedRows",
            schema=DiskSource,
        ),
        SourceSpec(
            name="images",
            target="model_foundry.data.sources.image_folder:ImageFolder",
            schema=ImagesSource,
        ),
        SourceSpec(
            name="language",
            target="model_foundry.data.sources.synthetic_language:LanguageCorpus",
            schema=LanguageSource,
        ),
        SourceSpec(
            name="pairs",
            target="model_foundry.data.sources.paired_files:PairedFiles",
            schema=PairsSource,
        ),
    ),
    entry_points="model_foundry.sources",
)

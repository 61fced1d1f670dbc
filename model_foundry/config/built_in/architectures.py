"""The built-in architectures, and the heads that make models of other kinds of them."""

from model_foundry.config.backbone import BackboneConfig
from model_foundry.config.huggingface import HuggingFaceConfig, direction
from model_foundry.config.images import DenseConfig, PatchesConfig
from model_foundry.config.sections import BERTSpecificConfig, RNNModelConfig, TransformerModelConfig
from model_foundry.config.specs import ArchitectureSpec, HeadSpec
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
            other_kinds={
                "encoder_decoder": (
                    "model_foundry.architectures.huggingface_seq2seq:HuggingFaceSeq2Seq"
                )
            },
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
        ArchitectureSpec(
            name="transformer",
            target="model_foundry.architectures.native_encoder_decoder:TransformerEncoderDecoder",
            kind="encoder_decoder",
            section="backbone",
            schema=BackboneConfig,
            objectives=(),
            settings=("attn_implementation",),
        ),
        _native("transformer_decoder", "TransformerDecoder", "causal_lm"),
        _native("transformer_encoder", "TransformerEncoder", "masked_lm"),
        ArchitectureSpec(
            name="vit",
            target="model_foundry.architectures.vit:VisionTransformer",
            kind="image_classifier",
            section="backbone",
            schema=BackboneConfig,
            optional_sections={"vit": PatchesConfig},
            objectives=(),
            settings=("attn_implementation",),
        ),
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

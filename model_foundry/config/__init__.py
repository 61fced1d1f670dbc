"""Every setting of an experiment, its unit and its default, and how a file becomes one.

`sections` and `experiment` answer what can be set; `specs` lists the built-in architectures and
objectives; `laws` says what must hold between settings; `dialect` is the YAML that is read; `files`
loads and saves. No torch here.
"""

from model_foundry.config.experiment import (
    Attention,
    ExperimentConfig,
    MilestonesConfig,
    ModelConfig,
    Seeds,
    TrainingConfig,
)
from model_foundry.config.files import load_config, save_config, validate
from model_foundry.config.laws import settings_without_effect
from model_foundry.config.sections import (
    BERTSpecificConfig,
    DataConfig,
    HubSource,
    LanguageSample,
    LanguageSource,
    PositiveInt,
    RNNModelConfig,
    Section,
    Source,
    TokenizerConfig,
    TransformerModelConfig,
)
from model_foundry.config.specs import (
    ARCHITECTURES,
    OBJECTIVES,
    ArchitectureSpec,
    ObjectiveSpec,
)

__all__ = [
    "ARCHITECTURES",
    "OBJECTIVES",
    "ArchitectureSpec",
    "Attention",
    "BERTSpecificConfig",
    "DataConfig",
    "ExperimentConfig",
    "HubSource",
    "LanguageSample",
    "LanguageSource",
    "MilestonesConfig",
    "ModelConfig",
    "ObjectiveSpec",
    "PositiveInt",
    "RNNModelConfig",
    "Section",
    "Seeds",
    "Source",
    "TokenizerConfig",
    "TrainingConfig",
    "TransformerModelConfig",
    "load_config",
    "save_config",
    "settings_without_effect",
    "validate",
]

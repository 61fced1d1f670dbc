"""Every setting of an experiment, its unit and its default, and how a file becomes one.

`sections`, `data` and `experiment` answer what can be set; `specs` lists the built-in
architectures, objectives and interventions; `laws` says what must hold between settings, `effects`
which of them do nothing; `dialect` is the YAML that is read; `files` loads and saves. No torch.
"""

from model_foundry.config.data import (
    DataConfig,
    DiskSource,
    HubSource,
    InterventionStep,
    LanguageSample,
    LanguageSource,
    MixturePart,
    MixtureSource,
    PlainSource,
    Source,
)
from model_foundry.config.effects import settings_without_effect
from model_foundry.config.experiment import (
    Attention,
    DistributedConfig,
    ExperimentConfig,
    MilestonesConfig,
    ModelConfig,
    Seeds,
    SpeedConfig,
    TrainingConfig,
)
from model_foundry.config.files import experiment_of, load_config, save_config, validate
from model_foundry.config.sections import (
    BERTSpecificConfig,
    PositiveInt,
    RNNModelConfig,
    Section,
    TokenizerConfig,
    TransformerModelConfig,
)
from model_foundry.config.specs import (
    ARCHITECTURES,
    INTERVENTIONS,
    OBJECTIVES,
    ArchitectureSpec,
    InterventionSpec,
    ObjectiveSpec,
)

__all__ = [
    "ARCHITECTURES",
    "INTERVENTIONS",
    "OBJECTIVES",
    "ArchitectureSpec",
    "Attention",
    "BERTSpecificConfig",
    "DataConfig",
    "DiskSource",
    "DistributedConfig",
    "ExperimentConfig",
    "HubSource",
    "InterventionSpec",
    "InterventionStep",
    "LanguageSample",
    "LanguageSource",
    "MilestonesConfig",
    "MixturePart",
    "MixtureSource",
    "ModelConfig",
    "ObjectiveSpec",
    "PlainSource",
    "PositiveInt",
    "RNNModelConfig",
    "Section",
    "Seeds",
    "Source",
    "SpeedConfig",
    "TokenizerConfig",
    "TrainingConfig",
    "TransformerModelConfig",
    "experiment_of",
    "load_config",
    "save_config",
    "settings_without_effect",
    "validate",
]

"""The settings of an experiment, with units and defaults, and the loading of experiment files.

`sections`, `sources`, `data`, `model`, `training` and `experiment` define the settings; `built_in`
has the registries, whose entries `specs` describes; `section_checks` and `cross_checks` validate
combinations; `unused_settings` finds settings without effect; `on_resume` marks the settings that a
resumed run may change; `yaml_reader` reads YAML; `composition` joins files, `groups` and
`overrides` apply what the command line gives, and `interpolation` finds the values of `${...}`;
`validation` reports every fault, with the place that `origins` knows; `files` loads and saves. None
imports torch.
"""

from model_foundry.config.built_in import (
    ARCHITECTURES,
    HEADS,
    INTERVENTIONS,
    LOSSES,
    METRICS,
    OBJECTIVES,
    OPTIMIZERS,
    SCHEDULES,
    SOURCES,
    TRACKERS,
)
from model_foundry.config.data import (
    DataConfig,
    InterventionStep,
    MixtureSource,
    PlainSource,
    PluginSource,
    Source,
)
from model_foundry.config.experiment import ExperimentConfig
from model_foundry.config.files import experiment_of, load_config, read_saved_config, save_config
from model_foundry.config.huggingface import HuggingFaceConfig
from model_foundry.config.images import DenseConfig, ImageClassificationConfig
from model_foundry.config.model import Implementation, ModelConfig
from model_foundry.config.sections import (
    BERTSpecificConfig,
    PositiveInt,
    RNNModelConfig,
    Section,
    TokenizerConfig,
    TransformerModelConfig,
)
from model_foundry.config.sources import (
    DiskSource,
    HubSource,
    ImagesSource,
    LanguageSample,
    LanguageSource,
    PairsSource,
)
from model_foundry.config.specs import (
    ArchitectureSpec,
    HeadSpec,
    InterventionSpec,
    LossSpec,
    MetricSpec,
    ObjectiveSpec,
    OptimizerSpec,
    ScheduleSpec,
    SourceSpec,
    TrackerSpec,
    TransformSpec,
)
from model_foundry.config.tracking import SamplesConfig, TrackingConfig
from model_foundry.config.training import TrainingConfig
from model_foundry.config.training_execution import Attention
from model_foundry.config.training_sections import MilestonesConfig, SpeedConfig
from model_foundry.config.transforms import TRANSFORMS
from model_foundry.config.unused_settings import settings_without_effect
from model_foundry.config.validation import checked_again, validate

__all__ = [
    "ARCHITECTURES",
    "HEADS",
    "INTERVENTIONS",
    "LOSSES",
    "METRICS",
    "OBJECTIVES",
    "OPTIMIZERS",
    "SCHEDULES",
    "SOURCES",
    "TRACKERS",
    "TRANSFORMS",
    "ArchitectureSpec",
    "Attention",
    "BERTSpecificConfig",
    "DataConfig",
    "DenseConfig",
    "DiskSource",
    "ExperimentConfig",
    "HeadSpec",
    "HubSource",
    "HuggingFaceConfig",
    "ImageClassificationConfig",
    "ImagesSource",
    "Implementation",
    "InterventionSpec",
    "InterventionStep",
    "LanguageSample",
    "LanguageSource",
    "LossSpec",
    "MetricSpec",
    "MilestonesConfig",
    "MixtureSource",
    "ModelConfig",
    "ObjectiveSpec",
    "OptimizerSpec",
    "PairsSource",
    "PlainSource",
    "PluginSource",
    "PositiveInt",
    "RNNModelConfig",
    "SamplesConfig",
    "ScheduleSpec",
    "Section",
    "Source",
    "SourceSpec",
    "SpeedConfig",
    "TokenizerConfig",
    "TrackerSpec",
    "TrackingConfig",
    "TrainingConfig",
    "TransformSpec",
    "TransformerModelConfig",
    "checked_again",
    "experiment_of",
    "load_config",
    "read_saved_config",
    "save_config",
    "settings_without_effect",
    "validate",
]

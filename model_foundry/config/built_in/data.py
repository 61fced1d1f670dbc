"""The built-in sources of data, and the interventions on texts."""

from model_foundry.config.sources import (
    DiskSource,
    HubSource,
    ImagesSource,
    LanguageSource,
    PairsSource,
)
from model_foundry.config.specs import InterventionSpec, SourceSpec
from model_foundry.registry import Registry

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

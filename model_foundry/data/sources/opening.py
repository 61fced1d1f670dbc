"""Opening of the sources of a configuration."""

from model_foundry.config import DiskSource, HubSource, LanguageSource, PlainSource
from model_foundry.data.sources.base import Reading, Source
from model_foundry.data.sources.datasets_rows import HubRows, SavedRows
from model_foundry.data.sources.files import open_files
from model_foundry.data.sources.synthetic_language import LanguageCorpus


def open_source(source: PlainSource, reading: Reading) -> Source:
    """Open a source without reading its text.

    Raises:
        DataError: the source does not exist.
    """
    if isinstance(source, LanguageSource):
        return LanguageCorpus(source.language)
    if isinstance(source, HubSource):
        return HubRows(source, reading)
    if isinstance(source, DiskSource):
        return SavedRows(source, reading)
    return open_files(source, reading)

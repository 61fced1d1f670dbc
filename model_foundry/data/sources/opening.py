"""Opening of the sources of a configuration."""

from model_foundry.config import SOURCES, PlainSource, PluginSource
from model_foundry.data.sources.base import Reading, Source


def open_source(source: PlainSource, reading: Reading) -> Source:
    """Open a source without reading its text.

    Raises:
        DataError: the source does not exist.
    """
    kind = "files" if isinstance(source, str | list) else source.kind
    settings = source.settings if isinstance(source, PluginSource) else source
    opened: Source = SOURCES.load(kind)(settings, reading)
    return opened

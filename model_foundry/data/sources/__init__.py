"""Sources of text and records: files of any kind, data sets, the built-in language, plugins' own.

One file a kind.
"""

from model_foundry.data.sources.base import Reading, Source
from model_foundry.data.sources.records import Records
from model_foundry.data.sources.registration import register_source
from model_foundry.data.sources.row_source import RowSource

__all__ = ["Reading", "Records", "RowSource", "Source", "register_source"]

"""Figures of a prepared corpus: documents, tokens and their use, and what was left out.

Streams are read in parts, so that memory does not grow with the corpus. Nothing is printed or
written here.
"""

from model_foundry.corpus_report.figures import CorpusReport, SplitFigures
from model_foundry.corpus_report.report import build_report

__all__ = ["CorpusReport", "SplitFigures", "build_report"]

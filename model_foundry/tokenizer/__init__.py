"""Tokenizers: one file per kind, a factory, loading and saving."""

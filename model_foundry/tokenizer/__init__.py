"""Tokenizers: one file a kind, a factory over them, and the encoding of corpora."""

"""Limits beyond which figures do not compare. No torch."""

MOST_UNKNOWN = 0.01
"""Share of a text, in bytes, that may be unknown to a tokenizer."""

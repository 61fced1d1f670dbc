"""Measurements of a model: one file each. They take a model, a tokenizer and data, never a run."""

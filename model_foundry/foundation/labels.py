"""The label of a position that is not to be predicted, as torch and transformers write it."""

IGNORE_INDEX = -100

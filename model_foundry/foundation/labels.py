"""The label that torch and transformers ignore in the loss."""

IGNORE_INDEX = -100

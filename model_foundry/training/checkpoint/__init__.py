"""Checkpoints: their files, the choice of one to resume from, and which are kept."""

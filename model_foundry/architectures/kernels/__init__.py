"""Faster ways to compute the same: attention, activations, matrix products, the loss."""

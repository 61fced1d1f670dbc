"""Rows of token streams, their order, and batches of them."""

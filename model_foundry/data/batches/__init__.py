"""Rows cut from token streams, their order, and the batches that training reads."""

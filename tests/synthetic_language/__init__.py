"""Tests of the artificial language."""

"""A step whose code a language model writes once and a person approves."""

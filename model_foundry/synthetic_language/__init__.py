"""The built-in artificial language: a grammar with known sentence probabilities.

A corpus drawn from it has a known entropy, so a model's loss can be compared with the best possible
one, and its minimal pairs are right by construction.
"""

from model_foundry.synthetic_language.entropy import Entropy
from model_foundry.synthetic_language.language import Language, load_language

__all__ = ["Entropy", "Language", "load_language"]

"""The steps of one split applied to a corpus, as in the data pipeline."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from model_foundry.config import InterventionStep
from model_foundry.interventions.chain import Applied, Chain


def chain_of(*steps: dict[str, Any], split: Any = "train", seed: int = 7) -> Chain:
    return Chain.of([InterventionStep(**step) for step in steps], split, seed)


def planned(chain: Chain, texts: Sequence[str], *, batch: int = 3) -> Chain:
    """Survey the texts in batches, and plan the steps."""
    documents = list(enumerate(texts))
    cuts = [documents[at : at + batch] for at in range(0, len(documents), batch)]
    for position in chain.needs_surveys():
        parts = [chain.survey(position, cut) for cut in cuts]
        surveys, alive = (np.concatenate(part) for part in zip(*parts, strict=True))
        chain.plan(position, surveys, alive)
    return chain


def taken(*steps: dict[str, Any], texts: Sequence[str], seed: int = 7) -> Applied:
    chain = planned(chain_of(*steps, seed=seed), texts)
    return chain.apply(list(enumerate(texts)))


def texts_after(*steps: dict[str, Any], texts: Sequence[str], seed: int = 7) -> list[str]:
    return [text for _, text in taken(*steps, texts=texts, seed=seed).texts]

"""Inputs of the contenders of one shape: the same tokens, from one corpus and one tokenizer.

    python -m benchmarks.workload DIRECTORY [--text FILE] [--model]

DIRECTORY holds `shape.json`. This runs in a separate process, so that the measuring one stays
small: the peak memory of a child counts from that of its parent.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import yaml

from benchmarks.shapes import Shape, experiment
from benchmarks.texts import made_up_words
from model_foundry.config import validate
from model_foundry.model import create_model
from model_foundry.objectives.preparation import prepare

WORDS: Final = 300_000


def write_corpus(place: Path, text: Path | None, *, vocabulary: int) -> None:
    """Write the corpus: a text of the caller's, or words that fill the vocabulary."""
    if text is not None:
        place.write_text(text.read_text(encoding="utf-8"), encoding="utf-8")
        return
    with place.open("w", encoding="utf-8") as file:
        file.writelines(made_up_words(WORDS, vocabulary=vocabulary))


def tokenizer_for(shape: Shape, text: Path | None) -> dict[str, object]:
    """Return the tokenizer section whose vocabulary is closest to that of the shape."""
    if text is None:
        return {"tokenizer_type": "word", "vocab_size": shape.vocabulary}
    if shape.vocabulary < 300:  # the bytes alone are 256
        return {"tokenizer_type": "character"}
    return {"tokenizer_type": "bpe", "vocab_size": shape.vocabulary}


def make_workload(directory: Path, text: Path | None, *, with_model: bool) -> None:
    """Make corpus, tokenizer, experiment and the tokens for other loops.

    Args:
        text: file to train on; None: made-up words.
        with_model: save a model with random weights as well.
    """
    shape_file = directory / "shape.json"
    shape = Shape(**json.loads(shape_file.read_text(encoding="utf-8")))
    write_corpus(directory / "corpus.txt", text, vocabulary=shape.vocabulary)
    settings = experiment(shape, directory) | {"tokenizer": tokenizer_for(shape, text)}
    prepared = prepare(validate(settings, "benchmark"))
    prepared.tokenizer.save_pretrained(directory / "tokenizer")
    settings["tokenizer"] = {"path": str(directory / "tokenizer")}
    config = validate(settings, "benchmark")
    prepare(config)  # so that no contender finds an empty cache
    if with_model:
        model = create_model(config, tokenizer=prepared.tokenizer)
        model.save_pretrained(directory / "model")
    (directory / "experiment.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    np.save(directory / "tokens.npy", np.asarray(prepared.train.stream.tokens, dtype=np.int64))
    shape = replace(shape, vocabulary=len(prepared.tokenizer))  # a small text yields fewer
    shape_file.write_text(json.dumps(shape.as_json()), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--model", action="store_true")
    given = parser.parse_args()
    make_workload(given.directory, given.text, with_model=given.model)

"""Commands that other programs have, or that people guess, and what is to be said of them here.

A table and nothing else. None of these is a command of ours.
"""

from typing import Final

_MEASURED = "is not there yet; training measures the final model, and data.test one more text"
_NOT_YET = "is not there yet"

FOREIGN: Final[dict[str, str]] = {
    "evaluate": _MEASURED,
    "evaluation": _MEASURED,
    "eval": _MEASURED,
    "score": _MEASURED,
    "surprisal": _NOT_YET,
    "perplexity": _MEASURED,
    "compare": _NOT_YET,
    "sweep": _NOT_YET,
    "plan": _NOT_YET,
    "export": "is not needed: the directory `model` of a run is one that transformers loads",
    "convert": "is not needed: the directory `model` of a run is one that transformers loads",
    "push": "is not there: nothing is uploaded; the directory `model` of a run can be",
    "finetune": "is not there: models are trained from scratch; transformers tunes a saved one",
    "fine-tune": "is not there: models are trained from scratch; transformers tunes a saved one",
    "resume": "is `foundry train` with the same experiment: it goes on where it stopped",
    "continue": "is `foundry train` with the same experiment, or `foundry generate` for a text",
    "run": "is `foundry train`",
    "fit": "is `foundry train`",
    "pretrain": "is `foundry train`",
    "start": "is `foundry train`",
    "test": "is `foundry doctor` for this machine, and `foundry validate` for an experiment",
    "check": "is `foundry validate`",
    "lint": "is `foundry validate`",
    "tokenize": "is `foundry prepare`",
    "encode": "is `foundry prepare`",
    "preprocess": "is `foundry prepare`",
    "tokenizer": "is `foundry train-tokenizer`",
    "train_tokenizer": "is `foundry train-tokenizer`",
    "stats": "is `foundry data`",
    "inspect": "is `foundry data`",
    "sample": "is `foundry generate`",
    "chat": "is `foundry generate`",
    "predict": "is `foundry generate`",
    "inference": "is `foundry generate`",
    "profile": "is `foundry train --profile`",
    "version": "is `foundry --version`",
    "ls": "is `foundry list`",
    "show": "is `foundry list`",
    "init": "is not there; configs/ has experiments to begin from",
    "new": "is not there; configs/ has experiments to begin from",
}
"""The end of a sentence that begins with the command."""

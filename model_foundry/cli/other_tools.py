"""Commands of other programs, or that people guess, each with a hint. None is a command of ours."""

from typing import Final

_HINTS = {
    "it does not exist yet; training evaluates the final model, and one more text with data.test": (
        "evaluate evaluation eval score perplexity"
    ),
    "it does not exist yet": "surprisal compare sweep plan",
    "not needed: transformers loads the directory `model` of a run": "export convert",
    "nothing is uploaded here; upload the directory `model` of a run yourself": "push",
    "name the saved model in model.init_from, and use `foundry train`": "finetune fine-tune",
    "use `foundry train` with the same experiment: it resumes": "resume",
    "use `foundry train` to resume a run, or `foundry generate` to continue a text": "continue",
    "use `foundry train`": "run fit pretrain start",
    "use `foundry doctor` for this machine, or `foundry validate` for an experiment": "test",
    "use `foundry validate`": "check lint",
    "use `foundry prepare`": "tokenize encode preprocess",
    "use `foundry train-tokenizer`": "tokenizer train_tokenizer",
    "use `foundry data`": "stats inspect",
    "use `foundry generate`": "sample chat predict inference",
    "use `foundry train --profile`": "profile",
    "use `foundry --version`": "version",
    "use `foundry list`": "ls",
    "copy one of the experiments in configs/": "init new",
}
FOREIGN: Final = {name: hint for hint, names in _HINTS.items() for name in names.split()}

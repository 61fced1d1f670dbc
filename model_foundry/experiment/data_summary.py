"""The texts of a run in figures, as `evaluation/data.json` keeps them."""

from dataclasses import asdict
from typing import Any

from model_foundry.config import ExperimentConfig
from model_foundry.data.batches.pass_counts import pass_over
from model_foundry.experiment.prepare_data import Prepared
from model_foundry.experiment.run_length import rows_of_a_pass


def data_summary(config: ExperimentConfig, prepared: Prepared) -> dict[str, Any]:
    """Return what a run reads of each of its texts, as plain data; nothing is counted anew.

    Raises:
        DataError: there are fewer blocks than a step of streams needs.
    """
    read = {"train": rows_of_a_pass(config, len(prepared.train))}
    texts = {"train": prepared.train, "validation": prepared.validation, "test": prepared.test}
    return {
        name: {
            "documents": rows.stream.documents,
            "tokens": asdict(pass_over(rows, number=read.get(name, len(rows)))),
            **rows.stream.facts.as_json(),
        }
        for name, rows in texts.items()
        if rows is not None
    }

"""Print the figures that a tracker has of a run, as JSON: a list of [name, step, value].

    python read_back.py TRACKER DIRECTORY

Read by the tracker's own library; W&B's has no reader of its offline files any more, so their
records (a log of LevelDB, https://github.com/google/leveldb/blob/main/doc/log_format.md) are taken
apart here. Where a figure of a step was logged again, the last one is what the tracker shows.
"""

import json
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Shown = Iterator[tuple[str, int, float]]
BLOCK, HEADER = 32768, 7  # bytes; of a record: checksum, length, kind
WHOLE, LAST = (1, 4), 4  # kinds of records: one that is complete or the last part of one


def of_tensorboard(directory: Path) -> Shown:
    """Yield what TensorBoard would draw."""
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    events = EventAccumulator(str(directory / "run" / "tensorboard"), {SCALARS: 0}).Reload()
    for name in events.Tags()["scalars"]:
        yield from ((name, event.step, event.value) for event in events.Scalars(name))
    assert events.Tags()["distributions"], "there are no histograms"
    assert "samples/0/text_summary" in events.Tags()["tensors"], "there are no samples"


def of_mlflow(directory: Path) -> Shown:
    """Yield the metrics of the one run; the latest time of a step holds."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{directory / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("model-foundry")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED", run.info.status
    assert run.data.params["training.max_steps"] == "12"
    for name in run.data.metrics:
        history = client.get_metric_history(run.info.run_id, name)
        latest = {each.step: each.value for each in sorted(history, key=lambda m: m.timestamp)}
        yield from ((name, step, value) for step, value in latest.items())
    assert client.list_artifacts(run.info.run_id, "samples/0"), "there are no samples"


def of_wandb(directory: Path) -> Shown:
    """Yield the history of all offline files of the one run, the last of each step."""
    from wandb.proto.wandb_internal_pb2 import Record

    latest: dict[tuple[str, int], float] = {}
    files = sorted((directory / "run" / "wandb").glob("offline-run-*/*.wandb"))
    assert len({file.name for file in files}) == 1, "the attempts have several ids"
    for file in files:
        for data in _records(file.read_bytes()):
            record = Record.FromString(data)
            if record.WhichOneof("record_type") != "history":
                continue
            items = {
                item.key or "/".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            latest |= {
                (name, items["step"]): value
                for name, value in items.items()
                if "/" in name and isinstance(value, int | float)
            }
    yield from ((name, step, value) for (name, step), value in latest.items())


def _records(data: bytes) -> Iterator[bytes]:
    """Yield the records of a LevelDB log; a killed process may have cut off the last."""
    at, parts = HEADER, b""  # the file begins with a header of the same size
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        part = data[at + HEADER : at + HEADER + length]
        if kind == 0 or len(part) < length:
            return
        at, parts = at + HEADER + length, parts + part
        if kind in WHOLE:
            yield parts
            parts = b""


def of_trackio(directory: Path) -> Shown:
    """Yield the logs of the one run."""
    import trackio

    (run,) = trackio.Api().runs("model-foundry")
    from trackio.sqlite_storage import SQLiteStorage

    for row in SQLiteStorage.get_logs("model-foundry", run.name, run_id=run.id):
        figures: dict[str, Any] = {name: value for name, value in row.items() if "/" in name}
        yield from (
            (name, row["step"], value)
            for name, value in figures.items()
            if isinstance(value, int | float)
        )


READERS: dict[str, Callable[[Path], Shown]] = {
    "tensorboard": of_tensorboard,
    "mlflow": of_mlflow,
    "wandb": of_wandb,
    "trackio": of_trackio,
}


if __name__ == "__main__":
    print(json.dumps(list(READERS[sys.argv[1]](Path(sys.argv[2])))))

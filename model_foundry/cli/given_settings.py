"""The settings that were given, each with the line or the override that it is from."""

from collections.abc import Iterator

from model_foundry.config import ExperimentConfig
from model_foundry.config.yaml_reader import dump_line
from model_foundry.foundation.messages import printable

WIDTH = 80


def given_settings(config: ExperimentConfig) -> Iterator[str]:
    """Yield a line for each setting of the file, by line, then for each override."""
    given = [each for each in config.with_origins() if each[2].kind != "default"]
    files = dict.fromkeys(origin.file for _, _, origin in given if origin.file)
    named = printable(" and ".join(files))
    yield f"settings by line of {named}; all others have their defaults"
    for name, value, origin in sorted(given, key=lambda each: (each[2].kind, each[2].line)):
        place = str(origin.line or origin.kind)
        line = f"{place:>8}  {dump_line(name, value)}"
        yield line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."

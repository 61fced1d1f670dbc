"""The settings that were given, each with the line or the override that it is from."""

from collections.abc import Iterator

from model_foundry.config import ExperimentConfig
from model_foundry.config.origins import Origin
from model_foundry.config.resolved import place_of
from model_foundry.config.unexpanded import unexpanded
from model_foundry.config.yaml_reader import dump_line
from model_foundry.foundation.messages import printable

WIDTH = 80
KINDS = ("file", "group", "override", "program")  # in the order in which they are shown


def given_settings(config: ExperimentConfig) -> Iterator[str]:
    """Yield a line for each setting of the files, by file and line, then for each override."""
    given = [each for each in config.with_origins() if each[2].kind != "default"]
    files = list(dict.fromkeys(origin.file for _, _, origin in given if origin.file))
    named = files[0] if len(files) == 1 else f"{len(files)} files"
    yield f"settings by line of {printable(named)}; all others have their defaults"
    environment = config.origins.environment

    def order(each: tuple[str, object, Origin]) -> tuple[int, int, int]:
        origin = each[2]
        place = files.index(origin.file) if origin.file else 0
        return KINDS.index(origin.kind), place, origin.line

    given.sort(key=order)
    origins = [origin for _, _, origin in given]
    places = [
        printable(place_of(each)) if len(files) > 1 else str(each.line or each.kind)
        for each in origins
    ]
    width = max(8, *map(len, places))
    for place, (name, value, _) in zip(places, given, strict=True):
        line = f"{place:>{width}}  {dump_line(name, unexpanded(value, environment, name=name))}"
        yield line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."

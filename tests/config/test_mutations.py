"""Experiment files changed at random, as data and as bytes: each loads or is refused plainly.

What is changed follows from a number, which a failure names: `mutated(number)` is the file again.
"""

import copy
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_foundry.config import (
    ExperimentConfig,
    LanguageSource,
    Section,
    load_config,
    save_config,
    settings_without_effect,
)
from model_foundry.config.yaml_reader import dump_yaml, parse_yaml
from model_foundry.errors import ConfigError, exit_code_of
from model_foundry.foundation.messages import LONGEST_LINE
from tests.config.conftest import Foundry
from tests.experiments import MODELS, tiny_experiment

pytestmark = pytest.mark.slow

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
TINY = [save_config(tiny_experiment(kind, Path("runs"))).encode() for kind in sorted(MODELS)]
BASES = [path.read_bytes() for path in CONFIGS] + TINY

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 2**31 - 1, 2**31, 2**63, 10**99, -(10**30)),
    *(0.0, -0.0, 0.5, 1.0, 1e-300, 1e308, float("inf"), float("-inf"), float("nan")),
    *("", " ", "8", "1e-3", "true", "~no-one/x", "$HOME", "a/b", "x" * 300, "gpt2", "masked_lm"),
    *("ä", "日本語", "\u202egpj", "a\nb", "\x1b[31m", "\0", "\ufeff", "\u2028", "👩‍👩"),
    *([], [[]], ["a", 1], {}, {"a": {"b": {"c": 1}}}, {"hub": 1}, {"language": {"sentences": 0}}),
)
LINES = (
    *("", "#", "---", "...", "- a", "\tx: 1", "x: 1", "seed: 1", "training: 5", ": :", "? a"),
    *("a: &a 1", "b: *a", "<<: {a: 1}", "!!python/name:os.system", "%YAML 3.0", "%TAG ! x", "'"),
    *('"\\UFFFFFFFF": 1', '"\\ud800": 1', "a: |", "a: >+9", "{", "[", "a: {b: [", "\x85", "\0"),
)


# --- changes of the data --------------------------------------------------------------------------


def places(value: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield every (mapping, key) of nested mappings."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield value, key
            yield from places(below)


def misspelt(draw: random.Random, text: str) -> str:
    at = draw.randrange(len(text) + 1)
    return draw.choice(
        [text[:at] + text[at + 1 :], text[:at] + text[at : at + 1] + text[at:], text.upper()]
    )


def change_data(draw: random.Random, raw: dict[str, Any]) -> None:
    """Change one thing somewhere in a mapping."""
    mapping, key = draw.choice(list(places(raw)))
    other, other_key = draw.choice(list(places(raw)))
    value = mapping[key]
    match draw.randrange(9):
        case 0 | 1 | 2:
            mapping[key] = copy.deepcopy(draw.choice(VALUES))
        case 3:
            del mapping[key]
        case 4:
            mapping[misspelt(draw, key)] = mapping.pop(key)
        case 5:
            mapping[draw.choice(("epochs", "rnn", "path", "x", "a\nb", "\x1b[0m", ""))] = value
        case 6:  # of another type
            mapping[key] = draw.choice([str(value), [value], {key: value}, {"x": value}])
        case 7:
            mapping[key] = copy.deepcopy(other[other_key])
        case _:
            for _ in range(draw.choice([3, 30])):
                value = draw.choice([[value], {key: value}])
            mapping[key] = value


# --- changes of the text --------------------------------------------------------------------------


def change_text(draw: random.Random, content: bytes) -> bytes:
    """Change some bytes or one line."""
    lines = content.split(b"\n")
    at = draw.randrange(len(lines))
    match draw.randrange(8):
        case 0:
            return content[: draw.randrange(len(content) + 1)]
        case 1:
            flipped = bytearray(content)
            for _ in range(draw.choice([1, 1, 3, 20])):
                if flipped:
                    flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
            return bytes(flipped)
        case 2:
            here = draw.randrange(len(content) + 1)
            character = draw.choice("{}[],:&*!|>'\"%@`#-? \t\n\r\0\x7f\u0085\u200b\ufffe👩0")
            return content[:here] + character.encode() + content[here:]
        case 3:
            lines.insert(at, draw.choice(LINES).encode())
        case 4:
            lines.insert(at, lines[at])
        case 5:
            del lines[at]
        case 6:
            lines[at] = b" " * draw.randrange(1, 5) + lines[at]
        case _:
            key, colon, _ = lines[at].partition(b":")
            lines[at] = key + colon + b" " + draw.choice(LINES).encode()
    return b"\n".join(lines)


def mutated(number: int) -> bytes:
    """Return the experiment file that belongs to a number."""
    draw = random.Random(number)
    content: bytes = draw.choice(BASES)
    if draw.random() < 0.6:
        raw = parse_yaml(content.decode(), "base")
        for _ in range(draw.choice([1, 1, 2, 5])):
            if raw:
                change_data(draw, raw)
        content = dump_yaml(raw).encode()
    if draw.random() < 0.5:
        for _ in range(draw.choice([1, 1, 2, 5])):
            content = change_text(draw, content)
    return content


# --- messages -------------------------------------------------------------------------------------


def all_sections(root: type[Section] = Section) -> list[type[Section]]:
    return [root, *(below for section in root.__subclasses__() for below in all_sections(section))]


INTERNAL = re.compile(
    r"Traceback|File \"|pydantic|https?://|[Vv]alue error, |<class |object at 0x|NoneType|PosixPath"
    r"|(?<!got ')\b(str|dict|int|bool)\b|C int|\bchr\(|Error\b|"
    + "|".join(rf"\b{section.__name__}\b" for section in all_sections())
)


def faults_of(message: str, source: str) -> list[str]:
    """Return the faults in the wording of a refusal, which names `source` on each line."""
    wrong = [] if message else ["nothing is said"]
    for line in message.split("\n"):
        if not line.startswith(source) or len(line) <= len(source) + 5:
            wrong.append(f"does not begin with the file: {line!r}")
        if not line.isprintable():
            wrong.append(f"would print control characters: {line!r}")
        if len(line) > LONGEST_LINE:
            wrong.append(f"is {len(line)} characters long: {line!r}")
        if found := INTERNAL.search(line):
            wrong.append(f"says {found.group()!r}: {line!r}")
    return wrong


def outcome(path: Path) -> tuple[int, list[str]]:
    """Load a file as `foundry validate` does; return exit code and faults of the message."""
    try:
        config: ExperimentConfig = load_config(path)
        for line in settings_without_effect(config):
            assert line.isprintable()
        path.with_name("again.yaml").write_text(save_config(config), encoding="utf-8")
        assert load_config(path.with_name("again.yaml")) == config
        path.with_name("again.yaml").unlink()
    except Exception as error:
        code = exit_code_of(error)
        said = f"{type(error).__name__}: {error}" if code == 9 else str(error)
        return code, faults_of(said, str(path))
    return 0, []


def hunt(numbers: range, directory: Path) -> tuple[list[str], dict[int, int]]:
    """Return a description of each wrong ending, and the number of endings by exit code."""
    path, wrong, codes = directory / "file.yaml", [], {0: 0, 2: 0}
    for number in numbers:
        content = mutated(number)
        path.write_bytes(content)
        code, faults = outcome(path)
        codes[code] = codes.get(code, 0) + 1
        if code not in (0, 2) or faults:
            account = "\n  ".join([f"mutated({number}) exits {code}", *faults])
            wrong.append(f"{account}\n{content!r}")
    return wrong, codes


def test_a_mutated_file_loads_or_is_refused_in_plain_words(tmp_path: Path) -> None:
    wrong, codes = hunt(range(1000), tmp_path)
    assert not wrong, "\n\n".join(wrong)
    assert codes[0] > 100 and codes[2] > 500, codes
    assert [found.name for found in tmp_path.iterdir()] == ["file.yaml"]


def samples_little(path: Path) -> bool:
    """Return True if a file is refused, or asks for no corpus that would take minutes to make.

    Two billion sentences of the built-in language are too many for a test, and no mistake.
    """
    try:
        data = load_config(path).data
    except ConfigError:
        return True
    sources = (data.train, data.validation, data.test)
    return all(s.language.sentences <= 1000 for s in sources if isinstance(s, LanguageSource))


def test_the_command_ends_as_the_file_deserves_and_writes_nothing(
    foundry: Foundry, here: Path
) -> None:
    path, codes, numbers = here / "file.yaml", set(), iter(range(10_000, 20_000))
    for _ in range(150):
        number = next(numbers)
        path.write_bytes(mutated(number))
        if not samples_little(path):
            continue
        before = sorted(here.rglob("*"))
        code, out, err = foundry("validate", "file.yaml")
        account = f"mutated({number}) exits {code}\n{out}{err}\n{path.read_bytes()!r}"
        assert code in (0, 2, 3), account
        assert "Traceback" not in err and ("no faults found" in out) is (code == 0), account
        assert all(line.isprintable() for line in err.splitlines()), account
        assert sorted(here.rglob("*")) == before, account
        codes.add(code)
    assert codes == {0, 2, 3}

"""The YAML that experiment files are written in, read and written.

Nearly its core schema: only true and false are booleans and 1e-3 is a float, while dates, 3:20,
0x10 and 010 are text. Duplicate keys, aliases and tags are refused.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from model_foundry.config.yaml_hints import explain
from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import one_line, short_repr

MOST_VALUES = 10_000  # a mapping, a list, a key and a scalar are one each; PyYAML is slow
MOST_DIGITS = 100  # of an integer
LONGEST_PATH = 1_000  # characters of a dotted name below which places are kept
Places = dict[str, tuple[int, int]]
"""Lines and columns, from 1 on, of keys and entries of lists, by dotted name."""
SURROGATE = re.compile("[\ud800-\udfff]")


def _error(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


class _Loader(yaml.SafeLoader):
    """The scalars named above, without aliases and tags."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - how PyYAML declares it
    values = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.values += 1
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _error("aliases are not read here; put text in quotes", event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise _error("tags are not read here; put text in quotes", event.start_mark)
        if self.values > MOST_VALUES:
            raise _error(f"more than {MOST_VALUES:,} values", event.start_mark)
        return super().compose_node(parent, index)

    def scan_flow_scalar_non_spaces(self, double: bool, start_mark: Any) -> Any:
        try:
            return super().scan_flow_scalar_non_spaces(double, start_mark)
        except (ValueError, OverflowError) as error:  # of chr, for "\UFFFFFFFF"
            raise _error("the escape names no character", self.get_mark()) from error

    def construct_scalar(self, node: Any) -> Any:
        text = super().construct_scalar(node)
        if SURROGATE.search(text):  # from an escape; no file name could hold it
            raise _error("half of a surrogate pair is no text", node.start_mark)
        return text

    def construct_integer(self, node: Any) -> int:
        if len(node.value) > MOST_DIGITS:  # of some thousands, int() complains in its own words
            raise _error(f"an integer of more than {MOST_DIGITS} digits", node.start_mark)
        return int(node.value)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                law = f"key {short_repr(key)} is not text; put it in quotes"
                raise _error(law, key_node.start_mark)
            if key in seen:
                law = f"duplicate key {short_repr(key)}, as in line {seen[key]}; keep one of them"
                raise _error(law, key_node.start_mark)
            seen[key] = key_node.start_mark.line + 1
        return super().construct_mapping(node, deep)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_integer)


class _Dumper(yaml.SafeDumper):
    """Quotes the text that `_Loader` or a YAML 1.1 reader would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.Node:
        # PyYAML writes NEL and the like unescaped by default, and reads them as newlines
        style = None if text.isprintable() else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    for _reader_or_writer in (_Loader, _Dumper):
        _reader_or_writer.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first)
        )


def parse_yaml(text: str, source: str) -> Any:
    """Parse YAML text.

    Raises:
        ConfigError: it is not YAML, or uses aliases or tags; the message has line and column.
    """
    return parse_with_places(text, source)[0]


def parse_with_places(text: str, source: str) -> tuple[Any, Places]:
    """Parse YAML text; return the places of its keys too.

    Raises:
        ConfigError: as `parse_yaml` does.
    """
    place = source
    cause: Exception
    try:
        return _load(text)
    except yaml.MarkedYAMLError as error:
        row, column, problem = explain(text, error)
        cause, place = error, f"{source}:{row + 1}:{column + 1}"
    except yaml.reader.ReaderError as error:
        row = text.count("\n", 0, error.position) + 1
        place = f"{source}:{row}:{error.position - text.rfind(chr(10), 0, error.position)}"
        cause, problem = error, f"unacceptable character #x{error.character:04x}"
    except RecursionError as error:
        cause, problem = error, "nested too deeply"
    raise ConfigError(one_line(f"{place}: not valid YAML: {problem}")) from cause


def _load(text: str) -> tuple[Any, Places]:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, {}
        value = loader.construct_document(node)
        return value, dict(_places(node, ""))
    finally:
        loader.dispose()


def _places(node: yaml.Node, prefix: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield (dotted name, place) of the keys of mappings and the entries of lists."""
    if len(prefix) > LONGEST_PATH:  # of no setting; the names of thousands would fill the memory
        return
    if isinstance(node, yaml.MappingNode):
        below = [(str(key.value), key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        below = [(str(number), value, value) for number, value in enumerate(node.value)]
    else:
        return
    for name, marked, value in below:
        mark = marked.start_mark
        yield f"{prefix}{name}", (mark.line + 1, mark.column + 1)
        yield from _places(value, f"{prefix}{name}.")


def dump_yaml(plain: Any) -> str:
    """Return the text that `parse_yaml` reads as `plain`, which consists of JSON types."""
    return str(yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def dump_line(key: str, plain: Any) -> str:
    """Return `key: value` on one line; the value consists of JSON types."""
    options: Any = {"default_flow_style": True, "allow_unicode": True, "width": math.inf}
    text = yaml.dump({key: plain}, Dumper=_Dumper, sort_keys=False, **options)
    return str(text).strip()[1:-1]


def dump_scalar(value: Any) -> str:
    """Return the text that `parse_yaml` reads as a number, a switch, null or text."""
    return dump_line("key", value).removeprefix("key: ")

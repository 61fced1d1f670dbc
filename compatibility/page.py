"""The tables of docs/compatibility.md, from the findings."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from compatibility.exports import ARCHITECTURES, PAIRS

BASIC: Final = ("loads", "ids", "logits", "generation")
FURTHER: Final = (
    "limits",
    "AutoTokenizer asks nothing",
    "AutoProcessor",
    "text-generation",
    "fill-mask",
    "feature-extraction",
)
TOOLS: Final = ("Trainer, classification", "Trainer, language", "LoRA", "torch.export", "ONNX")
KNOWN: Final = {"AutoTokenizer asks nothing"}
"""Failures of transformers 5 with any directory, which the page explains: no fault of ours."""
TABLES: Final = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Found = Mapping[str, Mapping[str, Any]]
"""Findings, by the name of the set of libraries."""


def key(architecture: str, tokenizer: str) -> str:
    """Return the name of the directory of an export."""
    return f"{architecture}, {tokenizer}".replace(" ", "_")


def is_good(result: str) -> bool:
    """Return whether a check passed, or does not apply."""
    return result in ("yes", "-")


def cell(result: Mapping[str, str], names: Iterable[str]) -> str:
    """Return "yes", or "no" with the names of the checks that failed or were not made."""
    bad = [name for name in names if not is_good(result.get(name, "not tried"))]
    if not bad:
        return "yes"
    return "no: it does not load" if "loads" in bad else f"no: {', '.join(bad)}"


def basic_table(found: Found) -> str:
    """Return a row for each architecture and tokenizer, with a cell for each version."""
    rows = [["", "", *(each["transformers"] for each in found.values())]]
    for architecture, tokenizer in PAIRS:
        place = key(architecture, tokenizer)
        cells = [cell(each["exports"].get(place, {}), BASIC) for each in found.values()]
        rows.append([architecture, tokenizer, *cells])
    return table(rows)


def further_table(found: Found) -> str:
    """Return a row for each architecture: the versions in which all tokenizers do each thing."""
    rows = [["", *FURTHER]]
    for architecture in ARCHITECTURES:
        cells = [_versions(found, architecture, name) for name in FURTHER]
        rows.append([architecture, *cells])
    return table(rows)


def _versions(found: Found, architecture: str, name: str) -> str:
    result = {
        each["transformers"]: {
            each["exports"].get(key(*pair), {}).get(name, "not tried")
            for pair in PAIRS
            if pair[0] == architecture
        }
        for each in found.values()
    }
    if all(answers == {"-"} for answers in result.values()):
        return "-"
    bad = [version for version, answers in result.items() if not all(map(is_good, answers))]
    return f"not in {', '.join(bad)}" if bad else "yes"


def tools_table(used: Found) -> str:
    """Return a row for each architecture and version, with a cell for each tool."""
    rows = [["", "transformers", *TOOLS]]
    for each in used.values():
        for place, result in each["exports"].items():
            name = place.partition(",")[0].replace("_", " ")
            cells = [result[tool].split(":")[0] for tool in TOOLS]
            rows.append([name, each["transformers"], *cells])
    return table(rows)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as Markdown; the first is the head."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]]) + "\n"


def fill(page: str, found: Found, used: Found) -> str:
    """Return a page with new tables between the marks; without findings they stay."""
    made = {}
    if found:
        made |= {"basic": basic_table(found), "further": further_table(found)}
    if used:
        made["tools"] = tools_table(used)
    return TABLES.sub(lambda m: m[1] + made[m[2]] + m[3] if m[2] in made else m[0], page)


def faults(found: Found) -> list[str]:
    """Return a line for each failure that is not `KNOWN`."""
    return [line for name, line in _answers(found) if name not in KNOWN]


def _answers(found: Found) -> Iterator[tuple[str, str]]:
    for each in found.values():
        for place, answers in each["exports"].items():
            for name, result in answers.items():
                if not is_good(result) and (name not in TOOLS or result.startswith("no")):
                    yield name, f"{each['transformers']}: {place}: {name}: {result}"

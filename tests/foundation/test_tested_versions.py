"""Every place that names a version of a library names one that is listed as tried."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from model_foundry.foundation.tested_versions import (
    LIBRARIES,
    PINNED,
    installed_versions,
    newer_than_tested,
    older_than_tested,
    open_with,
    run_with,
    version_range,
)

ROOT = Path(__file__).parents[2]
LISTED = sorted({library for versions in run_with().values() for library in versions})


def requirements() -> dict[str, Requirement]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = map(Requirement, tomllib.loads(text)["project"]["dependencies"])
    return {each.name: each for each in listed}


@pytest.mark.parametrize("library", sorted({*LISTED} & requirements().keys()))
def test_declared_bounds_are_the_oldest_and_allow_the_newest(library: str) -> None:
    oldest, newest = version_range(library)
    specifiers = requirements()[library].specifier
    (bound,) = [Version(each.version) for each in specifiers if each.operator == ">="]
    assert bound == Version(oldest)
    assert newest in specifiers


def test_every_library_that_the_doctor_looks_at_is_declared_and_listed() -> None:
    assert {*LIBRARIES} <= {*LISTED} & requirements().keys()
    assert {*LISTED} - requirements().keys() == {"huggingface_hub"}  # a requirement of the others


def test_constraints_pin_what_is_listed_as_pinned() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", text, re.M))
    assert {library: pins[library] for library in LISTED} == run_with()[PINNED]


def test_oldest_and_newest_runs_are_the_ends_of_the_range() -> None:
    runs, oldest, newest = run_with(), *version_range("transformers")
    assert (runs["oldest"]["transformers"], runs["newest"]["transformers"]) == (oldest, newest)


def test_page_names_each_set_of_versions() -> None:
    page = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    assert [v for each in open_with().values() if (v := each["transformers"]) not in page] == []


def test_installed_libraries_are_within_what_was_tested() -> None:
    installed = installed_versions()
    assert [*newer_than_tested(installed), *older_than_tested(installed)] == []


def test_versions_compare_as_versions_and_without_local_tags() -> None:
    oldest, newest = version_range("torch")
    inside = [oldest, newest, f"{newest}+cpu"]
    assert not any([*newer_than_tested({"torch": v})] for v in inside)
    assert not any([*older_than_tested({"torch": v})] for v in inside)
    assert [*older_than_tested({"torch": "2.9"})]  # later as text
    major, minor, _ = version_range("transformers")[1].split(".")
    assert [*newer_than_tested({"transformers": f"{major}.{int(minor) + 1}"})]

"""`ai_step`: an intervention described in words, whose code a person reads before it is ever run.

A model is asked once and its code is written to a file. The code is run when the file's SHA-256
stands in the experiment as `approved`. This is the one place where the package runs what it reads;
there is no sandbox (SECURITY.md).
"""

import ast
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Annotated, Any

from pydantic import Field

from model_foundry.config.data import InterventionStep
from model_foundry.config.sections import AnyPath
from model_foundry.errors import ConfigError
from model_foundry.foundation.atomic_files import write_text
from model_foundry.foundation.messages import reason_of, short_repr
from model_foundry.interventions.ai_step.approved_code import (
    MODULE,
    Code,
    code_of_answer,
    file_text,
    prompt_sha256,
    read_code,
    refused,
)
from model_foundry.interventions.ai_step.endpoint import ask, endpoint_of_environment
from model_foundry.interventions.registration import parse_settings, register_intervention

NAME = "ai_step"
FUNCTION, ARGUMENTS = "transform", ["text", "seed", "index"]
SIGNATURE = f"def {FUNCTION}(text: str, seed: int, index: int) -> str | None:"
INSTRUCTIONS = f"""\
You write one step that changes the documents of a text corpus before a language model is trained \
on them. Answer with exactly one Python code block that defines

{SIGNATURE}

It returns the changed document, or None to leave the document out. `index` is the number of the \
document. It is a pure function: the same arguments give the same result. Where chance is asked \
for, it comes from random.Random(f"{{seed}}-{{index}}") alone. It may import the standard library, \
not from __future__. It reads and writes no files, prints nothing and opens no connection. The \
user's message says what the step does."""

Transform = Callable[[str, int, int], str | None]


def _write(path: Path, prompt: str) -> None:
    """Ask for the code and write it to a file that does not exist."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)  # before anything is asked, and paid for
        endpoint = endpoint_of_environment()
        code = code_of_answer(ask(endpoint, instructions=INSTRUCTIONS, question=prompt))
    except OSError as error:
        raise refused(path, f"cannot be written ({error.strerror}); name another") from error
    except ValueError as error:
        raise refused(path, f"does not exist and was not written: {error}") from None
    if not os.path.lexists(path):  # another start may have been faster
        write_text(path, file_text(prompt, endpoint.model, code))


def _takes_the_arguments(found: ast.arguments) -> bool:
    others = (found.posonlyargs, found.kwonlyargs, found.vararg, found.kwarg)
    return [each.arg for each in found.args] == ARGUMENTS and not any(others)


def _compiled(code: Code) -> CodeType:
    """Compile the code without running it, and see that the function is there."""
    try:
        tree = ast.parse(code.text)
        compiled = compile(tree, str(code.path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        remedy = "mend it, or delete the file to ask again"
        raise refused(code.path, f"is not Python ({reason_of(error)}); {remedy}") from error
    found = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == FUNCTION]
    if not (found and _takes_the_arguments(found[-1].args)):
        raise refused(code.path, f"must define `{SIGNATURE}`; mend it, or delete it to ask again")
    return compiled


def _approved(prompt: str, path: Path, approved: str | None) -> tuple[Code, CodeType]:
    """Read and compile a file; refuse it unless it is approved and was written for the prompt."""
    code = read_code(path)
    if code.prompt_sha256 != prompt_sha256(prompt):
        if code.prompt_sha256 is None:
            raise refused(path, "was not written by ai_step; name another file")
        law = "was written for another prompt"
        remedy = "delete the file to ask again, or change the prompt back"
        raise refused(path, f"{law}; {remedy}", setting="prompt")
    compiled = _compiled(code)
    if approved != code.sha256:
        law = "is not approved" if approved is None else "is not the file that was approved"
        remedy = f"read it, then write `approved: {code.sha256}` beside it in the experiment"
        raise refused(path, f"{law}; {remedy}", setting="approved")
    return code, compiled


@cache
def _transform(prompt: str, path: Path, approved: str | None) -> Transform:
    """Run a file that is approved, once a process, and return its function.

    Raises:
        ConfigError: it is not approved, or running it fails.
    """
    code, compiled = _approved(prompt, path, approved)
    module = ModuleType(f"{MODULE}{code.sha256[:16]}")
    sys.modules[module.__name__] = module  # where dataclasses look up the types of their fields
    try:
        exec(compiled, module.__dict__)
        function: Transform = module.__dict__[FUNCTION]
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        said = f"{type(error).__name__}: {reason_of(error)}"
        raise refused(path, f"cannot be run ({said}); mend it, and approve it anew") from error
    return function


def _is_a_python_file(settings: Any) -> None:
    if settings.code.suffix != ".py":
        raise ValueError(f"code: must end in .py, got {short_repr(str(settings.code))}")


@register_intervention(NAME, check=_is_a_python_file)
def ai_step(
    text: str,
    *,
    seed: int,
    index: int,
    prompt: Annotated[str, Field(min_length=1, max_length=20_000)],
    code: AnyPath,
    approved: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None,
) -> str | None:
    """Change a text by code that a model wrote from a prompt, and that you read and approved.

    Args:
        prompt: what the step does, in words.
        code: file that the code is written to, and run from.
        approved: SHA-256 of that file as you read it; None: it is not run.
    """
    return _transform(prompt, code, approved)(text, seed, index)


def _files(steps: Sequence[InterventionStep]) -> Iterator[tuple[str, Any, Path]]:
    """Yield where each step of this kind stands, its settings and its file."""
    for position, step in enumerate(steps):
        if step.step == NAME:
            field = f"data.interventions.{position}"
            settings: Any = parse_settings(NAME, step.settings, field)
            yield field, settings, settings.code


def check_ai_steps(steps: Sequence[InterventionStep]) -> None:
    """Refuse steps of this kind whose code is missing or not approved; ask and run nothing.

    Raises:
        ConfigError: with one line for every such step.
    """
    _require(steps, _check)


def prepare_ai_steps(steps: Sequence[InterventionStep]) -> None:
    """Ask for the code of each step that has none; refuse what is not approved.

    Called once, in the main process, before the corpus is read: forked processes have the approved
    functions from it, whatever becomes of the files meanwhile.

    Raises:
        ConfigError: with one line for every step that cannot be run.
        SaveError: the code cannot be written.
    """
    _require(steps, _prepare)


def _check(prompt: str, path: Path, approved: str | None) -> None:
    if not os.path.lexists(path):
        raise refused(path, "does not exist yet; `foundry train` asks for it")
    _approved(prompt, path, approved)


def _prepare(prompt: str, path: Path, approved: str | None) -> None:
    if not os.path.lexists(path):
        _write(path, prompt)
    _approved(prompt, path, approved)  # again: the function may stem from an earlier file
    _transform(prompt, path, approved)


def _require(
    steps: Sequence[InterventionStep], examine: Callable[[str, Path, str | None], None]
) -> None:
    faults = []
    for field, settings, path in _files(steps):
        try:
            examine(settings.prompt, path, settings.approved)
        except ConfigError as error:
            faults.append(f"{field}.{error}")
    if faults:
        raise ConfigError("\n".join(faults))

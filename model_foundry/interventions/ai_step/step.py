"""`ai_step`: an intervention written by a language model, and approved by a person.

The code is requested once and written to a file. It is run if the experiment has the file's SHA-256
as `approved`. No other file named by an experiment is run. There is no sandbox (SECURITY.md).
"""

import ast
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Annotated, Any

from pydantic import Field

from model_foundry.config.sections import AnyPath
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
from model_foundry.interventions.registration import register_intervention

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
    """Request the code and write it to a new file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)  # first: requests cost money
        endpoint = endpoint_of_environment()
        code = code_of_answer(ask(endpoint, instructions=INSTRUCTIONS, question=prompt))
    except OSError as error:
        raise refused(path, f"cannot be written ({error.strerror}); name another") from error
    except ValueError as error:
        raise refused(path, f"does not exist and was not written: {error}") from None
    if not os.path.lexists(path):  # another process may have been faster
        write_text(path, file_text(prompt, endpoint.model, code))


def _has_arguments(found: ast.arguments) -> bool:
    others = (found.posonlyargs, found.kwonlyargs, found.vararg, found.kwarg)
    return [each.arg for each in found.args] == ARGUMENTS and not any(others)


def _compiled(code: Code) -> CodeType:
    """Compile the code without running it; refuse it without the function."""
    remedy = "correct it, or delete it to request it again"
    try:
        tree = ast.parse(code.text)
        compiled = compile(tree, str(code.path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise refused(code.path, f"is not Python ({reason_of(error)}); {remedy}") from error
    found = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == FUNCTION]
    if not (found and _has_arguments(found[-1].args)):
        raise refused(code.path, f"must define `{SIGNATURE}`; {remedy}")
    return compiled


def _approved(prompt: str, path: Path, approved: str | None) -> tuple[Code, CodeType]:
    """Read and compile a file; refuse it unless it is approved and matches the prompt."""
    code = read_code(path)
    if code.prompt_sha256 != prompt_sha256(prompt):
        if code.prompt_sha256 is None:
            raise refused(path, "was not written by ai_step; name another file")
        remedy = "delete the file to request it again, or change the prompt back"
        raise refused(path, f"was written for another prompt; {remedy}", setting="prompt")
    compiled = _compiled(code)
    if approved != code.sha256:
        fault = "is not approved" if approved is None else "is not the file that was approved"
        remedy = f"read it, then write `approved: {code.sha256}` beside it in the experiment"
        raise refused(path, f"{fault}; {remedy}", setting="approved")
    return code, compiled


@cache
def _transform(prompt: str, path: Path, approved: str | None) -> Transform:
    """Run an approved file, once per process, and return its function."""
    code, compiled = _approved(prompt, path, approved)
    module = ModuleType(f"{MODULE}{code.sha256[:16]}")
    sys.modules[module.__name__] = module  # dataclasses look up the types of their fields there
    try:
        exec(compiled, module.__dict__)
        function: Transform = module.__dict__[FUNCTION]
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        reason = f"{type(error).__name__}: {reason_of(error)}"
        raise refused(path, f"cannot be run ({reason}); correct and approve it") from error
    return function


def _check_suffix(settings: Any) -> None:
    if settings.code.suffix != ".py":
        raise ValueError(f"code: must end in .py, got {short_repr(str(settings.code))}")


def _prepare(settings: Any, *, writes: bool) -> None:
    """Request code that does not exist; refuse code that is not approved."""
    prompt, path, approved = settings.prompt, settings.code, settings.approved
    if not os.path.lexists(path):
        if not writes:
            raise refused(path, "does not exist yet; `foundry train` requests it")
        _write(path, prompt)
    _approved(prompt, path, approved)  # the cached function may be from an earlier file
    if writes:
        _transform(prompt, path, approved)


@register_intervention(NAME, check=_check_suffix, prepare=_prepare)
def ai_step(
    text: str,
    *,
    seed: int,
    index: int,
    prompt: Annotated[str, Field(min_length=1, max_length=20_000)],
    code: AnyPath,
    approved: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None,
) -> str | None:
    """Apply code that a model wrote from a prompt, and that you read and approved.

    Args:
        prompt: description of the step.
        code: file of the code, written if it does not exist.
        approved: SHA-256 of that file as you read it; None: it is not run.
    """
    return _transform(prompt, code, approved)(text, seed, index)

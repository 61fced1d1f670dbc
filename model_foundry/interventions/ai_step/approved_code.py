"""The file that `ai_step` keeps code in: how it is written for review, and how it is read.

Nothing is run here. A file says which prompt it was written for, shows a reader all that Python
would read, and does nothing when it is imported.
"""

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import printable

LARGEST_CODE = 100_000  # bytes; more is not read by anybody
MODULE = "foundry_ai_step_"
TITLE = "# Written by a model for ai_step of Model Foundry; read it before you approve it."
PROMPT = "# prompt sha256: "
HEADER = re.compile(f"{re.escape(TITLE)}\r?\n{PROMPT}([0-9a-f]{{64}})\r?\n")
# An experiment chooses the path: a file that has not been read must not run by being imported.
GUARD = f"""\
if not __name__.startswith({MODULE!r}):
    raise ImportError("this file is run by ai_step alone")
"""
BLOCK = re.compile(r"^```[ \t]*(?:python3?|py)?[ \t]*\r?\n(.*?)^```[ \t]*\r?$", re.M | re.S | re.I)


@dataclass(frozen=True, kw_only=True)
class Code:
    """The content of a file, read once: what is hashed is what is compiled."""

    path: Path
    text: str
    sha256: str

    @property
    def prompt_sha256(self) -> str | None:
        """SHA-256 of the prompt it was written for; None: its header does not say."""
        header = HEADER.match(self.text)
        return header[1] if header else None


def prompt_sha256(prompt: str) -> str:
    """Return the SHA-256 of a prompt's UTF-8."""
    return hashlib.sha256(prompt.encode()).hexdigest()


def refused(path: Path, said: str, *, setting: str = "code") -> ConfigError:
    """Return the error for a file; `setting` of the step is the one at fault."""
    return ConfigError(f"{setting}: {printable(f'{path}')} {said}")


def code_of_answer(answer: str) -> str:
    """Return the one code block of an answer.

    Raises:
        ValueError: there is none that is whole, or there are several, in one line.
    """
    blocks = BLOCK.findall(answer)
    if len(blocks) != 1:
        found = f"the answer holds {len(blocks)} whole Python code blocks"
        raise ValueError(f"{found}, must be 1; word the prompt otherwise")
    return f"{blocks[0]}".replace("\r\n", "\n")


def file_text(prompt: str, model: str, code: str) -> str:
    """Return the file for review: where the code comes from, a guard against imports, the code.

    No line of the prompt can end its comment, and the first two lines, where Python would look for
    an encoding, are the same for all.
    """
    said = [f"model: {model}", "prompt:", *(f"    {line}" for line in prompt.splitlines())]
    comments = [TITLE, f"{PROMPT}{prompt_sha256(prompt)}", *(f"# {printable(s)}" for s in said)]
    return "\n".join([*comments, GUARD, "", code])


def read_code(path: Path) -> Code:
    """Read a file of code, if it shows a reader all that it holds.

    Raises:
        ConfigError: it cannot be read, is a link, a pipe or a device, is too large, or holds
            characters by which an editor would show something else than Python reads.
    """
    try:
        content = _first_bytes(path, LARGEST_CODE + 1)
        text = content.decode()
    except UnicodeDecodeError as error:
        raise refused(path, f"is not UTF-8 at byte {error.start}; save it as UTF-8") from error
    except OSError as error:
        raise refused(path, f"cannot be read ({error.strerror})") from error
    if len(content) > LARGEST_CODE:
        raise refused(path, f"is larger than {LARGEST_CODE:,} bytes; shorten it")
    for number, line in enumerate(text.split("\n"), 1):
        shown = line.removesuffix("\r").replace("\t", " ")
        if not shown.isprintable():
            unseen = next(c for c in shown if not c.isprintable())
            law = f"holds U+{ord(unseen):04X} in line {number}, which an editor may not show"
            raise refused(path, f"{law}; write it as an escape")
    return Code(path=path, text=text, sha256=hashlib.sha256(content).hexdigest())


def _first_bytes(path: Path, number: int) -> bytes:
    if path.is_symlink():
        raise refused(path, "is a link; put the file itself there")
    # O_NONBLOCK: nobody waits for a pipe that was put in place of the file
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise refused(path, "is not a regular file; put the file itself there")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(number)
    finally:
        os.close(descriptor)

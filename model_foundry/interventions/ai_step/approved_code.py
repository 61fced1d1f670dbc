"""The code file of `ai_step`: written for review, and read with checks.

Nothing is run here. A file names the prompt it was written for, has no hidden characters, and does
nothing when it is imported.
"""

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import printable

LARGEST_CODE = 100_000  # bytes; nobody reviews more
MODULE = "foundry_ai_step_"
TITLE = "# Written by a model for ai_step of Model Foundry; read it before you approve it."
PROMPT = "# prompt sha256: "
HEADER = re.compile(f"{re.escape(TITLE)}\r?\n{PROMPT}([0-9a-f]{{64}})\r?\n")
# The experiment chooses the path, so a file that was not reviewed must not run on import.
GUARD = f"""\
if not __name__.startswith({MODULE!r}):
    raise ImportError("this file is run by ai_step alone")
"""
BLOCK = re.compile(r"^```[ \t]*(?:python3?|py)?[ \t]*\r?\n(.*?)^```[ \t]*\r?$", re.M | re.S | re.I)


@dataclass(frozen=True, kw_only=True)
class Code:
    """The content of a file, read once: the hashed bytes are those that are compiled."""

    path: Path
    text: str
    sha256: str

    @property
    def prompt_sha256(self) -> str | None:
        """SHA-256 of the prompt it was written for; None: it has no such header."""
        header = HEADER.match(self.text)
        return header[1] if header else None


def prompt_sha256(prompt: str) -> str:
    """Return the SHA-256 of a prompt in UTF-8."""
    return hashlib.sha256(prompt.encode()).hexdigest()


def refused(path: Path, fault: str, *, setting: str = "code") -> ConfigError:
    """Return the error for a file, as one of a setting of the step."""
    return ConfigError(f"{setting}: {printable(path)} {fault}")


def code_of_answer(answer: str) -> str:
    """Return the one code block of an answer; raise ValueError unless there is exactly one."""
    blocks = BLOCK.findall(answer)
    if len(blocks) != 1:
        fault = f"the answer has {len(blocks)} complete Python code blocks"
        raise ValueError(f"{fault}, must be 1; change the prompt")
    return f"{blocks[0]}".replace("\r\n", "\n")


def file_text(prompt: str, model: str, code: str) -> str:
    """Return the file for review: the origin of the code, a guard against imports, the code.

    No line of the prompt can end its comment or, in the first two lines, declare an encoding.
    """
    origin = [f"model: {model}", "prompt:", *(f"    {line}" for line in prompt.splitlines())]
    comments = [TITLE, f"{PROMPT}{prompt_sha256(prompt)}", *(f"# {printable(s)}" for s in origin)]
    return "\n".join([*comments, GUARD, "", code])


def read_code(path: Path) -> Code:
    """Read a code file.

    Raises:
        ConfigError: it cannot be read, is a link, a pipe or a device, is too large, or has
            characters that an editor may not show.
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
        for character in line.removesuffix("\r").replace("\t", " "):
            if not character.isprintable():
                fault = f"has U+{ord(character):04X} in line {number}, which an editor may not show"
                raise refused(path, f"{fault}; write it as an escape")
    return Code(path=path, text=text, sha256=hashlib.sha256(content).hexdigest())


def _first_bytes(path: Path, number: int) -> bytes:
    if path.is_symlink():
        raise refused(path, "is a link; put the file itself there")
    # O_NONBLOCK: opening a pipe in place of the file must not block
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise refused(path, "is not a regular file; put the file itself there")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(number)
    finally:
        os.close(descriptor)

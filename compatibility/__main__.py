"""Fill the tables of docs/compatibility.md: `python -m compatibility`.

    python -m compatibility [--sets "4.51" oldest ...] [--diagonal] [--tools] [--page FILE]

Tiny models of each architecture are saved with one tokenizer or each kind, and opened again in
processes without this package, with each set of libraries that foundation/tested_versions.yaml
names. With `--tools` also by HF Trainer, peft, torch.export and ONNX, which are installed for it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from compatibility.environments import add_libraries_option, overlay
from compatibility.exports import ARCHITECTURES, PAIRS, TOKENIZERS, export
from compatibility.page import faults, fill
from model_foundry.foundation.tested_versions import open_with

HERE: Final = Path(__file__).parent
TOOLS: Final = dict.fromkeys(
    (
        *("peft", "onnx", "onnxscript", "onnxruntime"),
        *("onnx_ir", "ml_dtypes", "protobuf", "flatbuffers"),  # which these require
    ),
    "",
)
"""The other tools, each in its newest version."""
TOOLS_WITH: Final = ("pinned", "newest")
"""Sets of libraries with which the other tools are tried."""


def diagonal() -> list[tuple[str, str]]:
    """Return each architecture with one tokenizer, such that each kind of tokenizer occurs."""
    return [(name, TOKENIZERS[i % len(TOKENIZERS)]) for i, name in enumerate(ARCHITECTURES)]


def ask(script: str, exports: Path, *libraries: Path) -> dict[str, Any]:
    """Run a script of this folder without the foundry, and return its findings.

    Raises:
        RuntimeError: it failed; the message is the end of its output.
    """
    with tempfile.TemporaryDirectory() as directory:
        result = Path(directory) / "result.json"
        command = [sys.executable, "-I", HERE / script, exports.resolve(), result, *libraries]
        done = subprocess.run(
            command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{script}: {done.stdout[-3000:]}")
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Export, open, write the page; return 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", nargs="*", choices=[*open_with()], default=[*open_with()])
    parser.add_argument("--diagonal", action="store_true", help="one tokenizer an architecture")
    parser.add_argument("--tools", action="store_true", help="Trainer, LoRA, torch.export, ONNX")
    parser.add_argument("--page", type=Path, help="the file whose tables are filled")
    add_libraries_option(parser)
    options = parser.parse_args(arguments)
    libraries = options.libraries.resolve()
    with tempfile.TemporaryDirectory() as temporary:
        exports, few = Path(temporary) / "all", Path(temporary) / "few"
        for architecture, tokenizer in diagonal() if options.diagonal else PAIRS:
            export(architecture, tokenizer, exports)
        found, used = {}, {}
        for name in options.sets:
            found[name] = ask("opening.py", exports, overlay(libraries, open_with()[name]))
            print(f"{name}: transformers {found[name]['transformers']}", flush=True)
        if options.tools:
            for architecture in ARCHITECTURES:
                export(architecture, "bpe", few)
            tools = overlay(libraries, TOOLS)
            for name in TOOLS_WITH:
                used[name] = ask("using.py", few, overlay(libraries, open_with()[name]), tools)
    if options.page:
        page = options.page.read_text(encoding="utf-8")
        options.page.write_text(fill(page, found, used), encoding="utf-8")
    wrong = [*faults(found), *faults(used)]
    print("\n".join(wrong) or "everything works")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())

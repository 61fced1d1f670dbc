"""Forbidden calls, found in the syntax tree of the package; and permissions of written files.

The gate sees what is written plainly, under whatever name it was imported. It keeps an honest hand
from reaching for the wrong function; it does not find code that hides.
"""

import ast
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import model_foundry
from model_foundry.config.data import InterventionStep
from model_foundry.errors import ConfigError
from model_foundry.experiment.train import train
from model_foundry.interventions.ai_step.approved_code import file_text
from model_foundry.interventions.chain import Chain
from model_foundry.interventions.preparation import prepare_steps
from tests.experiments import tiny_experiment

# Modules, functions and classes by their full name; everything below one is included.
FORBIDDEN = {
    "pickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "shelve",
    "marshal",
    "joblib",
    "jsonpickle",
    "torch.load",
    "torch.save",
    "torch.serialization",
    "torch.jit.load",
    "torch.hub",
    "torch.package",
    "yaml.Loader",
    "yaml.UnsafeLoader",
    "yaml.FullLoader",
    "yaml.CLoader",
    "yaml.unsafe_load",
    "yaml.unsafe_load_all",
    "yaml.full_load",
    "yaml.full_load_all",
    "yaml.load_all",
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "runpy",
    "code",
    "builtins.eval",
    "builtins.exec",
    "builtins.compile",
    "builtins.__import__",
    "importlib.import_module",
    "importlib.reload",
    "importlib.machinery",
    "importlib.util.spec_from_file_location",
    "transformers.dynamic_module_utils",
    "accelerate.skip_first_batches",
    "accelerate.data_loader.skip_first_batches",
}
# Methods, whatever object they are called on.
METHODS = {
    "register_for_checkpointing",
    "save_state",
    "load_state",
    "skip_first_batches",
    "exec_module",
}
# Keyword -> the only value that may be written for it.
KEYWORDS = {
    "shell": False,
    "trust_remote_code": False,
    "allow_pickle": False,
    "weights_only": True,
    "use_safetensors": True,
}
BUILTINS = {"eval", "exec", "compile", "__import__"}
SAFE_LOADERS = {"yaml.SafeLoader", "yaml.CSafeLoader"}
# Where the package needs what is forbidden elsewhere: (file, what) -> why that is safe.
ALLOWED = {
    (
        "__init__.py",
        "importlib.import_module",
    ): "public names, from a table in the file",
    ("registry.py", "importlib.import_module"): (
        "targets of specs, written in the package and in plugins; a name from a file is a key"
    ),
    ("foundation/plugins.py", "importlib.util.spec_from_file_location"): (
        "a plugin, which is given on the command line and nowhere else"
    ),
    ("foundation/plugins.py", "exec_module"): "the same plugin",
    ("objectives/sequence_metrics.py", "importlib.import_module"): (
        "modules of an extra, whose names are in the file"
    ),
    (
        "architectures/native_transformer.py",
        "from_pretrained without trust_remote_code=False",
    ): "the method of its base class, which runs no code of a directory",
    ("foundation/tested_versions.py", "yaml.load"): "the package's own file, as text only",
    ("planning/disk.py", "transformers.dynamic_module_utils.get_relative_import_files"): (
        "names of the files that one of the package imports, which runs none of them"
    ),
    ("run_reports/plain_settings.py", "yaml.load"): "with one of PyYAML's two safe loaders",
    ("interventions/ai_step/step.py", "builtins.compile"): (
        "code of `ai_step`; compiling it runs nothing"
    ),
    ("interventions/ai_step/step.py", "builtins.exec"): (
        "code of `ai_step`, run if the experiment approves the SHA-256 of its bytes"
    ),
}


def names_of(tree: ast.AST) -> dict[str, str]:
    """Return the names of what a file imports and of its classes, with their full names."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            names[node.name] = node.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.name if alias.asname else alias.name.partition(".")[0]
                names[alias.asname or whole] = whole
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return names


def full_name(node: ast.AST, names: dict[str, str]) -> str | None:
    """Return the full name of a name or a chain of attributes; None for any other expression."""
    if isinstance(node, ast.Name):
        is_builtin = node.id in BUILTINS and isinstance(node.ctx, ast.Load)
        return names.get(node.id, f"builtins.{node.id}" if is_builtin else None)
    if isinstance(node, ast.Attribute):
        start = full_name(node.value, names)
        return f"{start}.{node.attr}" if start else None
    return None


def is_forbidden(name: str) -> bool:
    return any(f"{name}.".startswith(f"{each}.") for each in FORBIDDEN)


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield in full what a file imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def safe_loaders(tree: ast.AST, names: dict[str, str]) -> set[str]:
    """Return the safe loaders of PyYAML and the classes of the file that derive from one."""
    own = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any(full_name(base, names) in SAFE_LOADERS for base in node.bases)
    }
    return own | SAFE_LOADERS


def settings_of(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield keywords with their values, those of a literal mapping too."""
    if isinstance(node, ast.Call):
        yield from ((each.arg, each.value) for each in node.keywords if each.arg)
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value, value


def faults_of_call(node: ast.Call, names: dict[str, str], loaders: set[str]) -> Iterator[str]:
    called = full_name(node.func, names)
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    if called == "yaml.load":
        loader = given.get("Loader") or (node.args[1] if len(node.args) > 1 else None)
        if loader is None or full_name(loader, names) not in loaders:
            yield "yaml.load"
    last = node.func.attr if isinstance(node.func, ast.Attribute) else None
    ours = (called or "").startswith("model_foundry.")
    if last == "from_pretrained" and not ours and "trust_remote_code" not in given:
        yield "from_pretrained without trust_remote_code=False"


def faults(source: str) -> set[str]:
    """Return what a file does that it must not."""
    tree = ast.parse(source)
    names = names_of(tree)
    loaders = safe_loaders(tree, names)
    found = {name for name in imported(tree) if is_forbidden(name)}
    for node in ast.walk(tree):
        name = full_name(node, names)
        if name is not None and is_forbidden(name):
            found.add(name)
        if isinstance(node, ast.Attribute) and node.attr in METHODS:
            found.add(node.attr)
        if isinstance(node, ast.Call):
            found |= set(faults_of_call(node, names, loaders))
        for keyword, value in settings_of(node):
            constant = value.value if isinstance(value, ast.Constant) else ...
            if keyword in KEYWORDS and constant is not KEYWORDS[keyword]:
                found.add(f"{keyword}={ast.unparse(value)}")
    return found


def test_no_file_of_the_package_can_run_what_it_reads() -> None:
    root = Path(model_foundry.__file__).parent
    found = {
        (path.relative_to(root).as_posix(), fault)
        for path in root.rglob("*.py")
        for fault in faults(path.read_text(encoding="utf-8"))
    }
    assert found == set(ALLOWED)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("import pickle", "pickle"),
        ("import pickle as p", "pickle"),
        ("def f():\n  from pickle import loads", "pickle.loads"),
        ("import dill", "dill"),
        ("import joblib", "joblib"),
        ("import shelve, json", "shelve"),
        ("from marshal import loads", "marshal.loads"),
        ("import cloudpickle as json", "cloudpickle"),
        ("import torch\ntorch.load(f)", "torch.load"),
        ("import torch as t\nt.load(f, weights_only=True)", "torch.load"),
        ("from torch import load as read\nread(f)", "torch.load"),
        ("from torch.serialization import load", "torch.serialization.load"),
        ("import torch\nread = torch.load", "torch.load"),
        ("import torch\ntorch.save(x, f)", "torch.save"),
        ("import torch\ntorch.jit.load(f)", "torch.jit.load"),
        ("import torch\ntorch.hub.load(f)", "torch.hub.load"),
        ("import yaml\nyaml.load(f)", "yaml.load"),
        ("import yaml\nyaml.load(f, Loader=yaml.Loader)", "yaml.Loader"),
        ("import yaml\nyaml.load(f, yaml.FullLoader)", "yaml.FullLoader"),
        ("import yaml\nyaml.unsafe_load(f)", "yaml.unsafe_load"),
        ("from yaml import load as l\nl(f)", "yaml.load"),
        ("import yaml\nclass L(yaml.Loader): pass\nyaml.load(f, Loader=L)", "yaml.load"),
        ("from yaml import UnsafeLoader as SafeLoader", "yaml.UnsafeLoader"),
        ("eval(text)", "builtins.eval"),
        ("run = exec", "builtins.exec"),
        ("compile(text, 'f', 'exec')", "builtins.compile"),
        ("import builtins\nbuiltins.eval(text)", "builtins.eval"),
        ("from builtins import eval as look", "builtins.eval"),
        ("__import__(name)", "builtins.__import__"),
        ("import subprocess\nsubprocess.run(c, shell=True)", "shell=True"),
        ("run(c, shell=shell)", "shell=shell"),
        ("import os\nos.system(c)", "os.system"),
        ("from os import popen as p\np(c)", "os.popen"),
        ("A.from_pretrained(d, trust_remote_code=True)", "trust_remote_code=True"),
        ("A.from_pretrained(d, trust_remote_code=x)", "trust_remote_code=x"),
        ("o = {'trust_remote_code': True}", "trust_remote_code=True"),
        ("A.from_pretrained(d)", "from_pretrained without trust_remote_code=False"),
        ("import numpy as np\nnp.load(f, allow_pickle=True)", "allow_pickle=True"),
        ("f(weights_only=False)", "weights_only=False"),
        ("accelerator.register_for_checkpointing(x)", "register_for_checkpointing"),
        ("accelerator.save_state(d)", "save_state"),
        ("restore = accelerator.load_state", "load_state"),
        ("accelerator.skip_first_batches(l, 3)", "skip_first_batches"),
        ("from accelerate import skip_first_batches", "accelerate.skip_first_batches"),
        ("from importlib import import_module as i\ni(name)", "importlib.import_module"),
        ("import importlib\nimportlib.import_module(name)", "importlib.import_module"),
        ("import runpy\nrunpy.run_path(p)", "runpy.run_path"),
        (
            "from transformers.dynamic_module_utils import get_class_from_dynamic_module",
            "transformers.dynamic_module_utils.get_class_from_dynamic_module",
        ),
    ],
)
def test_what_could_run_a_file_is_seen(source: str, fault: str) -> None:
    assert fault in faults(source)


@pytest.mark.parametrize(
    "source",
    [
        '"""Never torch.load, pickle or eval(); trust_remote_code=True is for others."""',
        "model.eval()",
        "import re\nre.compile('a')",
        "import torch\ntorch.compile(model)\nmodel.compile()",
        "import ast\nast.literal_eval(text)",
        "import json\njson.load(f)",
        "import numpy as np\nnp.load(f, allow_pickle=False)",
        "import yaml\nyaml.safe_load(f)",
        "import yaml\nclass L(yaml.SafeLoader): pass\nyaml.load(f, Loader=L)",
        "from safetensors.torch import load, save_file\nload(b)",
        "A.from_pretrained(d, trust_remote_code=False)",
        "from model_foundry.a import A\nA.from_pretrained(d)",
        "model.load_state_dict(s)",
        "pickles = ('pytorch_model.bin',)\nany(pickle for pickle in pickles)",
        "import subprocess\nsubprocess.run(['ls'])",
        "from importlib.util import find_spec\nfind_spec('flash_attn')",
        "code = 3\nstatus.code",
        "class Settings:\n  compile: bool = False",
        "from .pickle import a",
    ],
)
def test_what_only_looks_alike_is_not(source: str) -> None:
    assert faults(source) == set()


def test_one_file_alone_runs_code_that_it_reads() -> None:
    runs = {"builtins.exec", "builtins.compile", "builtins.eval"}
    assert {file for file, what in ALLOWED if what in runs} == {"interventions/ai_step/step.py"}


# what happens to the file, what was approved ("right": the file as it was), the reason
UNAPPROVED: list[tuple[Callable[[Path], object], str | None, str]] = [
    (lambda file: None, None, "is not approved"),
    (lambda file: None, "0" * 64, "is not the file that was approved"),
    (lambda file: file.write_bytes(file.read_bytes() + b"\n"), "right", "is not the file that was"),
    (lambda file: file.symlink_to(file.rename(file.with_suffix(".real"))), "right", "is a link"),
    (lambda file: (file.unlink(), os.mkfifo(file)), "right", "is not a regular file"),
    (lambda file: (file.unlink(), file.mkdir()), "right", "is not a regular file"),
    (lambda file: (file.unlink(), file.symlink_to("/dev/zero")), "right", "is a link"),
]


def planted_step(directory: Path) -> tuple[Path, str]:
    """Write code that makes a file `ran` beside it when it is run; return its file and SHA-256."""
    file = directory / "step.py"
    code = f"open({str(directory / 'ran')!r}, 'w').close()\ndef transform(text, seed, index): ...\n"
    file.write_text(file_text("What it does.", "a-model", code))
    return file, hashlib.sha256(file.read_bytes()).hexdigest()


def ai_step_of(file: Path, approved: str | None) -> InterventionStep:
    settings = {"prompt": "What it does.", "code": f"{file}", "approved": approved}
    return InterventionStep.model_validate({"step": "ai_step", **settings})


check_steps = partial(prepare_steps, writes=False)


def run_ai_step(steps: list[InterventionStep]) -> None:
    Chain.of(steps, "train", 0).apply([(0, "text")])


@pytest.mark.parametrize("way", [check_steps, prepare_steps, run_ai_step])
@pytest.mark.parametrize(("happens", "approved", "message"), UNAPPROVED)
def test_code_that_is_not_approved_never_runs(
    happens: Callable[[Path], object],
    approved: str | None,
    message: str,
    way: Callable[[list[InterventionStep]], None],
    tmp_path: Path,
) -> None:
    file, right = planted_step(tmp_path)
    happens(file)
    step = ai_step_of(file, right if approved == "right" else approved)
    with pytest.raises(ConfigError, match=message):
        way([step])
    assert not (tmp_path / "ran").exists()


def test_the_same_code_runs_once_it_is_approved(tmp_path: Path) -> None:
    steps = [ai_step_of(*planted_step(tmp_path))]
    check_steps(steps)
    assert not (tmp_path / "ran").exists()
    prepare_steps(steps)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_run_is_written_with_the_permissions_that_the_user_wants(
    mask: int, tmp_path: Path
) -> None:
    before = os.umask(mask)
    try:
        cache = f"data.cache_dir={tmp_path / 'cache'}"
        train(tiny_experiment("gpt2", tmp_path, "training.max_steps=2", cache))
    finally:
        os.umask(before)
    paths = [path for path in tmp_path.rglob("*") if not path.is_symlink()]
    assert len(paths) > 10
    for path in paths:
        mode = stat.S_IMODE(path.stat().st_mode)
        whole = 0o777 if path.is_dir() else 0o666
        assert mode == whole & ~mask, f"{path.relative_to(tmp_path)}: {mode:o}"
        assert not mode & stat.S_IWOTH

"""Malformed experiment files and overrides, through the command line.

Each is refused with its exit code and one line a fault, soon, in little memory, and nothing is
written. Where a choice had to be made, the case says which.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from model_foundry.config import load_config
from model_foundry.config.files import LARGEST_FILE, MOST_FAULTS
from model_foundry.config.yaml_reader import MOST_DIGITS, MOST_VALUES
from model_foundry.foundation.messages import LONGEST_LINE
from tests.config.conftest import CORPUS, GOOD, Foundry


def files(directory: Path) -> dict[Path, tuple[int, bytes]]:
    """Return the time and the content of everything below a directory."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in directory.rglob("*")
    }


# --- files that are no experiment -----------------------------------------------------------------

BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
)
FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "must hold a mapping of sections, found nothing"),
    "only comments": (b"# a\n\n# b\n", "must hold a mapping of sections, found nothing"),
    "a list": (b"- a\n- b\n", "must hold a mapping of sections, found a list"),
    "a scalar": (b"hello\n", "must hold a mapping of sections, found 'hello'"),
    "a long scalar": (b"x" * 5000, f"must hold a mapping of sections, found '{'x' * 76}..."),
    "two documents": (
        GOOD.encode() + b"---\na: 1\n",
        ":7:1: not valid YAML: expected a single document in the stream, but found another",
    ),
    "tab": (b"a:\n\tb: 1\n", r":2:1: not valid YAML: found character '\t' that cannot start"),
    "open quote": (b'a: "x\n', ":1:4: not valid YAML: found unexpected end of stream"),
    "not UTF-8": (b"a: \xff\n", "not UTF-8 text at byte 3"),
    "UTF-16": (GOOD.encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
    "UTF-16 without a mark": (GOOD.encode("utf-16-le"), "is UTF-16 text; save it"),
    "zero byte": (b"a: 1\nb: \x00\n", ":2:4: not valid YAML: unacceptable character #x0000"),
    "escape sequence": (b"a: \x1b[2J\n", ":1:4: not valid YAML: unacceptable character #x001b"),
    "duplicate key": (b"a: 1\na: 2\n", ":2:1: not valid YAML: duplicate key 'a'"),
    "duplicate long key": (
        b"? " + b"k" * 300_000 + b"\n: 1\n? " + b"k" * 300_000 + b"\n: 1\n",
        f":3:3: not valid YAML: duplicate key '{'k' * 76}...",
    ),
    "duplicate key within": (b"a: {b: 1, b: 2}\n", ":1:11: not valid YAML: duplicate key 'b'"),
    "number as key": (b"1: 2\n", ":1:1: not valid YAML: key 1 is not text"),
    "merge": (b"<<: {a: 1}\n", "<<: unknown key"),
    "tag that fails": (b"a: !!timestamp zz\n", "not valid YAML: tags are not read here"),
    "tag of a key": (b"!!str a: 1\n", "not valid YAML: tags are not read here"),
    "alias used twice": (b"a: &a [x]\nb: [*a, *a]\n", ":2:5: not valid YAML: aliases are not read"),
    "deep value": (b"a: " + b"[" * 300 + b"]" * 300, "a: unknown key"),
    "python object": (
        b'a: !!python/object/apply:os.mkdir ["made"]\n',
        ":1:4: not valid YAML: tags are not read here",
    ),
    "unknown tag": (b"a: !foo x\n", ":1:4: not valid YAML: tags are not read here"),
    "alias bomb": (BOMB.encode(), ":2:8: not valid YAML: aliases are not read here"),
    "alias of itself": (b"a: &a [*a]\n", ":1:8: not valid YAML: aliases are not read here"),
    "deep lists": (b"[" * 10_000, "not valid YAML: nested too deeply"),
    "deep mappings": (b"{a: " * 10_000, "not valid YAML: nested too deeply"),
    "deep blocks": (b"- " * 10_000 + b"x\n", "not valid YAML: nested too deeply"),
    "long key": (
        b"? " + b"k" * (LARGEST_FILE - 100) + b"\n: 1\n",
        "kkkk: unknown key; valid keys here: data, experiment_name, model,",
    ),
    "key of a megabyte": (b"k" * LARGEST_FILE + b": 1\n", "larger than 1,000,000 bytes"),
    "long anchor": (b"a: &" + b"k" * 500_000 + b" 1\n", "a: unknown key"),
    "many values": (b"a: [" + b"1," * MOST_VALUES, "not valid YAML: more than 10,000 values"),
    "list as key": (b"? [" + b"1," * 5000 + b"]\n: 1\n", "not valid YAML: key [1, 1, 1, "),
    "endless number": (b"a: " + b"9" * 5000, ":1:4: not valid YAML: an integer of more than 100"),
    "character beyond Unicode": (b'a: "\\UFFFFFFFF"', "not valid YAML: the escape names no char"),
    "half a character": (b'a: "\\ud800"', ":1:4: not valid YAML: half of a surrogate pair"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_experiment_is_refused_with_the_place(
    name: str, foundry: Foundry, here: Path
) -> None:
    content, message = FILES[name]
    (here / "bad.yaml").write_bytes(content)
    before = files(here)
    ended = foundry("train", "bad.yaml")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.splitlines() == ended.faults
    # what an experiment must have, and a file of one strange key lacks
    (line,) = [line for line in ended.faults if not line.endswith(": is required")]
    assert line.startswith("error: bad.yaml:") and message in line
    assert line.isprintable() and len(line) <= LONGEST_LINE + len("error: ")
    assert files(here) == before


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("missing.yaml", "missing.yaml: no such file"),
        ("folder", "folder: is not a file; name an experiment file"),
        ("/dev/zero", "/dev/zero: is not a file; name an experiment file"),
        ("link", "link: is not a file; name an experiment file"),
        ("loop", "loop: cannot be read (Too many levels of symbolic links)"),
        ("good.yaml/x", "good.yaml/x: cannot be read (Not a directory)"),
        ("x" * 300, "xxx: cannot be read (File name too long)"),
        ("a\nb\x1b[2J", r"a\nb\x1b[2J: no such file"),
        ("/proc/self/pagemap", "/proc/self/pagemap: "),  # a regular file of no size, and endless
    ],
)
def test_a_path_that_is_no_file_is_not_read(
    place: str, message: str, foundry: Foundry, here: Path
) -> None:
    (here / "folder").mkdir()
    os.mkfifo(here / "pipe")
    (here / "link").symlink_to("/dev/zero")
    (here / "loop").symlink_to("loop")
    ended = foundry("train", place)
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("error: ") and message in line
    assert line.isprintable()


# --- settings that are refused --------------------------------------------------------------------


RATE, BATCH = "training.learning_rate", "training.per_device_train_batch_size"
NAME = "must match ^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$, got"
# A change of the good experiment, and what is said of it.
SETTINGS: dict[str, tuple[str, str]] = {
    # names
    "misspelt key": (
        "training.learning_rat=1",
        "training.learning_rat: unknown key; did you mean 'learning_rat",
    ),
    "upper-case key": (
        "training.MAX_STEPS=1",
        "training.MAX_STEPS: unknown key; did you mean 'max_steps'?",
    ),
    "key of another section": (
        "hidden_size=1",
        "hidden_size: unknown key; did you mean 'model.transformer.hidden_size'?",
    ),
    "misspelt architecture": (
        "model.architecture=gtp2",
        "did you mean 'gpt2'? Architecture 'gtp2' not registered. Avail",
    ),
    "architecture that is an import path": (
        "model.architecture=spoilt:Model",
        "Unknown architecture: 'spoilt:Model'",
    ),
    "architecture that is a module": (
        "model.architecture=spoilt.Model",
        "Unknown architecture: 'spoilt.Model'",
    ),
    "objective that is an import path": (
        "training.objective=spoilt:Model",
        "training.objective: Unknown objective: 'spoilt:Model'",
    ),
    "remote code": ("trust_remote_code=true", "trust_remote_code: unknown key; valid keys"),
    "remote code of the model": (
        "model.trust_remote_code=true",
        "model.trust_remote_code: unknown key; valid keys here",
    ),
    "remote code of the tokenizer": (
        "tokenizer.trust_remote_code=true",
        "tokenizer.trust_remote_code: unknown key; valid keys",
    ),
    # numbers
    "rate as text": (
        f"{RATE}='1e-4'",
        f"{RATE}: must be a number, got '1e-4' (text); write it without quotes",
    ),
    "negative rate": (f"{RATE}=-1e-3", f"{RATE}: must be > 0, got -0.001"),
    "rate of zero": (f"{RATE}=0", f"{RATE}: must be > 0, got 0"),
    "rate that is no number": (f"{RATE}=.nan", f"{RATE}: must be finite, got nan"),
    "infinite rate": (f"{RATE}=.inf", f"{RATE}: must be finite, got inf"),
    "rate beyond a float": (f"{RATE}=1e999", f"{RATE}: must be finite, got inf"),
    "empty batch": (f"{BATCH}=0", f"{BATCH}: must be > 0, got 0"),
    "batch of true": (f"{BATCH}=true", f"{BATCH}: must be an integer, got true"),
    "batch of a half": (f"{BATCH}=2.5", f"{BATCH}: must be an integer, got 2.5"),
    "batch as text": (
        f"{BATCH}='8'",
        f"{BATCH}: must be an integer, got '8' (text); write it without quotes",
    ),
    "huge batch": (f"{BATCH}={10**30}", f"{BATCH}: must be < {2**31}, got {10**30}"),
    "longest integer": (f"{BATCH}={'9' * MOST_DIGITS}", f"{BATCH}: must be < {2**31}, got 9999"),
    "dropout beyond one": (
        "model.transformer.dropout=1.5",
        "model.transformer.dropout: must be < 1, got 1.5",
    ),
    "endless layers": (
        f"model.transformer.layers={2**31 - 1}",
        f"model.transformer.layers: must be <= 1000, got {2**31 - 1}",
    ),
    "endless width": (
        f"model.transformer.hidden_size={2**31 - 2}",
        f"model.transformer.hidden_size: must be <= {2**20}, got {2**31 - 2}",
    ),
    "negative seed": ("seed=-1", "seed: must be >= 0, got -1"),
    "seed beyond 63 bits": (f"seed={2**64}", f"seed: must be < {2**63}, got {2**64}"),
    "octal": ("seed=010", "seed: must be an integer, got '010'"),
    "sexagesimal": ("seed=3:20", "seed: must be an integer, got '3:20'"),
    "date": ("seed=2020-01-01", "seed: must be an integer, got '2020-01-01'"),
    "on": ("seed=on", "seed: must be an integer, got 'on'"),
    "required and null": ("data.train=null", "data.train: must be text, got null"),
    "section and null": ("data=null", "data: must be a mapping, got null"),
    # laws between settings
    "heads that do not divide": (
        "model.transformer.attention_heads=3",
        "model.transformer.hidden_size: must be a multiple of attention_heads (=3), got 8",
    ),
    "block beyond the positions": (
        "model.transformer.max_position_embeddings=7",
        "data.max_sequence_length: (=8) exceeds model.transformer.max_position_embeddings (=7); lo",
    ),
    "warm-up beyond the end": (
        "training.warmup_steps=3",
        "training.warmup_steps: must be <= training.max_steps (=2), got",
    ),
    "steps and epochs": (
        "training.epochs=1",
        "training.epochs: (=1) and training.max_steps (=2) both set the leng",
    ),
    "neither steps nor epochs": (
        "training.max_steps=null",
        "training.max_steps: is required, unless training.epochs is gi",
    ),
    "no section for the architecture": (
        "model.architecture=gru",
        "model: Architecture 'gru' requires 'rnn' configuration",
    ),
    "option of BERT for a recurrent model": (
        "model={architecture: gru, rnn: {embedding_size: 8, hidden_size: 8, type_vocab_size: 2}}",
        "model.rnn.type_vocab_size: unknown key; did you mean 'model.bert.type_vocab_size'?",
    ),
    "option of a recurrent model for BERT": (
        "model.transformer.bidirectional=true",
        "model.transformer.bidirectional: unknown key; did you mean 'model.rnn.bidirectional'?",
    ),
    # the one that only torch can tell
    "fp16 without an accelerator": (
        "training.mixed_precision=fp16",
        "training.mixed_precision: 'fp16' needs an accelerator",
    ),
    # paths and names
    "too many files": (
        f"data.train=[{'a,' * 5001}]",
        "data.train: must have at most 5000 entries; name a folder or a glob, got ['a', 'a'",
    ),
    "no run directory": ("output_dir=''", "output_dir: must name a directory of its own"),
    "root as run directory": ("output_dir=/", "output_dir: must name a directory of its own"),
    "parent as run directory": ("output_dir=runs/..", "output_dir: must name a directory of"),
    "run directory of two lines": (
        r'output_dir="a\nb"',
        r"output_dir: must name a directory of its own, got 'a\nb'",
    ),
    "run directory with a zero byte": (
        r'output_dir="a\0b"',
        r"output_dir: must not hold a zero byte, got 'a\x00b'",
    ),
    "long run directory": (
        f"output_dir={'x' * 300}/y",
        "output_dir: must not hold a name of more than 200 bytes, got",
    ),
    "run directory of nobody": (
        "output_dir=~no-one/x",
        "output_dir: must not begin with an unknown home, got '~no-one/x'",
    ),
    "cache of nobody": (
        "data.cache_dir=~no-one",
        "data.cache_dir: must not begin with an unknown home, got '~no-",
    ),
    "tokenizer of nobody": (
        "tokenizer.path=~no-one/x",
        "tokenizer.path: must not begin with an unknown home, got '~no",
    ),
    "name that climbs": ("experiment_name=../../etc/x", f"experiment_name: {NAME} '../../etc/x'"),
    "name with a slash": ("experiment_name=a/b", f"experiment_name: {NAME} 'a/b'"),
    "long name": (f"experiment_name={'x' * 300}", f"experiment_name: {NAME} 'xxx"),
    "name with a dash": ("experiment_name=-rf", f"experiment_name: {NAME} '-rf'"),
    "name of two lines": (r'experiment_name="a\n"', rf"experiment_name: {NAME} 'a\n'"),
    # overrides
    "no value": ("training.max_steps", "override 'training.max_steps': must read key.key=va"),
    "no key": ("=1", "override '=1': must read key.key=value"),
    "empty value": ("training.max_steps=", "training.max_steps: is required, unless traini"),
    "wrong type": ("training.max_steps=ten", "training.max_steps: must be an integer, got"),
    "section in a scalar": (
        "training.max_steps.a=1",
        "override 'training.max_steps.a=1': training.max_steps is the single value 2",
    ),
    "value that is no YAML": ("seed=[1", "override 'seed=[1':1:3: not valid YAML: expected"),
    "endless key": ("data.train.hub" + ".a" * 20_000 + "=1", "no key lies 20003 sections de"),
    "endless override": ("x" * 100_000, "xxx...: must read key.key=value"),
    "escape sequence in an override": (
        "seed\x1b[2J=1",
        r"seed\x1b[2J: unknown key; did you mean 'seed'?",
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_refused_setting_is_one_line_with_field_law_and_value(
    name: str, foundry: Foundry, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "spoilt.py").write_text("from pathlib import Path\nPath('touched').touch()\n")
    monkeypatch.syspath_prepend(here)
    before = files(here)
    override, message = SETTINGS[name]
    ended = foundry("train", "good.yaml", override)
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.faults
    assert message in line and line.isprintable()
    assert "Traceback" not in ended.err
    assert files(here) == before


# --- keys of a file that no override could name ---------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('"": 1', "'': unknown key; valid keys here: data, experiment_name"),
        ("training.max_steps: 1", "training.max_steps: unknown key; dots join keys on the command"),
        (r'"a\nb\e[2J": 1', r"a\nb\x1b[2J: unknown key; valid keys here: "),
        ("<<: {seed: 1}", "<<: unknown key; valid keys here: "),
        ("Seed: 1", "Seed: unknown key; did you mean 'seed'?"),
        ("\u202edees: 1", r"\u202edees: unknown key; valid keys here: "),
    ],
)
def test_a_key_cannot_hide_in_what_is_said_of_it(
    text: str, line: str, foundry: Foundry, here: Path
) -> None:
    (here / "bad.yaml").write_text(GOOD + text + "\n", encoding="utf-8")
    ended = foundry("train", "bad.yaml")
    assert ended.code == 2
    (fault,) = ended.faults
    assert fault.startswith(f"error: bad.yaml: {line}")
    assert fault.isprintable()


THOUSANDS = ",".join(f"key{number}: 1" for number in range(4000))


@pytest.mark.parametrize(
    "text",
    [
        GOOD + THOUSANDS.replace(",", "\n"),
        GOOD + f"seed: {{{THOUSANDS}}}",
        GOOD.replace("{tokenizer_type: character}", f"{{special_tokens: {{{THOUSANDS}}}}}"),
        GOOD.replace("corpus.txt", f"[{'1,' * 4000}]"),
    ],
    ids=["keys", "keys of a section", "roles", "paths"],
)
def test_of_thousands_of_faults_some_are_told_and_the_rest_is_counted(
    text: str, foundry: Foundry, here: Path
) -> None:
    (here / "bad.yaml").write_text(text)
    ended = foundry("train", "bad.yaml")
    assert ended.code == 2
    assert len(ended.faults) == MOST_FAULTS + 1
    assert ended.faults[-1] == (
        f"error: bad.yaml: and {4000 - MOST_FAULTS:,} more faults; mend these first"
    )


# --- what the corpus or the tokenizer is to blame for ---------------------------------------------


def save_tokenizer(directory: Path, entries: int) -> None:
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<pad>": 0, "<unk>": 1, **{f"w{n}": n for n in range(2, entries)}}
    model = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "w2", "eos_token": "w3"}
    PreTrainedTokenizerFast(tokenizer_object=model, **special).save_pretrained(directory)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["tokenizer.path=./words", "tokenizer.vocab_size=30"],
            "words: the tokenizer has ids up to 39, but tokenizer.vocab_size (=30) gives the model",
        ),
        (["data.train=one.txt"], "the corpus is a single document, so none can be held out"),
        (
            ["data.split_by=position", "data.validation_fraction=1e-17"],
            "data.validation_fraction (=1e-17) of 710 characters leaves an empty part",
        ),
        (["data.validation=empty.txt"], "empty.txt: holds no text"),
        ([r'data.train="no\nsuch\e[2J"'], r"error: no\nsuch\x1b[2J: no such file"),
        (["data.train=$HOME/corpus.txt"], "$HOME/corpus.txt: no such file"),
        (["data.train=${PWD}/corpus.txt"], "${PWD}/corpus.txt: no such file"),
    ],
)
def test_faults_of_the_data_exit_with_three(
    overrides: list[str], message: str, foundry: Foundry, here: Path
) -> None:
    save_tokenizer(here / "words", 40)
    (here / "one.txt").write_text("one line")
    (here / "empty.txt").write_text(" \n")
    before = files(here)
    ended = foundry("train", "good.yaml", *overrides)
    assert (ended.code, ended.out) == (3, "")
    (line,) = ended.faults
    assert message in line and line.isprintable()
    of_the_training_text = here / "cache"  # nothing is wrong with that where another text is empty
    left = {p: f for p, f in files(here).items() if of_the_training_text not in (p, *p.parents)}
    assert (left if "data.validation=empty.txt" in overrides else files(here)) == before


# --- what looks like a mistake and is none --------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        # a float by YAML 1.2, whatever PyYAML thinks
        ("training.learning_rate=1e-4", "training.learning_rate", 1e-4),
        ("training.learning_rate=1", "training.learning_rate", 1.0),
        # nothing is expanded, so nothing of the environment leaks into a run
        ("output_dir=$HOME/run", "output_dir", Path("$HOME/run")),
        ("output_dir=runs/${USER}", "output_dir", Path("runs/${USER}")),
        # where a run lies is the caller's to say
        ("output_dir=../runs/one", "output_dir", Path("../runs/one")),
        # a name that only another operating system reserves
        ("experiment_name=CON", "experiment_name", "CON"),
        ("experiment_name='1e3'", "experiment_name", "1e3"),
        ("training.mixed_precision=no", "training.mixed_precision", "no"),
    ],
)
def test_an_unusual_value_is_taken_as_it_stands(
    override: str, field: str, value: Any, foundry: Foundry, here: Path
) -> None:
    before = files(here)
    ended = foundry("validate", "good.yaml", override)
    assert (ended.code, ended.err) == (0, "")
    assert files(here) == before
    found: Any = load_config("good.yaml", overrides=[override])
    for name in field.split("."):
        found = getattr(found, name)
    assert found == value and type(found) is type(value)


def test_a_section_that_the_architecture_does_not_read_is_warned_of(foundry: Foundry) -> None:
    # Refusing it would keep a study from changing the architecture alone.
    ended = foundry("validate", "good.yaml", "model.bert={type_vocab_size: 3}")
    assert ended.code == 0
    assert ended.err.startswith("warning: model.bert has no effect: architecture 'gpt2' does not")


def test_one_step_may_take_more_blocks_than_the_corpus_has(foundry: Foundry, here: Path) -> None:
    # Batches run on from one pass over the blocks into the next, so no step is cut short.
    ended = foundry("train", "good.yaml", "training.gradient_accumulation_steps=100")
    assert ended.code == 0, ended.err
    assert len(CORPUS) < 2 * 100 * 8  # characters, against those of one step


# --- soon, in little memory, without torch --------------------------------------------------------

# Runs a command in an address space of 600 MB; prints the seconds of processor time, and what was
# imported of the heavy libraries.
CONFINED = """
import resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (600_000_000, 600_000_000))
from model_foundry.cli import main
try:
    main()
finally:
    print(time.process_time(), *sorted({"torch", "transformers", "datasets"} & set(sys.modules)))
"""
SLOWEST = 4.0  # seconds; two for a machine of today


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["alias bomb", "deep lists", "long key", "key of a megabyte", "many values", "long anchor"],
)
def test_a_hostile_file_costs_little(name: str, here: Path, project: Path) -> None:
    (here / "bad.yaml").write_bytes(FILES[name][0])
    code, out, err = confined("bad.yaml", project)
    seconds, *heavy = out.split()
    assert (code, heavy) == (2, [])
    assert float(seconds) < SLOWEST
    assert FILES[name][1] in err and "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("place", ["pipe", "/dev/zero", "good.yaml"])
def test_so_does_what_is_no_file_and_a_plain_mistake(place: str, here: Path, project: Path) -> None:
    os.mkfifo(here / "pipe")
    code, out, err = confined(place, project, "training.learning_rat=1")
    seconds, *heavy = out.split()
    assert (code, heavy) == (2, [])
    assert float(seconds) < SLOWEST
    assert len(err.splitlines()) == 1


def confined(place: str, project: Path, *overrides: str) -> tuple[int, str, str]:
    """Train alone; exit code, what `CONFINED` prints, and the standard error."""
    done = subprocess.run(
        [sys.executable, "-c", CONFINED, "train", place, *overrides],
        env=os.environ | {"PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr

"""Wrong experiment files and overrides, through the command line.

Each is refused with its exit code and one line a fault, soon, in little memory, and nothing is
written. Where a choice had to be made, the row says which.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from model_foundry.config import load_config
from model_foundry.config.validation import MOST_FAULTS
from model_foundry.config.yaml_file import LARGEST_FILE
from model_foundry.config.yaml_reader import MOST_DIGITS, MOST_VALUES
from model_foundry.foundation.messages import LONGEST_LINE
from tests.config.conftest import CORPUS, GOOD, Ended, Foundry

# --- files: the whole content, and the line without `bad.yaml` ------------------------------------
# A number at the beginning is the place of a fault in the YAML: line and column.

SECTIONS = ": must hold a mapping of sections, found"
BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
)
COSTLY: dict[str, tuple[str, str]] = {
    "alias bomb": (BOMB, "2:8 aliases are not read here"),
    "deep lists": ("[" * 10_000, ": not valid YAML: nested too deeply"),
    "long key": (f"? {'k' * (LARGEST_FILE - 100)}\n: 1\n", "kkkk: unknown key; valid keys here: d"),
    "key of a megabyte": (f"{'k' * LARGEST_FILE}: 1\n", ": larger than 1,000,000 bytes"),
    "many values": ("a: [" + "1," * MOST_VALUES, "1:19999 more than 10,000 values"),
    "long anchor": (f"a: &{'k' * 500_000} 1\n", ": a: unknown key"),
}
FILES: list[tuple[str | bytes, str]] = [
    *COSTLY.values(),
    ("", f"{SECTIONS} nothing"),
    ("# a\n\n# b\n", f"{SECTIONS} nothing"),
    ("- a\n- b\n", f"{SECTIONS} a list"),
    ("hello\n", f"{SECTIONS} 'hello'"),
    ("x" * 5000, f"{SECTIONS} '{'x' * 76}..."),
    (f"{GOOD}---\na: 1\n", "7:1 expected a single document in the stream, but found another"),
    # encodings
    (b"a: \xff\n", ": not UTF-8 text at byte 3, in line 1; save it as UTF-8"),
    (b"a: 1\nb: \xf6", ": not UTF-8 text at byte 8, in line 2; save it as UTF-8"),
    *(
        (GOOD.encode(encoding), ": is UTF-16 or UTF-32 text; save it as UTF-8")
        for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be")
    ),
    ("a: 1\nb: \0\n", "2:4 unacceptable character #x0000"),
    ("a: \x1b[2J\n", "1:4 unacceptable character #x001b"),
    ('a: "\\UFFFFFFFF"', "1:7 the escape names no character"),
    ('a: "\\ud800"', "1:4 half of a surrogate pair is no text"),
    # indents
    ("a:\n  b: 1\n c: 1\n", "3:2 this line is indented by 1, but the sections above by 0 or 2; al"),
    ("a:\r\n  b: 1\r\n c: 1\r\n", "3:2 this line is indented by 1, but"),
    ("a:\n    b: 1\n  c: 1\n", "3:3 this line is indented by 2, but the sections above by 0 or 4"),
    ("a: 1\n\n# c\n  b: 2\n", "4:3 this line is indented by 2, but the sections above by 0; align"),
    ("a:\n  b: x\n    c: 1\n", "3:6 line 2 has a value, so this line must be indented like it"),
    ("a: 1\n- b\n", "2:1 a list and keys cannot be mixed at one indent"),
    ("a:\n\tb: 1\n", "2:1 indent with spaces, not with tabs"),
    # colons, quotes and brackets
    ("a:\n  b:5\n  c: 1\n", "2:3 a space is missing after the colon"),
    ("a:\n  c: 1\n  b:5\n", "3:3 a space is missing after the colon"),
    ("a: 1\nb\n", "2:1 a colon is missing after the key"),
    ("a: b: c\n", "1:5 the value contains a colon; put it in quotes"),
    ("a: 'x\nb: 1\n", "1:4 this quote is never closed"),
    ("a: 'it's'\n", "1:8 there is more after the closing quote; put the whole value in quotes"),
    ('a: "C:\\Users"\n', "1:9 write \\\\ for a backslash, or use single quotes"),
    ("a: [1, 2\nb: 1\n", "2:2 a comma or the closing ] is missing; the [ is in line 1, column 4"),
    ("a: {b: 1\nc: 2\n", "2:2 a comma or the closing } is missing; the { is in line 1, column 4"),
    *(
        (f"a: {sign}x\n", f"1:4 a value cannot begin with {sign}; put it in quotes")
        for sign in "@%|"
    ),
    ("a: {b: ???}\n", "1:8 within braces and brackets, put ??? in quotes"),
    ("a: [x, ${A}]\n", "1:8 within braces and brackets, put ${...} in quotes"),
    ("a: {b: ${A}}\n", "1:8 within braces and brackets, put ${...} in quotes"),
    ("a: *.txt\n", "1:4 a value cannot begin with *; put it in quotes"),
    # keys
    ("a: 1\na: 2\n", "2:1 duplicate key 'a', as in line 1; keep one of them"),
    (f"? {'k' * 300_000}\n: 1\n" * 2, f"3:3 duplicate key '{'k' * 76}..."),
    ("a: {b: 1, b: 2}\n", "1:11 duplicate key 'b'"),
    ("1: 2\n", "1:1 key 1 is not text; put it in quotes"),
    ("? [" + "1," * 5000 + "]\n: 1\n", "1:3 key [1, 1, 1, "),
    ("<<: {a: 1}\n", ": <<: unknown key"),
    (f"a: {'[' * 300}{']' * 300}", ": a: unknown key"),
    # what else YAML has
    ("a: &a [x]\nb: [*a, *a]\n", "2:5 aliases are not read here; put text in quotes"),
    ("a: &a [*a]\n", "1:8 aliases are not read here"),
    ("a: *txt\n", "1:4 aliases are not read here; put text in quotes"),
    ("a: !!timestamp zz\n", "1:4 tags are not read here; put text in quotes"),
    ("!!str a: 1\n", "1:1 tags are not read here"),
    ('a: !!python/object/apply:os.mkdir ["made"]\n', "1:4 tags are not read here"),
    ("a: !foo x\n", "1:4 tags are not read here; put text in quotes"),
    ("{a: " * 10_000, ": not valid YAML: nested too deeply"),
    ("- " * 10_000 + "x\n", ": not valid YAML: nested too deeply"),
    (f"a: {'9' * 5000}", "1:4 an integer of more than 100 digits"),
]

# --- overrides, and the line without its place ----------------------------------------------------
# A line that begins with '.', ':' or ' ' continues the key, and "..." leaves out its end.

NAME = ": must be up to 100 letters, digits, '.', '_' or '-', and begin with a letter or digit, got"
UNKNOWN, MEANT = ": unknown key; valid keys here", ": unknown key; did you mean"
NONE = ": unknown key; there is no such setting: "
WHOLE, WORDS = ": must be an integer, got", ": must be a number, a list of numbers or 'babylm', got"
MAPPING, OWN = ": must be a mapping, got", ": must name a directory of its own, got"
KINDS = ": must be one of 'sentencepiece', 'wordpiece', 'bpe', 'character', 'word', got"
UNQUOTED = "(text); write it without quotes"
HOME = ": must not begin with an unknown home, got"


def quoted(value: Any) -> str:
    remedy = f"put it in quotes: '{value}' (on the command line: \"'{value}'\")"
    return f": must be text, got {value}; {remedy}"


def unregistered(name: str, hint: str = ".") -> str:
    # others may have registered more names
    again = f" Architecture '{name}' not registered." if hint == "." else ""
    return f": Unknown architecture: '{name}'{hint}{again} Avail..."


OVERRIDES: list[tuple[str, str]] = [
    # unknown keys
    ("training.learning_rat=1", f"{MEANT} 'learning_rate'?"),
    ("training.MAX_STEPS=1", f"{MEANT} 'max_steps'?"),
    ("training.max_stepps=1", f"{MEANT} 'max_steps'?"),
    ("training.trust_remote_code=true", f"{UNKNOWN}: adadelta, adagrad, adam_beta1, ..."),
    ("seed={init: 1, dat: 2}", f".dat{MEANT} 'data'?"),
    ("seed={b: {c: 1}}", ".b: unknown key..."),
    ("vocab_size=9", f"{MEANT} 'tokenizer.vocab_size'?"),
    ("hidden_size=1", f"{MEANT} 'model.transformer.hidden_size'?"),
    (
        "training.patience=9",
        f"{MEANT} 'early_stopping_patience'?",
    ),
    (
        "training.momentum=0.9",
        f"{MEANT} 'training.sgd.momentum' or 'training.rmsprop.momentum' or 'training.m...",
    ),
    ("trust_remote_code=true", f"{UNKNOWN}: data, debug, experiment_name, model, output_dir, ..."),
    (
        "model.trust_remote_code=true",
        f"{UNKNOWN}: architecture, backbone, bert, dense, ...",
    ),
    ("tokenizer.trust_remote_code=true", f"{UNKNOWN}: lowercase, min_frequency, ..."),
    ("model.wings=2", f"{UNKNOWN}: architecture, backbone, bert, dense, ..."),
    ("model.transformer.hidden_sise=3", f"{MEANT} 'hidden_size'?"),
    ("model.transformer.bidirectional=true", f"{MEANT} 'model.rnn.bidirectional'?"),
    (
        "model={architecture: gru, rnn: {embedding_size: 8, hidden_size: 8, type_vocab_size: 2}}",
        f".rnn.type_vocab_size{MEANT} 'model.bert.type_vocab_size'?",
    ),
    (
        "model.layers=2",
        ": unknown key; a flat model section is no longer read: move 'layers' in...",
    ),
    ("data.train={hub: a, x: 1}", f".x{UNKNOWN}: disk, ..."),
    (
        "data.train={mixture: [{source: a}, {source: b, wieght: 1}]}",
        f".mixture.1.wieght{MEANT} 'weight'?",
    ),
    (  # there is a `path` elsewhere
        "data.train={mixture: [{source: a, path: b}]}",
        f".mixture.0.path{UNKNOWN}: document, documents, repeats, source, text_column, tokens, ...",
    ),
    (
        "data.train={mixture: [{source: {hub: a, x: 1}}]}",
        f".mixture.0.source.x{UNKNOWN}: disk, hub, images, language, name, ...",
    ),
    ("training.milestones.word=5", f"{MEANT} 'words'?"),
    ("seed\x1b[2J=1", rf"seed\x1b[2J{MEANT} 'seed'?"),
    # names of other programs
    ("training.lr=1", f"{MEANT} 'learning_rate'?"),
    ("lr=1", f"{MEANT} 'training.learning_rate'?"),
    ("Batch-Size=1", f"{MEANT} 'training.per_device_train_batch_size'?"),
    ("training.num_train_epochs=1", f"{MEANT} 'epochs'?"),
    ("training.block_size=8", f"{MEANT} 'data.max_sequence_length'?"),
    ("training.fp16=true", f"{MEANT} 'mixed_precision: fp16'?"),
    ("training.tf32=true", f"{MEANT} 'training.speed.fp32_products: tf32'?"),
    ("model.transformer.n_layer=2", f"{MEANT} 'layers'?"),
    ("model.transformer.n_embd=2", f"{MEANT} 'hidden_size'?"),
    ("n_layer=2", f"{MEANT} 'model.transformer.layers' or 'model.rnn.num_layers'?"),
    ("training.seed=1", f"{MEANT} 'seed', at the top of the file?"),
    ("training.optim=adamw_torch", f"{MEANT} 'optimizer'?"),
    ("training.optimizer=adamm", ": Unknown optimizer: 'adamm'; did you mean 'adam'? ..."),
    ("training.optimizer=adamw_hf", ": Unknown optimizer: 'adamw_hf'; did you mean 'adamw'? ..."),
    ("training.optimizer=spoilt:Optimizer", ": Unknown optimizer: 'spoilt:Optimizer'. Ava..."),
    (
        "training.lr_scheduler_type=constant_with_warmup",
        ": Unknown schedule: 'constant_with_warmup'; did you mean 'constant'? ...",
    ),
    ("training.lr_scheduler_type=wsd", ": Unknown schedule: 'wsd'; did you mean 'warmup_st..."),
    (
        "training.lr_scheduler_type=cosine_with_min_lr",
        ": Unknown schedule: 'cosine_with_min_lr'; did you mean 'cosine'? Available: ...",
    ),
    ("training.metrics=[loss, acc]", ": Unknown metric: 'acc'; did you mean 'accuracy'? Avail..."),
    ("training.metrics=[loss, loss]", ": must name each once, got 'loss' twice"),
    ("training.metrics=loss", ": must be a list, got 'loss'; write [loss]"),
    ("training.train_metrics=[acuracy]", ": Unknown metric: 'acuracy'; did you mean 'accur..."),
    ("training.train_metrics=[loss]", ": 'loss' is always logged, of each step by itself;..."),
    ("training.train_metrics=[bits_per_byte]", ": 'bits_per_byte' needs the bytes of the..."),
    ("training.train_metrics=[bleu]", ": 'bleu' compares what the model generates, which it..."),
    ("training.metric_for_best_model=acuracy", ": Unknown metric: 'acuracy'; did you mean..."),
    ("training.losses={modl: 1.0}", ": Unknown loss: 'modl'; did you mean 'model'? Available..."),
    ("training.losses={model: 0}", ".model: must be > 0, got 0"),
    ("training.report_to=wandb", ": unknown key; did you mean 'tracking.trackers'?"),
    ("device=cuda", f"{NONE}the device is chosen: ..."),
    ("tokenizer.tokenizer_type=bpee", f"{KINDS} 'bpee'; did you mean 'bpe'?"),
    ("tokenizer.tokenizer_type=char", f"{KINDS} 'char'; did you mean 'character'?"),
    (
        "training.mixed_precision=bfloat16",
        ": must be one of 'auto', 'no', 'bf16', 'fp16', got 'bfloat16'; did you mean 'bf16'?",
    ),
    ("training.mixed_precision=char", ": must be one of 'auto', 'no', 'bf16', 'fp16', got 'char'"),
    # architectures and objectives
    ("model.architecture=gtp2", unregistered("gtp2", "; did you mean 'gpt2'?")),
    ("model.architecture=spoilt:Model", unregistered("spoilt:Model")),
    ("model.architecture=spoilt.Model", unregistered("spoilt.Model")),
    ("model.architecture=os:system", unregistered("os:system")),
    ("training.objective=spoilt:Model", ": Unknown objective: 'spoilt:Model'. Available..."),
    (
        "model.architecture=gru",
        "model: Architecture 'gru' requires 'rnn' configuration; add ...",
    ),
    (
        "model={architecture: gpt2}",
        ": Architecture 'gpt2' requires 'transformer' configuration; add the section "
        "model.transformer",
    ),
    ("model={}", ".architecture: is required"),
    ("model.transformer={layers: 1, hidden_size: 4}", ".attention_heads: is required"),
    # numbers
    ("training.learning_rate='1e-4'", f": must be a number, got '1e-4' {UNQUOTED}"),
    ("training.learning_rate=-1e-3", ": must be > 0, got -0.001"),
    ("training.learning_rate=-1", ": must be > 0, got -1"),
    ("training.learning_rate=0", ": must be > 0, got 0"),
    ("training.learning_rate=.nan", ": must be finite, got nan"),
    ("training.learning_rate=.inf", ": must be finite, got inf"),
    ("training.learning_rate=1e400", ": must be finite, got inf"),
    ("model.transformer.dropout=1.5", ": must be < 1, got 1.5"),
    ("model.transformer.dropout=-0.5", ": must be >= 0, got -0.5"),
    (f"model.transformer.layers={2**31 - 1}", f": must be <= 1000, got {2**31 - 1}"),
    (f"model.transformer.hidden_size={2**31 - 2}", f": must be <= {2**20}, got {2**31 - 2}"),
    ("training.per_device_train_batch_size=0", ": must be > 0, got 0"),
    ("training.per_device_train_batch_size=true", f"{WHOLE} true"),
    ("training.per_device_train_batch_size=2.5", f"{WHOLE} 2.5"),
    ("training.per_device_train_batch_size='8'", f"{WHOLE} '8' {UNQUOTED}"),
    (f"training.per_device_train_batch_size={10**30}", f": must be < {2**31}, got {10**30}"),
    (
        f"training.per_device_eval_batch_size={'9' * MOST_DIGITS}",
        f": must be < {2**31}, got 9999...",
    ),
    ("training.max_steps=1e5", f"{WHOLE} 100000.0; write 100000"),
    ("training.max_steps=10_000", f"{WHOLE} '10_000'; write 10000"),
    ("training.max_steps='1,000,000'", f"{WHOLE} '1,000,000'; write 1000000"),
    ("training.max_steps=ten", f"{WHOLE} 'ten'"),
    ("seed=true", f"{WHOLE} true"),
    ("seed=1.5", f"{WHOLE} 1.5"),
    *((f"seed={text}", f"{WHOLE} '{text}'") for text in ("3:20", "010", "2020-01-01", "on")),
    ("seed='8'", f"{WHOLE} '8' {UNQUOTED}"),
    ("seed=-1", ": must be >= 0, got -1"),
    (f"seed={2**64}", f": must be < {2**63}, got {2**64}"),
    ("seed={init: x}", f".init{WHOLE} 'x'"),
    (f"seed={'x' * 5000}", f"{WHOLE} '{'x' * 76}..."),
    # milestones and checkpoints
    ("training.milestones.words=babylmm", f"{WORDS} 'babylmm' (text); did you mean 'babylm'?"),
    ("training.milestones.words='9'", f"{WORDS} '9' (text)"),
    ("training.milestones.words=0", ": must be > 0, got 0"),
    ("training.milestones.words=true", f"{WHOLE} true"),
    ("training.milestones.words=1e6", f"{WHOLE} 1000000.0; write 1000000"),
    ("training.milestones.words=[5, -1]", ".1: must be > 0, got -1"),
    ("training.milestones.words=['5']", f".0{WHOLE} '5' {UNQUOTED}"),
    (f"training.milestones.words={2**63}", f": must be < {2**63}, got {2**63}"),
    ("training.milestones.tokens=[true]", f".0{WHOLE} true"),
    ("training.milestones.tokens=babylm", f"{WHOLE} 'babylm'"),
    ("training.milestones.steps=5", ": must be a list, got 5"),
    ("training.milestones.steps=[1, 0]", ".1: must be > 0, got 0"),
    ("training.milestones=babylm", f"{MAPPING} 'babylm'"),
    *(
        (
            f"training.save_total_limit={limit}",
            f": must be >= 2, got {limit}: a single checkpoint would be at risk while the next one "
            "is written and verified; leave it out to keep all",
        )
        for limit in (1, 0, -1)
    ),
    ("training.save_total_limit=2.0", f"{WHOLE} 2.0; write 2"),
    # truths, texts and sections
    ("training.compile=on", ": must be true, false or 'auto', got 'on'"),
    ("tokenizer.lowercase=yes", ": must be true or false, got 'yes'; write true"),
    ("tokenizer.lowercase=Off", ": must be true or false, got 'Off'; write false"),
    *((f"experiment_name={value}", quoted(value)) for value in ("2024", "true")),
    ("data.text_column=1.5", quoted(1.5)),
    ("model.architecture=5", quoted(5)),
    ("training=5", f"{MAPPING} 5"),
    ("model=gpt2", "override 'model=gpt2': the group has no model/gpt2.yaml; did you mean..."),
    ("data=null", f"{MAPPING} null; indent its settings below it"),
    ("training='max_steps:5'", f"{MAPPING} 'max_steps:5'; a space is missing after the colon"),
    ("training.max_steps=", ": is required, unless training.epochs is given"),
    # sources and interventions
    ("data.train=~", ": must be text, got null; a ~ alone is null, the home directory is ~/"),
    ("data.train=[]", ": must not be empty, got []"),
    ("data.train=''", ": must not be empty, got ''"),
    ("data.train=[a, 1]", f".1{quoted(1)}"),
    ("data.validation={hub: 5}", f".hub{quoted(5)}"),
    ("data.test={language: {sentences: 0}}", ".language.sentences: must be > 0, got 0"),
    ("data.train={mixture: [{source: [a, 1]}]}", f".mixture.0.source.1{quoted(1)}"),
    (
        "data.train={mixture: [{source: {language: {sentences: 1, seed: -1}}}]}",
        ".mixture.0.source.language.seed: must be >= 0, got -1",
    ),
    (
        "data.train=[rows.csv, {disk: saved}]",
        ".1: must be text, got {'disk': 'saved'}; a list holds paths only; put other sources in "
        "{mixture: [{source: ...}, ...]}",
    ),
    (
        "data.train={mixture: [{source: {mixture: [{source: a}]}}]}",
        ".mixture.0.source: a mixture cannot contain a mixture, got {'mixture': [{'source': 'a'}]};"
        " list its sources beside the others",
    ),
    (
        f"data.train=[{'a,' * 5001}]",
        ": must have at most 5000 entries; name a folder or a glob, got ['a', 'a'...",
    ),
    (
        "data.interventions=[{step: delete_words, words: No.txt}]",
        ".0.words: there is no file 'No.txt'; name one, or write the words here",
    ),
    (
        "data.interventions=[{step: delete_words, words: 5}]",
        ".0.words: must be a list of words or a file, got 5",
    ),
    (
        "data.interventions=[{step: drop_sentences, pattern: '('}]",
        ".0.pattern: must be a regular expression (missing ), unterminated subpattern at position "
        "0), got '('",
    ),
    # laws between settings; test_cross_checks.py breaks each
    (
        "model.transformer.attention_heads=3",
        "model.transformer.hidden_size: must be a multiple of attention_heads (=3), got 8",
    ),
    ("training.warmup_steps=3", ": must be <= training.max_steps (=2), got 3; lower the first..."),
    # paths and names
    ("output_dir=5", ": must be a path, got 5"),
    ("output_dir=''", f"{OWN} '.'"),
    ("output_dir=/", f"{OWN} '/'"),
    ("output_dir=runs/..", f"{OWN} 'runs/..'"),
    (r'output_dir="a\nb"', rf"{OWN} 'a\nb'"),
    (r'output_dir="a\0b"', r": must not hold a zero byte, got 'a\x00b'"),
    (f"output_dir={'x' * 300}/y", ": must not hold a name of more than 200 bytes, got 'xxx..."),
    ("output_dir=~no-one/x", f"{HOME} '~no-one/x'"),
    ("data.cache_dir=~no-one", f"{HOME} '~no-one'"),
    ("tokenizer.path=~no-one/x", f"{HOME} '~no-one/x'"),
    *(
        (f"experiment_name={name}", f"{NAME} '{name}'")
        for name in ("../../etc/x", "../x", "a/b", "-rf")
    ),
    (f"experiment_name={'x' * 300}", f"{NAME} 'xxx..."),
    (r'experiment_name="a\n"', rf"{NAME} 'a\n'"),
    # the overrides themselves
    ("training.max_steps", "override 'training.max_steps': must read key.key=value"),
    ("=1", "override '=1': must read key.key=value"),
    ("training..max_steps=1", "override 'training..max_steps=1': must read key.key=value"),
    (
        "training.max_steps.a=1",
        "override 'training.max_steps.a=1': training.max_steps is the single value 2",
    ),
    ("seed=[1", "override 'seed=[1':1:3: not valid YAML: a comma or the closing ] is missing; ..."),
    ("seed=*a", "override 'seed=*a':1:1: not valid YAML: aliases are not read here; put text..."),
    ("seed=!!int 1", "override 'seed=!!int 1':1:1: not valid YAML: tags are not read here; ..."),
    (
        f"data.train.hub{'.a' * 20_000}=1",
        f"override 'data.train.hub{'.a' * 31}...: has 20,003 parts; no key has more than 20",
    ),
    ("x" * 100_000, f"override '{'x' * 76}...: must read key.key=value"),
    # what only torch can tell
    ("training.mixed_precision=fp16", ": 'fp16' needs an accelerator..."),
    ("training.attn_implementation=flash_attention_2", " (=flash_attention_2) cannot run: ..."),
    ("training={epochs: 1, warmup_steps: 999}", ".warmup_steps: must be <= the ..."),
]


def contents(directory: Path) -> dict[Path, tuple[int, bytes]]:
    """Return the time and the content of everything below a directory but the cache."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in directory.rglob("*")
        if directory / "cache" not in (path, *path.parents)  # of a corpus that may be right
    }


def refusal(ended: Ended, code: int = 2) -> str:
    """Return the line of a command that was refused for one fault."""
    assert (ended.code, ended.out) == (code, "")
    # what an experiment must have, and a file of one strange key lacks
    lines = [line for line in ended.faults if not line.endswith(": is required")]
    line = (lines or ended.faults)[-1]
    assert len(lines) < 2 and "Traceback" not in ended.err
    assert line.isprintable() and len(line) <= LONGEST_LINE + len("error: ")
    return line.removeprefix("error: ")


PLACE = re.compile(r"^override (?!')|^good\.yaml(:[1-9][0-9]*)?: ")


def begins(line: str, expected: str) -> bool:
    return line == expected or (
        expected.endswith("...") and line.startswith(expected.removesuffix("..."))
    )


@pytest.mark.parametrize(("content", "message"), FILES, ids=lambda text: repr(text)[:40])
def test_a_wrong_file_is_refused_with_the_place(
    content: str | bytes, message: str, foundry: Foundry, here: Path
) -> None:
    (here / "bad.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    before = contents(here)
    line = refusal(foundry("train", "bad.yaml"))
    if message[0].isdigit():
        place, _, message = message.partition(" ")
        message = f":{place}: not valid YAML: {message}"
    assert line.startswith("bad.yaml:") and message in line
    assert contents(here) == before


@pytest.mark.parametrize(("override", "message"), OVERRIDES, ids=lambda text: text[:60])
def test_a_wrong_setting_is_refused_in_one_line(
    override: str, message: str, foundry: Foundry, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "spoilt.py").write_text("from pathlib import Path\nPath('touched').touch()\n")
    monkeypatch.syspath_prepend(here)
    before = contents(here)
    line = refusal(foundry("train", "good.yaml", override))
    if message.startswith((".", ":", " ")):
        message = override.partition("=")[0] + message
    assert begins(PLACE.sub("", line), message)
    assert contents(here) == before


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
    assert message in refusal(foundry("train", place))


# --- keys of a file that no override could name ---------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('"": 1', "'': unknown key; valid keys here: data, debug, experiment_name"),
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
    place = "bad.yaml" if text.startswith('""') else f"bad.yaml:{GOOD.count(chr(10)) + 1}"
    assert refusal(foundry("train", "bad.yaml")).startswith(f"{place}: {line}")


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
        f"error: bad.yaml: and {4000 - MOST_FAULTS:,} more faults; correct these first"
    )


# --- what looks like a mistake and is none --------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        # a float by YAML 1.2, whatever PyYAML thinks
        ("training.learning_rate=1e-4", "training.learning_rate", 1e-4),
        ("training.learning_rate=1", "training.learning_rate", 1.0),
        # only ${...} is an expression, and $${ is none
        ("output_dir=$HOME/run", "output_dir", Path("$HOME/run")),
        ("output_dir=runs/$${USER}", "output_dir", Path("runs/${USER}")),
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
    before = contents(here)
    ended = foundry("validate", "good.yaml", override)
    assert (ended.code, ended.err) == (0, "")
    assert contents(here) == before
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
@pytest.mark.parametrize("name", COSTLY)
def test_a_hostile_file_costs_little(name: str, here: Path, project: Path) -> None:
    text, message = COSTLY[name]
    (here / "bad.yaml").write_text(text)
    code, out, err = confined("bad.yaml", project)
    seconds, *heavy = out.split()
    assert (code, heavy) == (2, [])
    assert float(seconds) < SLOWEST
    assert message.partition(" ")[2] in err and "Traceback" not in err


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

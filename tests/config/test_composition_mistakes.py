"""Mistakes in composed files and overrides: one line a fault, with its place and a remedy."""

from pathlib import Path

import pytest

from model_foundry.foundation.messages import LONGEST_LINE
from tests.config.conftest import GOOD, Foundry

MUST = "must be the path of a file or a list of paths, got"
GIVE = "=VALUE on the command line, or set it in a file that extends this"
LSTM = "model: {architecture: lstm, rnn: {embedding_size: 8, hidden_size: 8}}"
FILES = {
    "model/own.yaml": LSTM,
    "model/flat.yaml": "architecture: lstm\nrnn: {embedding_size: 8}",
    "model/two.yaml": f"{LSTM}\nseed: 3",
    "model/list.yaml": "model: [1]",
    "model/hydra.yaml": f"# @package _global_\ndefaults: [a]\n{LSTM}",
    "model/bad.yaml": "model: {architecture: lstm",
    "model/wrong.yaml": "model: {architecture: lstm, rnn: {embedding_size: 8, hidden_sise: 8}}",
    "model/lost.yaml": f"extends: gone.yaml\n{LSTM}",
    "trainer/key.yaml": "trainer: {max_steps: 3}",
    "experiment/own.yaml": "training:\n  max_step: 3",
    "loop.yaml": "seed: 1\nextends: other.yaml",
    "other.yaml": "extends: loop.yaml",
    "list.yaml": "- 1",
    "broken.yaml": "seed: 1\ndata: {train: a: b}",
    "wrong.yaml": "training:\n  max_step: 3",
}
# --- files, which extend good.yaml where they name nothing else, and the line ---------------------
# A number at the beginning is the line in bad.yaml.

CHILDREN: list[tuple[str, str]] = [
    (f"extends: {'x' * 300}.yaml", "1: extends: 'xxx"),
    (
        "extends: goood.yaml",
        "1: extends: there is no file 'goood.yaml', nor a shipped one of this name; did you "
        "mean 'good.yaml'?",
    ),
    (
        "seed: 1\nextends: [good.yaml, tiny_lstn.yaml]",
        "2: extends: there is no file 'tiny_lstn.yaml', nor a shipped one of this name; did "
        "you mean 'tiny_lstm.yaml'?",
    ),
    ("extends: ../qqq/good.yaml", "1: extends: there is no file '../qqq/good.yaml', nor "),
    (
        "extends: zzzz",
        "1: extends: there is no file 'zzzz', nor a shipped one of this name; there are "
        "acceptability.yaml, bad.yaml, ",
    ),
    (
        "extends: bad.yaml",
        "1: extends: 'bad.yaml' leads back to itself (bad.yaml -> bad.yaml); drop one",
    ),
    (
        "extends: loop.yaml",
        "other.yaml:1: extends: 'loop.yaml' leads back to itself (loop.yaml -> other.yaml -> "
        "loop.yaml); drop one",
    ),
    ("extends: 5", f"1: extends: {MUST} 5"),
    ("extends: null", f"1: extends: {MUST} null"),
    ("extends: []", f"1: extends: {MUST} []"),
    ("extends: ''", f"1: extends: {MUST} ''"),
    ("extends: {base: good.yaml}", f"1: extends: {MUST} a mapping"),
    ("extends: [good.yaml, [a.yaml]]", f"1: extends: {MUST} ['good.yaml', ['a.yaml']]"),
    ("extends: list.yaml", "list.yaml: must hold a mapping of sections, found a list"),
    ("extends: broken.yaml", "broken.yaml:2:16: not valid YAML: "),
    ("extends: model", "model: is not a file; name an experiment file"),
    ("extends: ~no-one/a.yaml", "1: extends: '~no-one/a.yaml' cannot be read (~no-one is "),
    (
        "model: {extends: a.yaml}",
        "2: model.extends: unknown key; there is no such setting: it stands at the top of a "
        "file, not in a section or on the command",
    ),
    (
        "extends: [good.yaml, wrong.yaml]",
        "wrong.yaml:2: training.max_step: unknown key; did you mean 'max_steps'?",
    ),
    ("data:\n  trian: b.txt", "3: data.trian: unknown key; did you mean 'train'?"),
    ("data: {train: null}", "2: data.train: must "),
    ("model: null", "bad.yaml: model: is required"),
    ("seed: {inti: 1}", "2: seed.inti: unknown key; did you mean 'init'?"),
    (
        "defaults: [model: own]",
        "2: defaults: unknown key; there is no such setting: a file names those below it in "
        "'extends', and the command line chooses groups",
    ),
    (
        "hydra: {run: {dir: a}}",
        "2: hydra: unknown key; there is no such setting: there is no Hydra here: output_dir "
        "names the run",
    ),
    (
        "model: {_target_: torch.nn.LSTM}",
        "2: model._target_: unknown key; there is no such setting: names of registered "
        "things choose what is made",
    ),
    ("data:\n  train: ???", f"3: data.train: must be given; write data.train{GIVE}"),
    ("model:\n  ???", f"2: model: must be given; write model{GIVE}"),
    (
        "experiment_name: ???\noutput_dir: a/${experiment_name}",
        f"2: experiment_name: must be given; write experiment_name{GIVE}",
    ),
    (
        "output_dir: a/${experiment_nam}",
        "2: output_dir: ${experiment_nam}: there is no such key; did you mean ${experiment_name}?",
    ),
    (
        "output_dir: ${training.max_stps}",
        "2: output_dir: ${training.max_stps}: there is no such key; did you mean "
        "${training.max_steps}?",
    ),
    (
        "seed: ${qqqqq}",
        "2: seed: ${qqqqq}: there is no such key; name one from the top of the file on, such "
        "as ${seed}",
    ),
    (
        "output_dir: ${home}",
        "2: output_dir: ${home}: there is no such key; a variable is written in capitals: ${HOME}",
    ),
    (
        "experiment_name: ${output_dir}",
        "2: experiment_name: ${output_dir}: output_dir is not given; give it a value",
    ),
    (
        "seed: ${model.rnn.num_layers}",
        "2: seed: ${model.rnn.num_layers}: model.rnn.num_layers is not given; give it a value",
    ),
    (
        "experiment_name: ${experiment_name}",
        "2: experiment_name: leads back to itself (experiment_name -> experiment_name); give "
        "one of them a value",
    ),
    (
        "seed: ${training.max_steps}\ntraining: {max_steps: '${seed}'}",
        "3: training.max_steps: leads back to itself (training.max_steps -> seed -> "
        "training.max_steps); give one of them a value",
    ),
    (
        "data: {validation: '${data}'}",
        "2: data.validation: leads back to itself (data.validation -> data.validation); give",
    ),
    (
        "experiment_name: a-${model}",
        "2: experiment_name: ${model} is a mapping, which cannot stand within text",
    ),
    ("seed: ${experiment_name}", "2: seed: must be an integer, got 'one'"),
    (
        "output_dir: a/${seed",
        "2: output_dir: the ${ has no closing }; write $${ for the characters",
    ),
    (
        "output_dir: a/${a.${b}}",
        "2: output_dir: ${a.${b}: expressions cannot stand within each other",
    ),
    (
        "output_dir: ${}",
        "2: output_dir: ${}: no expression; write ${key.of.this.file}, or ${NAME} or "
        "${NAME:default} of the environment, or $${ for",
    ),
    ("output_dir: ${.seed}", "2: output_dir: ${.seed}: the whole name "),
    (
        "output_dir: '${data.train[0]}'",
        "2: output_dir: ${data.train[0]}: an entry of a list is named by its number, as in "
        "${data.train.0}",
    ),
    (
        "output_dir: ${env:HOME}",
        "2: output_dir: ${env:HOME}: write ${NAME} for a variable of the environment",
    ),
    (
        "output_dir: '${oc.select:a,b}'",
        "2: output_dir: ${oc.select:a,b}: there are no resolvers; write ${key.of.this.file}, "
        "or ${NAME}",
    ),
    (
        "output_dir: '${hydra:run.dir}'",
        "2: output_dir: ${hydra:run.dir}: there are no resolvers; write",
    ),
    (
        "output_dir: ${seed:3}",
        "2: output_dir: ${seed:3}: only a variable of the environment, in capitals, has a default",
    ),
    (
        "data:\n  train: ${FOUNDRY_CORPSE}",
        "3: data.train: ${FOUNDRY_CORPSE}: this variable of the environment is not set; did "
        "you mean ${FOUNDRY_CORPUS}? set it, or write ${FOUNDRY_CORPSE:default}",
    ),
    (
        "data:\n  train: ${oc.env:QQQQQQ}",
        "3: data.train: ${oc.env:QQQQQQ}: this variable of the environment is not set; set "
        "it, or write ${QQQQQQ:",
    ),
    (
        "training: {max_steps: '${FOUNDRY_SECRET}'}",
        "2: training.max_steps: must be an integer, got ${FOUNDRY_SECRET}",
    ),
    (
        "training:\n  max_steps: ${FOUNDRY_ZERO}",
        "3: training.max_steps: must be > 0, got ${FOUNDRY_ZERO}",
    ),
    (
        "model:\n  architecture: ${FOUNDRY_SECRET}",
        "3: model.architecture: Unknown architecture: '${FOUNDRY_SECRET}'",
    ),
    (
        "experiment_name: a ${FOUNDRY_SECRET}",
        "2: experiment_name: must be up to 100 letters, digits, '.', '_' or '-', and begin "
        "with a letter or digit, got a ${FOUNDRY_SECRET}",
    ),
    (
        "output_dir: ${FOUNDRY_BYTES}",
        "2: output_dir: ${FOUNDRY_BYTES}: the value of this variable is not UTF-8 text",
    ),
]

# --- overrides of good.yaml -----------------------------------------------------------------------
# What follows a colon is said of the override as a whole.

OVERRIDES: list[tuple[str, str]] = [
    ("model=onw", ": the group has no model/onw.yaml; did you mean model=own? there are "),
    (
        "trainer=qqqqqqqq",
        ": the group has no trainer/qqqqqqqq.yaml; there are cpu, gpu, key, quick",
    ),
    ("data=corpus.txt", ": no data/corpus.txt.yaml; did you mean data.train=corpus.txt?"),
    (
        "model=flat",
        "model/flat.yaml:1: architecture: a file of the group 'model' holds the section "
        "'model' alone; indent its settings below 'model'",
    ),
    ("model=two", "model/two.yaml:2: seed: a file of the group 'model' holds the section 'model' "),
    (
        "model=list",
        "model/list.yaml:1: model: must be a mapping, got [1]; indent its settings below",
    ),
    (
        "model=hydra",
        "model/hydra.yaml:2: defaults: a file of the group 'model' holds the section 'model' "
        "alone; a file names those below it in 'extends'",
    ),
    ("model=bad", "model/bad.yaml:1:27: not valid YAML: a comma or the closing } is missing"),
    (
        "model=wrong",
        "model/wrong.yaml:1: model.rnn.hidden_sise: unknown key; did you mean 'hidden_size'?",
    ),
    ("model=lost", "model/lost.yaml:1: extends: there is no file 'model/gone.yaml', nor a shipped"),
    (
        "trainer=key",
        "trainer/key.yaml:1: trainer: a file of the group 'trainer' holds the section "
        "'training' alone; indent its settings below 'training'",
    ),
    (
        "experiment=own",
        "experiment/own.yaml:2: training.max_step: unknown key; did you mean 'max_steps'?",
    ),
    ("model=5", "override model: must be a mapping, got 5"),
    ("modle=own", "override modle: unknown key; did you mean 'model'?"),
    ("trainer={max_steps: 3}", "override trainer: unknown key; did you mean 'training'?"),
    (
        "extends=good.yaml",
        "override extends: unknown key; there is no such setting: it stands at the",
    ),
    (
        "+training.max_steps=3",
        ": training.max_steps is there already (good.yaml:5): 2; write "
        "training.max_steps=VALUE to change it",
    ),
    (
        "+model.transformer={layers: 3}",
        ": model.transformer.layers is there already (good.yaml:4): 1; write",
    ),
    ("+training.max_stps=3", "override training.max_stps: unknown key; did you mean 'max_steps'?"),
    (
        "+training.losses.z_los=1.0",
        "override training.losses: Unknown loss: 'z_los'; did you mean 'z_loss'?",
    ),
    ("+experiment_name.a=1", ": experiment_name is the single value 'one'"),
    ("+model=own", ": model is there already (good.yaml:4): {'architecture': "),
    ("+a", ": must read key.key=value"),
    ("+=3", ": must read key.key=value"),
    ("~training.max_stps", ": there is no training.max_stps; did you mean 'training.max_steps'?"),
    ("~trainin.max_steps", ": there is no trainin; did you mean 'training'?"),
    (
        "~training.warmup_steps",
        ": training.warmup_steps is not given, so there is nothing to remove",
    ),
    ("~qqqqq", ": there is no qqqqq; keys given here: experiment_name, data, "),
    (
        "~experiment_name.a",
        ": experiment_name is the single value 'one', which has no keys; set it as a whole",
    ),
    ("~training=1", ": takes no value; write ~key.key to remove a key"),
    ("~", ": must read key.key=value"),
    ("~model", "good.yaml: model: is required"),
    ("++training.max_steps=3", ": write key.key=value, which sets"),
    ("model@encoder=own", ": a group always goes to its own section; "),
    ("training/optimizer=adam", ": keys are joined with dots: "),
    ("hydra.run.dir=a", "override hydra: unknown key; there is no such setting: there is no Hydra"),
    ("data.train=???", f"override data.train: must be given; write data.train{GIVE}"),
    (
        "output_dir=a/${sed}",
        "override output_dir: ${sed}: there is no such key; did you mean ${seed}?",
    ),
    (
        "seed=${QQQQQQ}",
        "override seed: ${QQQQQQ}: this variable of the environment is not set; set ",
    ),
    ("seed=${FOUNDRY_SECRET}", "override seed: must be an integer, got ${FOUNDRY_SECRET}"),
    (
        "data.train={hub: ${A}}",
        "override 'data.train={hub: ${A}}':1:7: not valid YAML: within braces and brackets, "
        "put ${...} in quotes",
    ),
    ("data.train.0=a.txt", ": data.train is the single value 'corpus.txt'"),
]
SECRET = "geheim-4711"


@pytest.fixture
def faults(foundry: Foundry, here: Path, monkeypatch: pytest.MonkeyPatch):
    """Run `foundry validate` beside `FILES`; return its lines without `error: `."""
    for name, text in {**FILES, "good.yaml": GOOD.lstrip("\n")}.items():
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text(text)
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.setenv("FOUNDRY_CORPUS", "corpus.txt")
    monkeypatch.setenv("FOUNDRY_SECRET", SECRET)
    monkeypatch.setenv("FOUNDRY_ZERO", "0")
    monkeypatch.setenv("FOUNDRY_BYTES", "\udcff")

    def run(*arguments: str) -> list[str]:
        ended = foundry("validate", *arguments)
        assert (ended.code, ended.out) == (2, "")
        assert SECRET not in ended.err
        lines = ended.err.splitlines()
        assert all(line.startswith("error: ") and len(line) <= LONGEST_LINE + 7 for line in lines)
        return [line.removeprefix("error: ") for line in lines]

    return run


@pytest.mark.parametrize(("text", "line"), CHILDREN, ids=lambda text: text[-60:])
def test_a_mistake_in_a_file_has_one_line_with_its_place(text, line, faults, here):
    base = "" if "extends:" in text.partition("model:")[0] else "extends: good.yaml\n"
    (here / "bad.yaml").write_text(f"{base}{text}")
    (found,) = faults("bad.yaml")
    assert found.startswith(f"bad.yaml:{line}" if line[0].isdigit() else line)


@pytest.mark.parametrize(("override", "line"), OVERRIDES, ids=lambda text: text[:60])
def test_a_mistake_in_an_override_has_one_line_that_names_it(override, line, faults):
    (found,) = faults("good.yaml", override)
    assert found.startswith(f"override {override!r}{line}" if line[0] == ":" else line)


def test_all_that_must_be_given_is_reported_at_once(faults, here):
    (here / "bad.yaml").write_text(
        "extends: good.yaml\nseed: ???\ndata: {train: '???'}\noutput_dir: ${QQQQQ}\n"
    )
    assert [line.partition(": ")[0] for line in faults("bad.yaml")] == [
        *("bad.yaml:3", "bad.yaml:2", "bad.yaml:4")
    ]


def test_there_are_enough_of_them():
    assert len(CHILDREN) + len(OVERRIDES) >= 60

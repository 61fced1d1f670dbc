"""Comparison of two starts of a run: a class for each setting; unknown ones are refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_foundry.config import ExperimentConfig, load_config
from model_foundry.config.fields import flat
from model_foundry.config.on_resume import OnResume, marked
from model_foundry.errors import ResumeError
from model_foundry.training.run_fingerprint import (
    RunFingerprint,
    as_settings,
    changed_content,
    changed_last_bits,
    changed_settings,
    changes,
    require_length,
    require_same,
)
from tests.experiments import MODELS, tiny_experiment

# Every setting that is not refused, and why it is not. Whatever is not listed must be refused.
ONLY_WATCHES = {
    *("experiment_name", "output_dir", "data.cache_dir", "data.test"),
    "data.preprocessing_num_workers",
    "training.metrics",  # the one that decides which checkpoint is the best is compared
    *("training.logging_steps", "training.eval_steps", "training.save_steps"),
    *("training.save_total_limit", "training.save_minutes", "training.save_strategy"),
    *("debug.limit_test", "debug.overfit_below", "debug.detect_anomaly", "debug.profiler"),
    *("debug.log_level", "debug.one_process", "debug.start_over"),
    *("training.dataloader_num_workers", "training.min_epochs", "training.load_best_model_at_end"),
    *("training.early_stopping_patience", "training.early_stopping_threshold"),
    *("tracking.trackers", "tracking.histogram_steps", "tracking.activations", "tracking.samples"),
    *("training.distributed.strategy", "training.distributed.cpu_offload"),
    *("training.distributed.reshard_after_forward", "training.distributed.timeout_minutes"),
    *("training.speed.keep_freed_memory", "training.speed.threads"),
    *(
        f"training.milestones.{name}"
        for name in ("first_epoch", "steps", "logarithmic", "words", "tokens", "save_only_model")
    ),
}
COMPARED_OTHERWISE = {
    *("data.train.language.sentences", "data.train.language.seed", "data.validation"),
    *("data.shared_documents", "data.encoding_errors", "data.interventions"),
    *("model.init_from", "tokenizer.path", "training.max_steps", "training.epochs"),
    "training.per_device_train_batch_size",
    "training.gradient_accumulation_steps",
}
OF_A_TASK = {"training.seq2seq_lm.target_tokenizer.path"}  # compared by content too
CHANGES_LAST_BITS = {
    "training.train_metrics",  # some need logits, from which the loss is computed then
    "training.per_device_eval_batch_size",
    *("training.per_device_train_batch_size", "training.gradient_accumulation_steps"),
    *("training.attn_implementation", "training.gradient_checkpointing", "training.compile"),
    *("training.speed.loss_without_logits", "training.speed.fused_activations"),
    *("training.speed.fused_optimizer", "training.speed.fused_recurrence"),
    *("training.speed.fp32_products", "training.use_cpu"),
}


def identity(**changed: Any) -> RunFingerprint:
    facts: dict[str, Any] = {
        "config": {"training": {"learning_rate": 0.1, "compile": False}},
        "content": {"training text": "a" * 64, "tokenizer": "b" * 64},
        "examples_per_step": 8,
        "total_steps": 100,
        "environment": {"torch": "2.13.0", "threads": "1"},
    }
    return RunFingerprint(**{**facts, **changed})


def full_settings(kind: str) -> dict[str, Any]:
    section = ["model.bert={type_vocab_size: 2}"] if kind == "bert" else []
    return as_settings(tiny_experiment(kind, Path("place"), *section))


def with_change(settings: dict[str, Any], field: str, value: object) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(settings))
    place = changed
    *above, last = field.split(".")
    for name in above:
        place = place[name]
    place[last] = value
    return changed


def every_field() -> Iterator[tuple[str, str]]:
    """Yield (kind of experiment, field), for each setting that there is."""
    seen: set[str] = set()
    for kind in ("bert", "lstm"):
        for field, _ in flat(full_settings(kind)):
            if field not in seen:
                yield kind, field
            seen.add(field)


def names_of(model: Any, prefix: str = "") -> Iterator[str]:
    """Yield every dotted name of a section and of those below it."""
    for name in type(model).model_fields:
        yield f"{prefix}{name}"
        value = getattr(model, name)
        if hasattr(type(value), "model_fields"):
            yield from names_of(value, f"{prefix}{name}.")


@pytest.mark.parametrize(("kind", "field"), [*every_field()])
def test_every_setting_is_free_or_compared_or_refused(kind: str, field: str) -> None:
    saved = full_settings(kind)
    now = with_change(saved, field, "changed")
    before = dict(flat(saved))[field]
    if field == "training.losses":
        before = "{model: 1.0}"  # those of the objective
    passes = field in ONLY_WATCHES | COMPARED_OTHERWISE | CHANGES_LAST_BITS
    assert changed_settings(saved, now) == ([] if passes else [f"{field}: {before} -> changed"])
    warned = changed_last_bits(identity(config=saved), identity(config=now))
    assert warned == ([f"{field}: {before} -> changed"] if field in CHANGES_LAST_BITS else [])


def test_losses_and_metrics_are_compared_as_they_are_in_force() -> None:
    def settings(*given: str) -> dict[str, Any]:
        return as_settings(tiny_experiment("lstm", Path("place"), *given))

    saved = settings()
    explicit = settings(
        "training.losses={model: 1.0}", "training.metrics=[loss, perplexity, bits_per_byte]"
    )
    assert changed_settings(saved, explicit) == changed_settings(explicit, saved) == []
    both = settings("training.losses={z_loss: 0.5, model: 1.0}")
    assert changed_settings(saved, both) == [
        "training.losses: {model: 1.0} -> {model: 1.0, z_loss: 0.5}"
    ]
    assert changed_settings(both, settings("training.losses={model: 1, z_loss: 0.5}")) == []


def test_every_setting_of_every_model_is_covered() -> None:
    fields = {field for _, field in every_field()}
    for kind in ("bert", "lstm"):
        names = set(names_of(tiny_experiment(kind, Path("place"))))
        for name in names - {"seed"}:
            assert any(f"{field}.".startswith(f"{name}.") for field in fields), name
    assert fields >= ONLY_WATCHES | COMPARED_OTHERWISE | CHANGES_LAST_BITS


def test_the_marks_at_the_fields_are_these() -> None:
    sections = ("tracking", "training.distributed", "training.milestones")
    free = {name for name in ONLY_WATCHES if not name.startswith(sections)}
    assert set(marked(OnResume.FREE, ExperimentConfig)) == {*free, *sections}
    by_content = {name for name in COMPARED_OTHERWISE if not name.startswith("data.train")}
    assert set(marked(OnResume.BY_CONTENT, ExperimentConfig)) == {
        *by_content,
        *OF_A_TASK,
        "data.train",
    }
    assert set(marked(OnResume.LAST_BITS, ExperimentConfig)) == CHANGES_LAST_BITS


def test_a_setting_that_an_earlier_version_did_not_have_has_its_default(tmp_path: Path) -> None:
    saved = as_settings(tiny_experiment("gpt2", tmp_path))
    for section, name in (("training", "transforms"), ("model", "dense"), ("data", "packing")):
        del saved[section][name]
    assert changed_settings(saved, as_settings(tiny_experiment("gpt2", tmp_path))) == []
    del saved["debug"]  # a whole section
    assert changed_settings(saved, as_settings(tiny_experiment("gpt2", tmp_path))) == []
    limited = as_settings(tiny_experiment("gpt2", tmp_path, "debug.limit_train=2"))
    assert changed_settings(saved, limited) == ["debug.limit_train: None -> 2"]
    other = as_settings(tiny_experiment("gpt2", tmp_path, "data.packing=documents"))
    assert changed_settings(saved, other) == ["data.packing: blocks -> documents"]
    del saved["model"]["architecture"]
    assert changed_settings(saved, other)[1:] == ["model.architecture: nothing -> gpt2"]
    # a section that is given now, and was not then, has no defaults
    lines = changed_settings(saved, as_settings(tiny_experiment("lstm", tmp_path)))
    assert "model.rnn.hidden_size: nothing -> 32" in lines
    assert "model.rnn.dropout: nothing -> 0.1" in lines


def test_a_setting_of_a_later_version_is_refused() -> None:
    saved = full_settings("lstm")
    now = with_change(saved, "training.noise", 0.5)
    assert changed_settings(saved, now) == ["training.noise: nothing -> 0.5"]
    assert changed_settings(now, saved) == ["training.noise: 0.5 -> nothing"]
    # a name that merely begins like one that is free
    now = with_change(saved, "training.save_steps_of_another_kind", 1)
    assert len(changed_settings(saved, now)) == 1


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_settings_are_the_same_after_they_were_saved(kind: str) -> None:
    settings = as_settings(
        tiny_experiment(
            kind,
            Path("place"),
            "training.milestones={words: babylm, steps: [3, 1]}",
            "tokenizer.special_tokens={pad: <p>}",
            "data.train={hub: some/where}",
            "seed={init: 1}",
        )
    )
    assert json.loads(json.dumps(settings)) == settings
    saved = identity(config=settings)
    assert (
        RunFingerprint.model_validate(json.loads(json.dumps(saved.model_dump(mode="json"))))
        == saved
    )


def test_shipped_settings_are_the_same_after_they_were_saved(project: Path) -> None:
    files = sorted((project / "configs").glob("*.yaml"))
    assert files
    for file in files:
        settings = as_settings(load_config(file))
        assert json.loads(json.dumps(settings)) == settings
        assert changed_settings(settings, json.loads(json.dumps(settings))) == []


def test_one_seed_for_all_is_three_equal_ones() -> None:
    def settings(seed: str) -> dict[str, Any]:
        return as_settings(tiny_experiment("gpt2", Path("place"), f"seed={seed}"))

    assert settings("7") == settings("{init: 7, data: 7, dropout: 7}")
    assert changed_settings(settings("7"), settings("{init: 7, data: 8, dropout: 7}")) == [
        "seed.data: 7 -> 8"
    ]


def test_the_size_of_a_named_tokenizer_is_no_setting() -> None:
    """The run writes it into its configuration once it is known."""

    def settings(**tokenizer: Any) -> dict[str, Any]:
        raw = tiny_experiment("gpt2", Path("place")).model_dump(exclude_unset=True)
        return as_settings(ExperimentConfig.model_validate(raw | {"tokenizer": tokenizer}))

    named = settings(path="there")
    assert changed_settings(named, settings(path="there", vocab_size=77)) == []
    assert changed_settings(named, settings(path="elsewhere")) == []
    assert changed_settings(settings(vocab_size=77), settings(vocab_size=78)) == [
        "tokenizer.vocab_size: 77 -> 78"
    ]


def test_text_and_tokenizer_are_compared_by_content() -> None:
    saved = identity()
    assert changed_content(saved, identity(config={"data": {"train": "moved.txt"}})) == []
    content = {"training text": "c" * 64, "validation text": "d" * 64, "tokenizer": "b" * 64}
    assert changed_content(saved, identity(content=content)) == [
        f"training text: SHA-256 {'a' * 12} -> SHA-256 {'c' * 12}",
        f"validation text: nothing -> SHA-256 {'d' * 12}",
    ]


def test_the_global_batch_is_compared_and_not_how_it_is_cut() -> None:
    config = {"training": {"learning_rate": 0.1, "compile": False}}
    cut = {"training": {**config["training"], "gradient_accumulation_steps": 4}}
    assert changed_content(identity(config=config), identity(config=cut)) == []
    assert changed_content(identity(), identity(examples_per_step=9)) == [
        "examples in one step: 8 -> 9"
    ]


def test_a_machine_with_other_last_bits_is_named_and_not_refused() -> None:
    saved = identity()
    now = identity(environment={"torch": "2.14.0", "threads": "1", "plugin a.py": "ff"})
    assert changed_last_bits(saved, now) == [
        "plugin a.py: nothing -> ff",
        "torch: 2.13.0 -> 2.14.0",
    ]
    assert changed_content(saved, now) == []
    assert changed_last_bits(saved, saved) == []


def test_the_refusal_is_a_table_with_its_remedies() -> None:
    require_same("runs/one", [])
    with pytest.raises(ResumeError) as refused:
        require_same("runs/one", ["a: 1 -> 2", "b: x -> nothing"])
    first, *table = str(refused.value).split("\n")
    assert first.startswith("output_dir: runs/one holds a run with different settings (saved -> ")
    assert "--fresh" in first
    assert table == ["  a: 1 -> 2", "  b: x -> nothing"]
    assert refused.value.exit_code == 5


@pytest.mark.parametrize(
    ("now", "extend", "remedy"),
    [
        (100, False, None),
        (100, True, None),
        (101, True, None),
        (101, False, "give --extend to resume with the longer schedule"),
        (99, False, "restore the length, or set another output_dir"),
        (99, True, "restore the length, or set another output_dir"),
    ],
)
def test_a_run_is_made_longer_where_that_is_asked_for_and_never_shorter(
    now: int, extend: bool, remedy: str | None
) -> None:
    if remedy is None:
        require_length("runs/one", identity(), identity(total_steps=now), extend=extend)
        return
    with pytest.raises(ResumeError, match=rf"{remedy}\n  optimizer steps: 100 -> {now}$"):
        require_length("runs/one", identity(), identity(total_steps=now), extend=extend)


def test_changes_are_listed_by_dotted_field_in_order() -> None:
    saved = {"b": 1, "a": {"x": 1, "y": [1]}, "c": {}}
    now = {"b": 1.5, "a": {"x": 1, "y": [1, 2]}, "c": {"d": None}}
    assert changes(saved, now) == [
        "a.y: [1] -> [1, 2]",
        "b: 1 -> 1.5",
        "c: {} -> nothing",
        "c.d: nothing -> None",
    ]


A, B, EDITED = "1" * 64, "2" * 64, "4" * 64


@pytest.mark.parametrize(
    ("now", "lines"),
    [
        ({"plugin a.py": A, "plugin b.py": B, "plugin added.py": "3" * 64}, []),
        ({"plugin a.py": A}, []),  # b.py is left out
        ({"plugin renamed.py": A, "plugin b.py": B}, []),
        (
            {"plugin a.py": EDITED, "plugin b.py": B},
            ["plugin a.py: SHA-256 111111111111 -> SHA-256 444444444444"],
        ),
        (
            {"plugin copy.py": EDITED, "plugin b.py": B},
            [
                "plugin a.py: SHA-256 111111111111 -> nothing",
                "plugin copy.py: nothing -> SHA-256 444444444444",
            ],
        ),
    ],
)
def test_plugins_are_compared_by_content(now: dict[str, str], lines: list[str]) -> None:
    saved = identity_with({"plugin a.py": A, "plugin b.py": B})
    assert changed_content(saved, identity_with(now)) == lines


def identity_with(content: dict[str, str]) -> RunFingerprint:
    return RunFingerprint(
        config={}, content=content, examples_per_step=1, total_steps=1, environment={}
    )

"""Each check between settings fails once, and each setting that can be without effect is one."""

from collections.abc import Iterator
from typing import Any

import pytest

from model_foundry.config import (
    ARCHITECTURES,
    OBJECTIVES,
    OPTIMIZERS,
    ArchitectureSpec,
    ExperimentConfig,
    ObjectiveSpec,
    OptimizerSpec,
    Section,
    settings_without_effect,
    validate,
)
from model_foundry.config.cross_checks import CHECKS
from model_foundry.errors import ConfigError
from model_foundry.registry import Registry
from tests.experiments import apply_override

TRANSFORMER = {"layers": 2, "hidden_size": 32, "attention_heads": 2}
RECURRENT = {"embedding_size": 8, "hidden_size": 8}
GPT2 = {"architecture": "gpt2", "transformer": TRANSFORMER}
BERT = {"architecture": "bert", "transformer": TRANSFORMER}
DECODER = {"architecture": "transformer_decoder", "backbone": TRANSFORMER}
TEXTS = "training.objective=sequence_classification"
T5 = {"architecture": "t5", "transformer": TRANSFORMER}
LSTM = {"architecture": "lstm", "rnn": RECURRENT}
MASKED = "training.objective=masked_lm"
BOTH_WAYS = "model.rnn.bidirectional=true"
STREAMS, CARRIED = "data.packing=streams", "training.carry_state=true"


COUNTS = {"architecture": "counts"}
BEST = "load_best_model_at_end=true"
NO_SAVE = "training.save_strategy=no"
RECORDS = "training.objective=of-records"


class _Settings(Section):
    """Settings of something registered."""

    strength: float = 0.5


ADDED: list[tuple[Registry[Any], Any]] = [
    (ARCHITECTURES, ArchitectureSpec(name="sees-all", target="nowhere:Nothing")),
    (ARCHITECTURES, ArchitectureSpec(name="counts", target="a:B", trained_by="counting")),
    (
        ARCHITECTURES,
        ArchitectureSpec(name="one-ranker", target="a:B", kind="ranker", objectives=()),
    ),
    (
        OBJECTIVES,
        ObjectiveSpec(name="ranks", target="a:B", model_kind="ranker", direction="left_to_right"),
    ),
    (
        OBJECTIVES,
        ObjectiveSpec(
            name="of-records",
            target="a:B",
            variant_of="causal_lm",
            reads_token_stream=False,
            units=("tokens",),
            settings=("data.content_tokens",),
        ),
    ),
    (OBJECTIVES, ObjectiveSpec(name="labels-texts", target="a:B", reads_token_stream=False)),
    (OPTIMIZERS, OptimizerSpec(name="pushes", target="a:b", schema=_Settings)),
]


@pytest.fixture(autouse=True, scope="module")
def _things_of_somebody_else() -> Iterator[None]:
    for registry, spec in ADDED:
        registry.add(spec)
    yield
    for registry, spec in ADDED:
        registry.remove(spec.name)


def raw(model: dict[str, Any], *overrides: str) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "experiment_name": "one",
        "data": {"train": "a.txt"},
        "model": {name: dict(v) if isinstance(v, dict) else v for name, v in model.items()},
        "training": {"max_steps": 5},
    }
    for override in overrides:
        apply_override(plain, override)
    return plain


def load(model: dict[str, Any], *overrides: str) -> ExperimentConfig:
    return validate(raw(model, *overrides), "file")


# law, model, settings that break it, the field that is named, what is said of it
BROKEN = [
    (
        "tracking_has_whole_weights",
        GPT2,
        ["training.distributed.strategy=fsdp2", "tracking.samples={prompts: [a]}"],
        "tracking.samples",
        "needs whole weights, which training.distributed.strategy (=fsdp2) shards",
    ),
    (
        "interventions_are_known",
        GPT2,
        ["data.interventions=[lowercse]"],
        "data.interventions.0.step",
        "did you mean 'lowercase'?",
    ),
    (
        "token_budgets_need_a_tokenizer",
        GPT2,
        ["data.train={mixture: [{source: a.txt, tokens: 9}]}"],
        "tokenizer.path",
        "give a trained one, or a budget in words",
    ),
    (
        "split_suits_the_source",
        GPT2,
        ["data.train={mixture: [{source: a.txt}]}", "data.split_by=position"],
        "data.split_by",
        "'position' has no meaning for a mixture",
    ),
    (
        "controls_are_matched",
        GPT2,
        [
            "data.train={mixture: [{source: a.txt, repeats: 2}, {source: b.txt}]}",
            "data.interventions=[{step: drop_sentences, pattern: a, control: true}]",
        ],
        "data.interventions.0.control",
        "cannot be matched where the sources of data.train are repeated unequally often",
    ),
    (
        "split_suits_the_source",
        GPT2,
        ["data.validation_documents=9", "data.split_by=position"],
        "data.validation_documents",
        "needs data.split_by=document",
    ),
    ("names_are_registered", GPT2, ["training.objective=mlm"], "training.objective", "masked_lm"),
    (
        "metrics_are_measured",
        GPT2,
        ["training.metric_for_best_model=accuracy"],
        "training.metric_for_best_model",
        "(loss, perplexity, bits_per_byte), got 'accuracy'; add it to training.metrics",
    ),
    (
        "metrics_are_measured",
        GPT2,
        ["training.metrics=[loss, top5_accuracy]", "training.metric_for_best_model=accuracy"],
        "training.metric_for_best_model",
        "(loss, top5_accuracy), got 'accuracy'; did you mean 'top5_accuracy'?",
    ),
    (
        "metrics_are_measured",
        GPT2,
        ["training.metric_for_best_model=ema/loss"],
        "training.metric_for_best_model",
        "'ema/loss' is of an average of the weights, and there is none; set training.ema_decay",
    ),
    (
        "metrics_are_measured",
        COUNTS,
        ["training.metric_for_best_model=ema/loss", "training.ema_decay=0.9"],
        "training.metric_for_best_model",
        "of an average of the weights, and there is none; set loss",
    ),
    (
        "early_stopping_has_evaluations",
        GPT2,
        ["training.early_stopping_patience=3"],
        "training.early_stopping_patience",
        "(=3) counts evaluations, and there is only the one at the end; set training.eval_steps",
    ),
    *(
        (
            "best_model_has_a_checkpoint",
            GPT2,
            ["training.load_best_model_at_end=true", "training.eval_steps=4", *saved],
            "training.load_best_model_at_end",
            "(training.eval_steps=4) needs a checkpoint; set training.save_steps=4, or a divisor",
        )
        for saved in ([], ["training.save_steps=3"], ["training.save_steps=8"])
    ),
    (
        "best_model_has_a_checkpoint",
        GPT2,
        [
            f"training.{BEST}",
            *(f"training.{each}=4" for each in ("eval_steps", "save_steps")),
            NO_SAVE,
        ],
        "training.load_best_model_at_end",
        "(training.eval_steps=4) needs a checkpoint, and none is saved; set training.save_strategy",
    ),
    (
        "best_model_has_a_checkpoint",
        GPT2,
        ["training.load_best_model_at_end=true", "training.distributed.strategy=fsdp2"],
        "training.load_best_model_at_end",
        "cannot load weights that are divided among processes (fsdp2); leave it out",
    ),
    (
        "average_is_of_whole_weights",
        GPT2,
        ["training.ema_decay=0.99", "training.distributed.strategy=fsdp2"],
        "training.ema_decay",
        "(=0.99) keeps an average of whole weights, which fsdp2 divides; leave it out",
    ),
    (
        "metrics_suit_the_objective",
        GPT2,
        [RECORDS, "training.train_metrics=[accuracy, bits_per_byte]"],
        "training.train_metrics",
        "'bits_per_byte' needs a token stream, which 'of-records' does not read; leave it out",
    ),
    (
        "train_metrics_are_measurable",
        GPT2,
        ["training.train_metrics=[accuracy, loss]"],
        "training.train_metrics",
        "'loss' is always logged, of each step by itself; leave it out",
    ),
    (
        "transforms_are_known",
        GPT2,
        ["training.transforms=[{rename: {a: b}}, {ad_noise: {deviation: 1}}]"],
        "training.transforms.1",
        "did you mean 'add_noise'?",
    ),
    (
        "keys_are_of_what_is_measured",
        GPT2,
        ["training.keys={perplexty: {labels: tags}}"],
        "training.keys.perplexty",
        "is no loss or metric of the experiment; did you mean 'perplexity'?",
    ),
    (
        "objective_suits_kind",
        GPT2,
        ["training.objective=ranks"],
        "training.objective",
        "trains models of kind 'ranker', but 'gpt2' is of kind 'language'; "
        "architectures of that kind: one-ranker",
    ),
    (
        "milestones_are_counted",
        GPT2,
        [RECORDS, "training.milestones.words=9"],
        "training.milestones.words",
        "'of-records' counts no words, only examples, tokens; give milestones in steps",
    ),
    (
        "objective_suits_architecture",
        GPT2,
        [MASKED],
        "training.objective",
        "'masked_lm' does not suit architecture 'gpt2'; use causal_lm",
    ),
    (
        "objective_suits_architecture",
        GPT2,
        ["training.objective=labels-texts"],
        "training.objective",
        "'labels-texts' does not suit architecture 'gpt2'; use causal_lm",
    ),
    (
        "objective_suits_architecture",
        BERT,
        [],
        "training.objective",
        "'causal_lm' does not suit architecture 'bert'; use masked_lm",
    ),
    (
        "objective_suits_architecture",
        LSTM,
        [BOTH_WAYS],
        "training.objective",
        "would see its own targets; set model.rnn.bidirectional=false or training.objective=masked",
    ),
    (
        "objective_suits_architecture",
        LSTM,
        [MASKED],
        "training.objective",
        "set model.rnn.bidirectional=true or training.objective=causal_lm",
    ),
    (
        "objective_has_its_mask_token",
        BERT,
        [MASKED, "tokenizer.special_tokens.mask=null"],
        "tokenizer.special_tokens.mask",
        "'masked_lm' needs a mask token; leave it out",
    ),
    (
        "special_tokens_have_roles",
        GPT2,
        ["tokenizer.special_tokens.end=<end>"],
        "tokenizer.special_tokens.end",
        "is not a role; the roles are pad, unk, bos, eos, cls, sep, mask",
    ),
    (
        "special_tokens_have_roles",
        GPT2,
        ["tokenizer.special_tokens.pad=null"],
        "tokenizer.special_tokens.pad",
        "only mask can be",
    ),
    (
        "embedding_fits_hidden_size",
        GPT2,
        ["model.transformer.embedding_size=16"],
        "model.transformer.embedding_size",
        "must equal hidden_size (=32) under 'gpt2', got 16",
    ),
    (
        "rnn_type_is_the_architecture",
        LSTM,
        ["model.rnn.rnn_type=gru"],
        "model.rnn.rnn_type",
        "must equal model.architecture (='lstm'), got 'gru'",
    ),
    (
        "block_fits_positions",
        GPT2,
        ["model.transformer.max_position_embeddings=64"],
        "data.max_sequence_length",
        "(=128) exceeds model.transformer.max_position_embeddings (=64)",
    ),
    (
        "block_fits_positions",
        DECODER,
        ["model.backbone.max_position_embeddings=64"],
        "data.max_sequence_length",
        "(=128) exceeds model.backbone.max_position_embeddings (=64)",
    ),
    (
        "targets_fit_positions",
        DECODER | {"architecture": "transformer"},
        [
            *("training.objective=span_denoising", "training.span_denoising.hidden_share=0.99"),
            "model.backbone.max_position_embeddings=128",
        ],
        "training.span_denoising.hidden_share",
        "(=0.99) gives targets of up to 129 tokens, more than model.backbone.max_position_embed",
    ),
    (
        "stacks_are_there",
        DECODER,
        ["model.backbone.encoder={layers: 2}"],
        "model.backbone.encoder",
        "is for encoder-decoders, and 'transformer_decoder' has one stack; set model.backb",
    ),
    (
        "metrics_suit_the_labels",
        BERT,
        [TEXTS, "training.sequence_classification.multi_label=true", "training.metrics=[accuracy]"],
        "training.metrics",
        "'accuracy' is for examples with one label, and training.sequence_classification.multi_labe"
        "l is true; name micro_f1 or macro_f1",
    ),
    (
        "metrics_suit_the_labels",
        BERT,
        [TEXTS, "training.train_metrics=[micro_f1]"],
        "training.train_metrics",
        "is for examples with several, and training.sequence_classification.multi_label is false; "
        "name accuracy",
    ),
    (
        "frame_leaves_room",
        BERT,
        [MASKED, "data.max_sequence_length=2"],
        "data.max_sequence_length",
        "(=2) leaves no room beside the 2 framing tokens of 'masked_lm'",
    ),
    *(
        (
            *("frame_leaves_room", model),
            [f"training.objective={name}", "data.max_sequence_length=2"],
            "data.max_sequence_length",
            f"(=2) leaves no room beside the 2 framing tokens of {name!r}",
        )
        for model, name in (
            (BERT, "sequence_classification"),
            (LSTM, "token_classification"),
            (T5, "seq2seq_lm"),
        )
    ),
    (
        "content_fits_block",
        BERT,
        [MASKED, "data.content_tokens=127"],
        "data.content_tokens",
        "(=127) and 2 framing tokens exceed data.max_sequence_length (=128)",
    ),
    (
        "overlap_leaves_room",
        BERT,
        [MASKED, "data.packing=documents", "data.document_overlap=126"],
        "data.document_overlap",
        "must be < the 126 tokens of text in a block, got 126; lower it or raise data.max_sequ",
    ),
    (
        "documents_are_isolated",
        {"architecture": "sees-all"},
        ["data.packing=documents"],
        "data.packing",
        "which 'sees-all' cannot; use blocks or streams",
    ),
    (
        "carried_state_needs_streams",
        LSTM,
        [CARRIED],
        "training.carry_state",
        "data.packing is 'blocks'; set data.packing=streams, or leave training.carry_state out",
    ),
    (
        "carried_state_needs_streams",
        GPT2,
        [CARRIED, STREAMS],
        "training.carry_state",
        "needs a recurrent model, but 'gpt2' has no state to carry; leave",
    ),
    (
        "carried_state_needs_streams",
        LSTM,
        [CARRIED, STREAMS, MASKED, BOTH_WAYS],
        "training.carry_state",
        "but 'masked_lm' trains one that reads both ways; leave training.carry_state out",
    ),
    (
        "carried_state_needs_streams",
        LSTM,
        [RECORDS, CARRIED],
        "training.carry_state",
        "needs a token stream that continues, which 'of-records' does not read; leave",
    ),
    (
        "records_have_no_settings_of_text",
        GPT2,
        [RECORDS, "data.interventions=[lowercase]"],
        "data.interventions",
        "they change text, but 'of-records' reads records; leave them out",
    ),
    (
        "records_have_no_settings_of_text",
        GPT2,
        [RECORDS, "data.test={mixture: [{source: a.csv, words: 5}]}"],
        "data.test",
        "words of records cannot be counted; give documents, the number of records",
    ),
    (
        "records_have_no_settings_of_text",
        GPT2,
        [RECORDS, "data.train={mixture: [{source: a.csv, weight: 1}], tokens: 5}"],
        "data.train",
        "tokens of records cannot be counted",
    ),
    (
        "length_is_given_once",
        GPT2,
        ["training.max_steps=null"],
        "training.max_steps",
        "is required, unless training.epochs is given",
    ),
    (
        "length_is_given_once",
        GPT2,
        ["training.epochs=2"],
        "training.epochs",
        "(=2) and training.max_steps (=5) both set the length of the run",
    ),
    (
        "warmup_within_run",
        GPT2,
        ["training.warmup_steps=6"],
        "training.warmup_steps",
        "must be <= training.max_steps (=5), got 6",
    ),
    (
        "minimum_below_peak",
        GPT2,
        ["training.min_learning_rate=1e-2"],
        "training.min_learning_rate",
        "must be <= learning_rate (=0.001), got 0.01",
    ),
    (
        "minimum_within_length",
        GPT2,
        ["training.max_steps=null", "training.epochs=2", "training.min_epochs=3"],
        "training.min_epochs",
        "must be <= training.epochs (=2), got 3; lower the first or raise the second",
    ),
    (
        "plateaus_are_evaluated",
        GPT2,
        ["training.lr_scheduler_type=reduce_lr_on_plateau"],
        "training.eval_steps",
        "is required by lr_scheduler_type 'reduce_lr_on_plateau', which follows evaluations",
    ),
    (
        "gradients_are_clipped_once",
        GPT2,
        ["training.max_grad_value=0.5", "training.max_grad_norm=2.0"],
        "training.max_grad_value",
        "(=0.5) and training.max_grad_norm (=2) both limit the gradients; drop one",
    ),
    *(
        ("run_directory_is_named", GPT2, [f"output_dir={path}"], "output_dir", "of its own")
        for path in ('""', ".", "/", "..", "runs/..", '"a\\nb"')
    ),
]

# As far as a law allows.
KEPT = [
    (GPT2, ["training.transforms=[{rename: {a: b}}]", "training.keys={loss: {labels: tags}}"]),
    (BERT, [MASKED, "data.max_sequence_length=3"]),
    (BERT, [MASKED, "data.content_tokens=126"]),
    (GPT2, ["data.content_tokens=128", "model.transformer.max_position_embeddings=128"]),
    (GPT2, ["tokenizer.special_tokens.mask=null", "tokenizer.special_tokens.pad=<p>"]),
    (GPT2, ["training.warmup_steps=5", "training.min_learning_rate=1e-3"]),
    (GPT2, ["training.max_steps=null", "training.epochs=1", "training.warmup_steps=9"]),
    (GPT2, ["training.max_steps=null", "training.epochs=2", "training.min_epochs=2"]),
    (GPT2, ["training.min_epochs=9"]),  # a pass may be short
    (GPT2, ["training.lr_scheduler_type=reduce_lr_on_plateau", "training.eval_steps=1"]),
    (GPT2, ["training.max_grad_value=0.5", "training.max_grad_norm=null"]),
    (GPT2, ["training.max_grad_value=null", "training.max_grad_norm=2.0"]),
    (LSTM, [MASKED, BOTH_WAYS, "model.rnn.rnn_type=lstm"]),
    (GPT2, ["output_dir=../elsewhere/run"]),
    (LSTM, [CARRIED, STREAMS]),
    (GPT2, ["data.packing=documents", "data.document_overlap=127"]),
    (GPT2, ["training.metrics=[loss, accuracy]", "training.metric_for_best_model=accuracy"]),
    (GPT2, ["training.metric_for_best_model=bits_per_byte", "training.losses={z_loss: 1e-4}"]),
    (GPT2, ["training.metric_for_best_model=ema/loss", "training.ema_decay=0.9"]),
    (GPT2, [f"training.{BEST}", "training.eval_steps=4", "training.save_steps=2"]),
    # a variant suits the models of its original, and of any direction if it says so
    (GPT2, [RECORDS]),
    (LSTM, [RECORDS, BOTH_WAYS]),
    ({"architecture": "one-ranker"}, ["training.objective=ranks"]),
    # what is said of tokens holds where there are some
    (GPT2, [RECORDS, "tokenizer.special_tokens={pad: null, end: x}", "data.packing=documents"]),
    ({"architecture": "sees-all"}, [RECORDS, "data.packing=documents"]),
    (GPT2, [RECORDS, "model.transformer.max_position_embeddings=64", "training.metrics=[loss]"]),
]


@pytest.mark.parametrize(("law", "model", "overrides", "field", "message"), BROKEN)
def test_a_broken_law_is_one_line_with_its_field(
    law: str, model: dict[str, Any], overrides: list[str], field: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(model, *overrides)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"file: {field}: ")
    assert message in line


def test_the_table_breaks_every_law() -> None:
    assert {law for law, *_ in BROKEN} == {law.__name__ for law in CHECKS}


@pytest.mark.parametrize(("law", "model", "overrides"), [row[:3] for row in BROKEN])
def test_without_the_law_nothing_else_refuses_it(
    law: str, model: dict[str, Any], overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    others = tuple(one for one in CHECKS if one.__name__ != law)
    monkeypatch.setattr("model_foundry.config.cross_checks.CHECKS", others)
    load(model, *overrides)


@pytest.mark.parametrize(("model", "overrides"), KEPT)
def test_the_last_value_that_a_law_allows_is_taken(
    model: dict[str, Any], overrides: list[str]
) -> None:
    load(model, *overrides)


WITHOUT_EFFECT = [
    (GPT2, ["training.mlm_probability=0.3"], "training.mlm_probability"),
    (LSTM, ["training.attn_implementation=eager"], "training.attn_implementation"),
    (GPT2, ["model.bert={type_vocab_size: 3}"], "model.bert"),
    (GPT2, ["model.rnn={embedding_size: 4, hidden_size: 4}"], "model.rnn"),
    (
        GPT2,
        ["training.lr_scheduler_type=constant", "training.min_learning_rate=1e-4"],
        "training.min_learning_rate",
    ),
    (
        GPT2,
        ["training.milestones.save_only_model=false", "training.milestones.words=[]"],
        "training.milestones.save_only_model",
    ),
    (GPT2, ["data.validation=b.txt", "data.split_by=position"], "data.split_by"),
    (GPT2, ["data.validation=b.txt", "data.validation_fraction=.1"], "data.validation_fraction"),
    (GPT2, ["data.text_column=body"], "data.text_column"),
    (GPT2, ["data.train={language: {sentences: 9}}", "data.text_column=b"], "data.text_column"),
    (GPT2, ["data.train={hub: a/b}", "data.document=line"], "data.document"),
    (GPT2, ["data.train={disk: a}", "data.document=line"], "data.document"),
    (GPT2, ["data.train=[a.jsonl, b.csv.gz]", "data.document=line"], "data.document"),
    (GPT2, ["data.train=[a.txt, b.txt.zst]", "data.text_column=body"], "data.text_column"),
    (GPT2, ["tokenizer.path=there", "tokenizer.lowercase=true"], "tokenizer.lowercase"),
    (GPT2, ["tokenizer.path=t", "tokenizer.special_tokens.pad=<p>"], "tokenizer.special_tokens"),
    (GPT2, ["tokenizer.tokenizer_type=bpe", "tokenizer.model_type=bpe"], "tokenizer.model_type"),
    (GPT2, ["tokenizer.lowercase=true"], "tokenizer.lowercase"),
    (GPT2, ["tokenizer.min_frequency=2"], "tokenizer.min_frequency"),
    (GPT2, ["tokenizer.path=there", "tokenizer.min_frequency=2"], "tokenizer.min_frequency"),
    (GPT2, ["tokenizer.path=there", "tokenizer.training_bytes=9"], "tokenizer.training_bytes"),
    (GPT2, ["data.document_overlap=9"], "data.document_overlap"),
    (LSTM, [STREAMS, "data.document_overlap=999"], "data.document_overlap"),
    (BERT, [MASKED, "training.mlm_span_length=2.0"], "training.mlm_span_length"),
    (GPT2, ["data.validation=b", "data.validation_documents=3"], "data.validation_documents"),
    (
        GPT2,
        ["data.validation_documents=3", "data.validation_fraction=0.1"],
        "data.validation_fraction",
    ),
    (GPT2, ["training.optimizer=pushes", "training.adam_beta1=0.8"], "training.adam_beta1"),
    (GPT2, ["training.mlm_probability_end=0.3"], "training.mlm_probability_end"),
    (GPT2, ["training.early_stopping_threshold=0.1"], "training.early_stopping_threshold"),
    (GPT2, ["training.label_smoothing_factor=0.2"], "training.label_smoothing_factor"),
    (GPT2, [f"training.{BEST}"], "training.load_best_model_at_end"),
    (GPT2, ["training.optimizer=sgd", "training.adam_beta1=0.8"], "training.adam_beta1"),
    (GPT2, ["training.optimizer=rmsprop", "training.adam_epsilon=1e-6"], "training.adam_epsilon"),
    (GPT2, ["training.muon={momentum: 0.9}"], "training.muon"),
    (GPT2, ["training.warmup_stable_decay={decay_share: 0.1}"], "training.warmup_stable_decay"),
    (GPT2, ["training.pushes={strength: 0.7}"], "training.pushes"),
    (GPT2, [RECORDS, "data.packing=documents"], "data.packing"),
    (GPT2, [RECORDS, "data.max_sequence_length=9"], "data.max_sequence_length"),
    (GPT2, [RECORDS, "tokenizer.vocab_size=9"], "tokenizer"),
    *(
        (COUNTS, [f"training.{setting}"], f"training.{setting.partition('=')[0]}")
        for setting in (
            *("learning_rate=1.0", "weight_decay=0.5", "lr_scheduler_type=linear"),
            *("warmup_steps=3", "max_grad_norm=null", "gradient_checkpointing=true"),
            *("mixed_precision=bf16", "train_metrics=[accuracy]"),
            *("compile=true", "losses={model: 1.0}", "adam_beta2=0.5", "optimizer=pushes"),
            "ema_decay=0.9",
        )
    ),
]


@pytest.mark.parametrize(("model", "overrides", "field"), WITHOUT_EFFECT)
def test_a_setting_without_effect_is_told_with_its_reason(
    model: dict[str, Any], overrides: list[str], field: str
) -> None:
    (line,) = settings_without_effect(load(model, *overrides))
    assert line.startswith(f"{field} has no effect: ")


@pytest.mark.parametrize(
    ("model", "overrides"),
    [
        (GPT2, ["training.attn_implementation=eager", "training.min_learning_rate=1e-4"]),
        (
            GPT2,
            ["training.optimizer=muon", "training.muon={ns_steps: 6}", "training.adam_beta1=0.8"],
        ),
        (GPT2, ["training.max_grad_value=0.5"]),
        (GPT2, ["data.train={hub: a/b}", "data.text_column=body", "data.split_by=position"]),
        (GPT2, ["tokenizer.model_type=bpe", "tokenizer.normalization=nfkc"]),
        (GPT2, ["tokenizer.tokenizer_type=wordpiece", "tokenizer.lowercase=true"]),
        (BERT, [MASKED, "training.mlm_probability=0.3", "model.bert.type_vocab_size=3"]),
        (LSTM, [MASKED, BOTH_WAYS, "training.mlm_probability=0.3"]),
        (GPT2, ["training.save_total_limit=2", "training.save_steps=1"]),
        *(
            (GPT2, [f"training.milestones.{mark}", "training.milestones.save_only_model=false"])
            for mark in ("steps=[5]", "logarithmic=8", "words=babylm", "tokens=9", "first_epoch=3")
        ),
        (GPT2, ["training={epochs: 1}", "training.milestones.steps=[9]"]),
        (
            GPT2,
            ["training.losses={label_smoothing: 1.0}", "training.label_smoothing_factor=0.2"],
        ),
        (
            GPT2,
            [
                *("training.early_stopping_patience=2", "training.early_stopping_threshold=0.1"),
                "training.eval_steps=2",
            ],
        ),
        (BERT, [MASKED, "training.mlm_probability_end=0.3", "training.ema_decay=0.9"]),
        (LSTM, [CARRIED, STREAMS]),
        (GPT2, ["data.packing=documents", "data.document_overlap=9"]),
        (
            BERT,
            [MASKED, "training.mlm_masking=span", "training.mlm_span_length=2.0"],
        ),
        (GPT2, ["tokenizer.tokenizer_type=word", "tokenizer.min_frequency=2"]),
        (GPT2, ["training.optimizer=pushes", "training.pushes.strength=0.7"]),
        (GPT2, ["training.pushes={strength: 0.5}"]),
        (GPT2, [RECORDS, "data.content_tokens=9", "training.learning_rate=1.0"]),
        (COUNTS, ["data.packing=streams", "tokenizer.vocab_size=9", "training.eval_steps=1"]),
    ],
)
def test_a_setting_with_an_effect_is_not_warned_of(
    model: dict[str, Any], overrides: list[str]
) -> None:
    assert settings_without_effect(load(model, *overrides)) == []


def test_milestones_after_the_last_step_are_told() -> None:
    config = load(GPT2, "training.milestones.steps=[5, 8, 7]")
    assert settings_without_effect(config) == [
        "training.milestones.steps has no effect from 7 on: the run ends at training.max_steps (=5)"
    ]

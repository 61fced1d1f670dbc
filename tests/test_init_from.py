"""Runs that begin with the weights of a saved model, `model.init_from`."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    LlamaConfig,
    LlamaForCausalLM,
)

from model_foundry import train
from model_foundry.architectures.initial_weights import begin_from
from model_foundry.config import ExperimentConfig
from model_foundry.errors import ConfigError, ResumeError
from model_foundry.experiment.preflight import check
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.model import create_model, initialize, load_model
from model_foundry.objectives.processors import TOKENIZER
from model_foundry.tokenizer.loading import load_tokenizer
from model_foundry.tokenizer.special_tokens import with_tokens
from tests.experiments import MODELS, tiny_experiment

KINDS = sorted(MODELS)
SHORT = ("training.max_steps=2",)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the run directories of trained models, each made when it is first asked for."""
    found: dict[str, Path] = {}

    def run_of(kind: str) -> Path:
        if kind not in found:
            config = tiny_experiment(kind, tmp_path_factory.mktemp("trained"), *SHORT)
            found[kind] = train(config).model_dir.parent
        return found[kind]

    return run_of


def continuing(kind: str, run: Path, directory: Path, *settings: str) -> ExperimentConfig:
    """Return an experiment that begins with a trained model and takes its tokenizer."""
    given = (f"model.init_from={run}", f"tokenizer.path={run / 'tokenizer'}")
    return tiny_experiment(kind, directory, *given, *settings)


def classifying(kind: str, run: Path, directory: Path, *settings: str) -> ExperimentConfig:
    """Return such an experiment whose task is to classify texts."""
    file = directory / "texts.jsonl"
    directory.mkdir(exist_ok=True)
    lines = [{"text": f"the cat sees {i} birds", "label": "ab"[i % 2]} for i in range(24)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return continuing(
        kind,
        run,
        directory,
        "training.objective=sequence_classification",
        f"data.train={file}",
        *settings,
    )


def report_of(run: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((run / "evaluation" / "initial_weights.json").read_text())
    return report


def fresh(config: ExperimentConfig, **arguments: Any) -> Any:
    model = create_model(config, **arguments)
    initialize(model, config)
    return model.eval()


# --- weights that are kept ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_task_begins_with_all_weights(kind: str, trained: Any, tmp_path: Path) -> None:
    run = trained(kind)
    model, saved = fresh(continuing(kind, run, tmp_path)), load_model(run)
    assert all(torch.equal(w, saved.state_dict()[n]) for n, w in model.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_another_task_keeps_the_body_and_a_new_head(
    kind: str, trained: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = trained(kind)
    still = ("training.max_steps=1", "training.warmup_steps=0", "training.learning_rate=1e-12")
    config = classifying(kind, run, tmp_path, *still)
    with caplog.at_level("INFO"):
        result = train(config)
    report = report_of(config.output_dir)
    assert report["new"] == ["output.weight", "output.bias"]
    assert report["directory"] == str(run / "model")
    assert f"{len(report['kept'])} tensors kept, 2 new (output.weight, output.bias)" in caplog.text
    ours = load_model(result.model_dir).hf_model.body.state_dict()
    theirs = load_model(run).hf_model.base_model.state_dict()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=1e-9)
    assert not report["merged"]


def test_a_head_of_the_same_labels_is_kept_and_one_of_others_is_new(
    trained: Any, tmp_path: Path
) -> None:
    run = trained("gpt2")
    first = classifying("gpt2", run, tmp_path / "first", *SHORT)
    train(first)
    second = classifying("gpt2", first.output_dir, tmp_path / "second", *SHORT)
    train(second)
    assert report_of(second.output_dir)["new"] == []
    other = classifying("gpt2", first.output_dir, tmp_path / "other", *SHORT)
    texts = tmp_path / "other" / "texts.jsonl"
    texts.write_text(texts.read_text().replace('"b"', '"c"'))
    train(other)
    assert report_of(other.output_dir)["new"] == ["output.weight", "output.bias"]


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_networks_begin_with_the_weights_of_each_other(
    kind: str, trained: Any, tmp_path: Path
) -> None:
    """Transformers' class, its native twin and the native decoder or encoder, in a circle."""
    name = {"gpt2": "transformer_decoder", "bert": "transformer_encoder"}[kind]
    norm = {"gpt2": "place: pre", "bert": "place: post, eps: 1.0e-12"}[kind]
    sizes = "layers: 2, hidden_size: 32, attention_heads: 2"
    backbone = f"model.backbone={{{sizes}, norm: {{{norm}}}}}"
    own = (f"model.architecture={name}", "model.transformer=null", backbone)
    settings = [("model.implementation=native",), own, ("model.implementation=transformers",)]
    run, models = trained(kind), []
    for number, given in enumerate(settings):
        place = f"model.init_from={run / 'model'}"
        model = fresh(continuing(kind, run, tmp_path, place, *given))
        run_of_next = tmp_path / str(number)
        model.save_pretrained(run_of_next / "model")
        shutil.copytree(run / "tokenizer", run_of_next / "tokenizer")
        run = run_of_next
        models.append(model)
    ids = torch.randint(5, 200, (2, 16), generator=torch.Generator().manual_seed(1))
    expected = load_model(trained(kind))(ids).logits
    for model in models:
        torch.testing.assert_close(model(ids).logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("implementation", ["native", "transformers"])
def test_a_directory_of_transformers_gives_its_body(implementation: str, tmp_path: Path) -> None:
    """With a pooler and a head for sentences, which no language model here has."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(vocab_size=300, max_position_embeddings=16, intermediate_size=128, **sizes)
    theirs = BertForPreTraining(config).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    settings = (f"model.init_from={tmp_path / 'theirs'}", f"model.implementation={implementation}")
    experiment = tiny_experiment("bert", tmp_path, *settings)
    model = create_model(experiment, vocab_size=300)
    report = initialize(model, experiment)
    assert report is not None and report["new"] == []
    assert [name for name in report["unused"] if "pooler" not in name] == [
        "cls.seq_relationship.bias",
        "cls.seq_relationship.weight",
    ]
    segments = "bert.embeddings.token_type_embeddings.weight"
    assert report["merged"] == ([segments] if implementation == "native" else [])
    ids = torch.randint(5, 200, (2, 16))
    expected = theirs(ids).prediction_logits
    torch.testing.assert_close(model.eval()(ids).logits, expected, rtol=1e-4, atol=1e-5)


def test_old_names_of_a_layer_norm_are_read(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    BertForMaskedLM(
        BertConfig(vocab_size=300, max_position_embeddings=16, intermediate_size=128, **sizes)
    ).save_pretrained(tmp_path / "old")
    file = tmp_path / "old" / "model.safetensors"
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor + 0.25
        for name, tensor in load_file(file).items()
    }
    save_file(renamed, file, metadata={"format": "pt"})
    experiment = tiny_experiment("bert", tmp_path, f"model.init_from={tmp_path / 'old'}")
    model = create_model(experiment, vocab_size=300)
    report = initialize(model, experiment)
    assert report is not None and not report["new"] and not report["unused"]
    norm = model.hf_model.bert.embeddings.LayerNorm
    assert norm.weight.unique().tolist() == [1.25] and norm.bias.unique().tolist() == [0.25]


# --- a run, and the same run again ----------------------------------------------------------------


def test_a_resumed_run_does_not_read_the_weights_again(trained: Any, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(trained("lstm"), source)
    settings = ("training.max_steps=4", "training.save_steps=2")
    whole = continuing("lstm", trained("lstm"), tmp_path / "whole", *settings)
    train(whole)
    cut = continuing("lstm", source, tmp_path / "cut", *settings)
    train(cut)
    report = report_of(cut.output_dir)
    shutil.rmtree(cut.output_dir / "model")
    shutil.rmtree(RunDirectory(cut.output_dir).checkpoint(4))
    shutil.rmtree(source / "model")  # the tokenizer is still compared
    train(cut)
    assert report_of(cut.output_dir) == report
    states = [load_model(config.output_dir).state_dict() for config in (whole, cut)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_run_that_began_with_other_weights_is_not_resumed(trained: Any, tmp_path: Path) -> None:
    run = trained("lstm")
    config = continuing("lstm", run, tmp_path, *SHORT)
    train(config)
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    train(continuing("lstm", moved, tmp_path, *SHORT))  # the same weights elsewhere
    other = trained("gru")
    with pytest.raises(ResumeError, match=r"initial weights: SHA-256 \w+ -> SHA-256 \w+"):
        train(continuing("lstm", run, tmp_path, *SHORT, f"model.init_from={other}"))
    with pytest.raises(ResumeError, match=r"initial weights: SHA-256 \w+ -> nothing"):
        train(continuing("lstm", run, tmp_path, *SHORT, "model.init_from=null"))


# --- mistakes -------------------------------------------------------------------------------------

NARROW = "model.transformer={layers: 2, hidden_size: 16, attention_heads: 2}"
DEEP = "model.transformer={layers: 3, hidden_size: 32, attention_heads: 2}"
HEADS = "model.transformer={layers: 2, hidden_size: 32, attention_heads: 4}"


@pytest.mark.parametrize(
    ("kind", "setting", "message"),
    [
        ("gpt2", NARROW, r"wte.weight of the shape \(\d+, 32\), and this model \(\d+, 16\); set"),
        ("gpt2", DEEP, r"has n_layer \(=2\), and this model 3; set the same in model.transformer"),
        ("gpt2", HEADS, r"has n_head \(=2\), and this model 4; set the same in model.transformer"),
        (
            "bert",
            "",
            r"holds a model of the architecture 'gpt2', and .* set model.architecture=gpt2",
        ),
        ("lstm", "", r"holds a model of the architecture 'gpt2', and .* is 'lstm'"),
        (
            "gpt2",
            "model.init_from=runs/nowhere",
            r"model.init_from: runs/nowhere: no such directory",
        ),
        ("gpt2", "tokenizer.path=null", r"set tokenizer.path=.* to take its tokenizer"),
        (
            "gpt2",
            "data.max_sequence_length=20",
            r"wpe.weight of the shape \(16, 32\), and this model \(20, 32\); its positions are "
            r"learned, so set data.max_sequence_length=16, or for shorter texts "
            r"model.transformer.max_position_embeddings=16, or name another model",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(
    kind: str, setting: str, message: str, trained: Any, tmp_path: Path
) -> None:
    if setting == "tokenizer.path=null":
        setting += "\ntokenizer.vocab_size=280"
    settings = setting.split("\n") if setting else []
    config = continuing(kind, trained("gpt2"), tmp_path, *SHORT, *settings)
    with pytest.raises(ConfigError, match=message) as raised:
        train(config)
    assert "\n" not in str(raised.value)
    assert not (config.output_dir / "config.yaml").exists()
    if "tokenizer" not in setting:  # which a check does not train
        with pytest.raises(ConfigError, match=message):
            check(config)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (
            "bert",
            (),
            r"'llama', and model.architecture is 'bert'; set model.architecture=huggingface and "
            r"model.huggingface.model_type=llama, or name another model",
        ),
        (
            "llama",
            ("model.huggingface={model_type: llama}",),
            r"has num_hidden_layers \(=1\), and this model 32; set the same in model.huggingface",
        ),
        (
            "llama",
            ("model.huggingface={model_type: llama, num_hidden_layers: 1, "
             "num_attention_heads: 2, num_key_value_heads: 2}",),
            r"has model.embed_tokens.weight of the shape \(60, 32\), and this model \(60, 4096\)",
        ),
        (
            "llama",
            ("model.huggingface={model_type: gemma}",),
            r"set model.huggingface.model_type=llama, or name another model",
        ),
    ],
)  # fmt: skip
def test_another_model_is_told_before_the_data_are_read_and_it_is_made(
    kind: str, settings: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    """The default sizes of a type are those of a large published model."""
    fields = LlamaConfig(
        **{"vocab_size": 60, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1},
        **{"num_attention_heads": 2, "num_key_value_heads": 2, "pad_token_id": None},
    )
    LlamaForCausalLM(fields).save_pretrained(tmp_path / "theirs")
    given = (f"data.train={tmp_path}/none.txt", f"model.init_from={tmp_path / 'theirs'}")
    config = tiny_experiment(kind, tmp_path, *given, *settings)
    for use in (check, train):
        with pytest.raises(ConfigError, match=message):
            use(config)


def test_weights_of_fewer_positions_cannot_have_more(tmp_path: Path) -> None:
    given = "model.transformer.max_position_embeddings=8"
    for place, remedy in ((), r"lower the first or raise the second$"), (
        ("model.init_from=runs/any",), r"lower the first$",
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=rf"\(=16\) exceeds .*; {remedy}"):
            tiny_experiment("gpt2", tmp_path, given, *place)


def saved(kind: str, here: Path, *settings: str) -> Path:
    """Save a model with random weights; return its directory."""
    create_model(tiny_experiment(kind, here, *settings), vocab_size=60).save_pretrained(here)
    return here


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("bias=false", r"has 1\d tensors that this model lacks, such as transformer.stack.*bias;"),
        ("tie_word_embeddings=true", r"has lm_head.weight as a matrix of its own, .* ties to its"),
    ],
)
def test_weights_are_not_dropped_without_a_word(setting: str, message: str, tmp_path: Path) -> None:
    """Of another form, the model would compute something else with what is left."""
    untied = "model.backbone.tie_word_embeddings=false"
    directory = saved("transformer_decoder", tmp_path / "theirs", untied)
    given = (untied, f"model.backbone.{setting}", f"model.init_from={directory}")
    config = tiny_experiment("transformer_decoder", tmp_path, *given)
    with pytest.raises(ConfigError, match=message):
        initialize(create_model(config, vocab_size=60), config)


def hub_model(directory: Path, **fields: Any) -> ExperimentConfig:
    """Return an experiment with a model type of transformers."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 16}
    section = {"model_type": "llama", **sizes, "intermediate_size": 64, **fields}
    setting = f"model={{architecture: huggingface, huggingface: {json.dumps(section)}}}"
    return tiny_experiment("llama", directory, setting)


def begun(config: ExperimentConfig, directory: Path) -> Any:
    """Give a model on the meta device the weights of a directory; return the report."""
    model = {**config.model.model_dump(exclude_unset=True), "init_from": directory}
    config = config.model_copy(update={"model": type(config.model)(**model)})
    with torch.device("meta"):
        return initialize(create_model(config, vocab_size=60), config)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"model_type": "gemma"},
            r"holds a model of the type 'llama', and model.huggingface.model_type is 'gemma'; "
            r"set model.huggingface.model_type=llama, or name another model\.",
        ),
        (
            {"rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}},
            r"has rope_parameters.rope_theta \(=10000.0\), and this model 500.0; set the same in",
        ),
        (
            {"hidden_act": "relu"},
            r"has hidden_act \(='silu'\), and this model 'relu'; set the same",
        ),
    ],
)
def test_types_and_fields_of_the_library_are_compared(
    fields: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Tensors are named and shaped alike, and compute something else."""
    theirs = tmp_path / "theirs"
    create_model(hub_model(tmp_path), vocab_size=60).save_pretrained(theirs)
    assert not begun(hub_model(tmp_path), theirs)["new"]
    with pytest.raises(ConfigError, match=message):
        begun(hub_model(tmp_path, **fields), theirs)


def test_a_field_that_a_directory_leaves_out_is_the_default_of_the_library(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    create_model(hub_model(tmp_path), vocab_size=60).save_pretrained(theirs)
    file = theirs / "config.json"
    record = {k: v for k, v in json.loads(file.read_text()).items() if k != "rms_norm_eps"}
    file.write_text(json.dumps(record))
    assert not begun(hub_model(tmp_path), theirs)["new"]
    with pytest.raises(ConfigError, match=r"has rms_norm_eps \(=1e-06\), and this model 0.5;"):
        begun(hub_model(tmp_path, rms_norm_eps=0.5), theirs)


def test_windows_of_attention_are_compared(tmp_path: Path) -> None:
    theirs, fields = tmp_path / "theirs", {"model_type": "mistral", "num_key_value_heads": 2}
    create_model(hub_model(tmp_path, **fields), vocab_size=60).save_pretrained(theirs)
    with pytest.raises(ConfigError, match=r"has sliding_window \(=\d+\), and this model 4;"):
        begun(hub_model(tmp_path, sliding_window=4, **fields), theirs)


def test_settings_of_plain_torch_are_compared_except_those_of_training(tmp_path: Path) -> None:
    def experiment(**section: Any) -> ExperimentConfig:
        given = json.dumps({"hidden_sizes": [4], **section})
        return tiny_experiment(
            "lstm",
            tmp_path,
            f"model={{architecture: dense, dense: {given}}}",
            "training.objective=image_classification",
        )

    images = {"num_channels": 1, "image_size": [2, 2], "labels": ["a", "b"]}
    theirs = tmp_path / "theirs"
    create_model(experiment(activation="gelu"), **images).save_pretrained(theirs)
    config = experiment(dropout=0.5, activation="gelu")
    model = create_model(config, **images)
    assert not begin_from(model, theirs).new
    for labels in (["a", "c"], ["a", "b", "c"]):
        other = begin_from(create_model(config, **images | {"labels": labels}), theirs)
        assert other.new == ["output.weight", "output.bias"]
    message = r"has activation \(='gelu'\), and this model 'relu'; set the same in model.dense"
    with pytest.raises(ConfigError, match=message):
        begin_from(create_model(experiment(activation="relu"), **images), theirs)


@pytest.mark.parametrize("source", ["llama", "gpt2", "transformer_decoder"])
def test_an_untied_output_matrix_begins_as_the_embeddings_that_it_was_tied_to(
    source: str, tmp_path: Path
) -> None:
    tying = {"llama": "huggingface", "transformer_decoder": "backbone"}.get(source)
    tied = () if tying is None else (f"model.{tying}.tie_word_embeddings=true",)
    theirs = tmp_path / "theirs"
    first = create_model(tiny_experiment(source, tmp_path, *tied), vocab_size=60)
    first.save_pretrained(theirs)
    kind = "transformer_decoder" if source == "gpt2" else source
    own = {"llama": "huggingface"}.get(kind, "backbone")
    given = (f"model.{own}.tie_word_embeddings=false", f"model.init_from={theirs}")
    config = tiny_experiment(kind, tmp_path, *given)
    model = create_model(config, vocab_size=60)
    report = initialize(model, config)
    assert report is not None and report["copied"] == ["lm_head.weight"] and not report["new"]
    assert model.hf_model.lm_head.weight is not model.get_input_embeddings().weight
    ids = torch.randint(5, 60, (2, 8))
    expected = first.eval()(ids).logits
    torch.testing.assert_close(model.eval()(ids).logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "grown"),
    [
        ("gpt2", ["transformer.wte.weight"]),
        ("bert", ["bert.embeddings.word_embeddings.weight", "cls.predictions.bias"]),
        ("llama", ["model.embed_tokens.weight", "lm_head.weight"]),
    ],
)
def test_tokens_after_those_of_the_weights_begin_anew(
    kind: str, grown: list[str], trained: Any, tmp_path: Path
) -> None:
    run = trained(kind)
    tokenizer = with_tokens(load_tokenizer(run / "tokenizer"), ["<one>", "<two>"])
    config, size = continuing(kind, run, tmp_path), len(tokenizer) - 2
    model = create_model(config, vocab_size=len(tokenizer))
    embeddings: Any = model.get_input_embeddings()
    drawn = embeddings.weight[size:].clone()
    report = initialize(model, config, {TOKENIZER: tokenizer})
    assert report is not None and report["new"] == [f"{name}[{size}:]" for name in grown]
    assert torch.equal(embeddings.weight[size:], drawn)
    ids = torch.randint(5, size, (2, 8))
    expected = load_model(run)(ids).logits
    torch.testing.assert_close(model.eval()(ids).logits[..., :size], expected)


def test_tokens_with_other_numbers_are_named(trained: Any, tmp_path: Path) -> None:
    run = trained("gpt2")
    tokenizer = load_tokenizer(run / "tokenizer")
    moved = tmp_path / "moved"
    tokenizer.save_pretrained(moved)
    text = (moved / "tokenizer.json").read_text()
    (moved / "tokenizer.json").write_text(text.replace('"<mask>"', '"<other>"'))
    config = continuing("gpt2", run, tmp_path)
    model = create_model(config, vocab_size=len(tokenizer))
    message = r"1 of its \d+ tokens have other numbers here, or none, such as '<mask>'; set tok"
    with pytest.raises(ConfigError, match=message):
        initialize(model, config, {TOKENIZER: load_tokenizer(moved)})


def test_a_matrix_that_is_stored_twice_is_not_reported_as_unused(tmp_path: Path) -> None:
    directory = saved("gpt2", tmp_path / "theirs")
    file = directory / "model.safetensors"
    tensors = load_file(file)
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    tensors["transformer.h.0.attn.bias"] = torch.ones(1, 1, 16, 16)  # of old directories
    save_file(tensors, file, metadata={"format": "pt"})
    config = tiny_experiment("gpt2", tmp_path, f"model.init_from={directory}")
    report = initialize(create_model(config, vocab_size=60), config)
    assert report is not None and report["unused"] == ["transformer.h.0.attn.bias"]


def test_a_file_and_a_damaged_directory_are_refused(trained: Any, tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_text("no weights")
    config = continuing("gpt2", trained("gpt2"), tmp_path, f"model.init_from={file}")
    with pytest.raises(ConfigError, match=r"model.init_from: .*weights: is a file; name a run"):
        train(config)
    copy = tmp_path / "copy"
    shutil.copytree(trained("gpt2") / "model", copy)
    (copy / "model.safetensors").write_bytes(b"none")
    (copy / "manifest.json").unlink(missing_ok=True)
    config = continuing("gpt2", trained("gpt2"), tmp_path, f"model.init_from={copy}")
    with pytest.raises(ConfigError, match=r"model.safetensors: does not hold weights"):
        train(config)


@pytest.mark.parametrize("function", [check, train])
def test_a_wrong_place_is_told_before_the_data_are_read(function: Any, tmp_path: Path) -> None:
    given = ("model.init_from=runs/nowhere", f"data.train={tmp_path / 'missing.txt'}")
    with pytest.raises(ConfigError, match=r"model.init_from: runs/nowhere: no such directory"):
        function(tiny_experiment("gpt2", tmp_path, *given))

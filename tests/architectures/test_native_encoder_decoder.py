"""The encoder-decoder of this package's own blocks, as an experiment sees it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from model_foundry.architectures import BaseModel, create_model_from_config
from model_foundry.config import ExperimentConfig, validate
from model_foundry.errors import ConfigError

V, IDS = 29, {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def experiment(*, lengths: dict[str, int] | None = None, **section: Any) -> ExperimentConfig:
    backbone = {"layers": 2, "hidden_size": 16, "attention_heads": 2, "dropout": 0.0} | section
    return ExperimentConfig.model_validate(
        {
            "experiment_name": "tiny",
            "data": {"train": "unread.jsonl", "max_sequence_length": 12},
            "model": {"architecture": "transformer", "backbone": backbone},
            "training": {"objective": "seq2seq_lm", "max_steps": 1, "seq2seq_lm": lengths or {}},
        }
    )


def make(*, lengths: dict[str, int] | None = None, given: Any = IDS, **section: Any) -> Any:
    config = experiment(lengths=lengths, attention_dropout=0.0, **section)
    return create_model_from_config(config, vocab_size=V, **given)


def batch(size: int = V) -> dict[str, torch.Tensor]:
    ids, labels = torch.randint(3, size, (3, 7)), torch.randint(3, V, (3, 5))
    mask = torch.ones_like(ids)
    mask[1, 4:], labels[2, 3:] = 0, -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@pytest.mark.parametrize(
    ("section", "layers"),
    [
        ({}, (2, 2)),
        ({"encoder": {"layers": 3}}, (3, 2)),
        ({"decoder": {"layers": 1}}, (2, 1)),
        ({"layers": None, "encoder": {"layers": 3}, "decoder": {"layers": 1}}, (3, 1)),
    ],
)
def test_the_layers_of_each_stack(section: dict[str, Any], layers: tuple[int, int]) -> None:
    network = make(**section).hf_model
    assert (len(network.encoder.stack.blocks), len(network.decoder.blocks)) == layers


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_a_stack_without_layers_is_refused(stack: str) -> None:
    with pytest.raises(
        ValidationError, match="layers: is required; an encoder-decoder may have enc"
    ):
        experiment(layers=None, **{stack: {"layers": 2}})


@pytest.mark.parametrize("name", ["transformer_decoder", "transformer_encoder"])
@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_two_stacks_are_for_an_encoder_decoder(name: str, stack: str) -> None:
    objective = "causal_lm" if name == "transformer_decoder" else "masked_lm"
    model = experiment(**{stack: {"layers": 2}}).model.model_dump() | {"architecture": name}
    law = (
        f"model.backbone.{stack}: is for encoder-decoders, and '{name}' has one stack; set model.ba"
    )
    with pytest.raises(ValidationError, match=law):
        ExperimentConfig.model_validate(
            {"experiment_name": "tiny", "data": {"train": "unread.txt"}, "model": model}
            | {"training": {"objective": objective, "max_steps": 1}}
        )


def test_initial_weights_before_a_sum_follow_the_depth_of_their_stack() -> None:
    stacks = {"layers": None, "encoder": {"layers": 8}, "decoder": {"layers": 1}}
    network = make(hidden_size=64, **stacks).hf_model
    [decoder], encoder = network.decoder.blocks, network.encoder.stack.blocks[0]
    std = 0.02
    for block, num_sums in ((encoder, 16), (decoder, 3)):
        for weight in (block.self_attention.sublayer.output, block.feed_forward.sublayer.down):
            assert weight.weight.std().item() == pytest.approx(std * num_sums**-0.5, rel=0.05)
    cross = decoder.cross_attention.sublayer.output.weight.std().item()
    assert cross == pytest.approx(std * 3**-0.5, rel=0.05)
    published = make(norm={"place": "post"}, hidden_size=64).hf_model.decoder.blocks[0]
    assert published.feed_forward.sublayer.down.weight.std().item() == pytest.approx(std, rel=0.05)


@pytest.mark.parametrize("tied", [True, False])
def test_one_vocabulary_has_one_embedding(tied: bool) -> None:
    network = make(tie_word_embeddings=tied).hf_model
    tables = [n for n, p in network.named_parameters() if p.shape == (V, 16)]
    assert tables == ["encoder.embed.weight"] + ([] if tied else ["lm_head.weight"])


@pytest.mark.parametrize("tied", [True, False])
def test_two_vocabularies_have_two_embeddings(tied: bool) -> None:
    model = make(given=IDS | {"source_vocab_size": 40}, tie_word_embeddings=tied)
    network = model.hf_model
    assert network.encoder.embed.weight.shape == (40, 16)
    assert (network.lm_head.weight is network.target_embed.weight) == tied
    inputs = batch(size=40)
    inputs["input_ids"][0, 0] = 39
    assert model(**inputs).logits.shape == (3, 5, V)


@pytest.mark.parametrize(
    ("given", "start"),
    [
        (IDS, 1),
        ({"pad_token_id": 4, "sep_token_id": 3, "eos_token_id": 3}, 4),
        ({"eos_token_id": 2}, 2),
    ],
)
def test_targets_begin_with_a_special_token(given: dict[str, int], start: int) -> None:
    assert make(given=given).start_token_id == start


def test_loss_is_the_mean_over_the_targets_and_they_do_not_see_themselves() -> None:
    model, inputs = make(hidden_size=32).eval(), batch()
    output = model(**inputs)
    logits, labels = output.logits, inputs["labels"]
    picked = logits.log_softmax(-1)[labels != -100]
    expected = -picked.gather(1, labels[labels != -100][:, None]).mean()
    torch.testing.assert_close(output.loss, expected)
    changed = inputs | {"labels": labels.clone()}
    changed["labels"][:, 2] = 3 + (labels[:, 2] - 2) % (V - 3)
    again = model(**changed).logits
    assert torch.equal(again[:, :3], logits[:, :3])
    assert (again[:2, 3] != logits[:2, 3]).any()


def test_learned_positions_hold_the_longest_source_and_target() -> None:
    model = make(lengths={"max_target_length": 20})
    assert model.num_positions == 20
    with pytest.raises(ValueError, match=r"source \(=21 tokens\) exceeds the 20 positions"):
        model(input_ids=torch.ones(1, 21, dtype=torch.long), labels=torch.ones(1, 2).long())
    with pytest.raises(ValueError, match=r"target \(=21 tokens\) exceeds the 20 positions"):
        model(input_ids=torch.ones(1, 2, dtype=torch.long), labels=torch.ones(1, 21).long())
    with pytest.raises(ValueError, match=r"max_new_tokens \(=21 tokens\) exceeds the 20 pos"):
        model.generate(torch.ones(1, 2, dtype=torch.long), max_new_tokens=21)
    assert model.generate(torch.ones(1, 20).long(), max_new_tokens=20).shape[1] <= 20
    law = r"max_target_length: \(=20\) gives targets of up to 20 tokens, more than model.backbone"
    with pytest.raises(ValidationError, match=law):
        make(lengths={"max_target_length": 20}, max_position_embeddings=16)
    assert make(positions="relative", max_position_embeddings=4).num_positions is None


@pytest.mark.parametrize("own", [{}, {"source_vocab_size": 40}])
@pytest.mark.parametrize("tied", [True, False])
def test_a_saved_model_is_loaded_here(tied: bool, own: dict[str, int], tmp_path: Path) -> None:
    model, inputs = make(given=IDS | own, tie_word_embeddings=tied).eval(), batch()
    model.save_pretrained(tmp_path)
    loaded = BaseModel.from_pretrained(tmp_path).eval()
    assert type(loaded) is type(model)
    assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)
    assert {n for n, _ in loaded.named_parameters()} == {n for n, _ in model.named_parameters()}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"decoder_layers": 10**9}, "has 1,000,000,000 layers, but the weights are only"),
        ({"encoder_layers": 10**9}, "has 1,000,000,000 layers, but the weights are only"),
        (
            {"encoder_layers": 1},
            "weights have unexpected keys: encoder.stack.blocks.1.feed_forward",
        ),
        ({"decoder_layers": "2"}, "`decoder_layers` must be a whole number above 0, got '2'"),
        ({"source_vocab_size": 0}, "`source_vocab_size` must be a whole number above 0, got 0"),
        ({"source_vocab_size": 30}, "too few for the 16,752 parameters that config.json desc"),
    ],
)
def test_a_directory_that_does_not_fit_is_refused_in_one_line(
    change: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    make().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ConfigError, match=reason) as caught:
        BaseModel.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("own", [{}, {"source_vocab_size": 40}])
def test_a_larger_vocabulary_keeps_what_was_there(own: dict[str, int]) -> None:
    model, inputs = make(given=IDS | own).eval(), batch()
    before = model(**inputs).logits
    model.resize_token_embeddings(V + 5)
    after = model(**inputs).logits
    torch.testing.assert_close(after[..., :V], before)
    assert after.shape[-1] == V + 5
    inputs["labels"][0, 0] = V + 4
    assert model(**inputs).loss.isfinite()


@pytest.mark.parametrize("own", [{}, {"source_vocab_size": 40}])
def test_recomputed_activations_give_the_same_gradients(own: dict[str, int]) -> None:
    model, inputs = make(given=IDS | own, positions="relative"), batch()
    gradients = []
    for _ in range(2):
        model.zero_grad()
        model(**inputs).loss.backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
        model.gradient_checkpointing_enable()
    assert model.hf_model.decoder.gradient_checkpointing
    assert model.hf_model.encoder.stack.gradient_checkpointing
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ({"encoder": 3}, "model.backbone.encoder: must be a mapping, got 3"),
        ({"encoder": {"layers": 0}}, "model.backbone.encoder.layers: must be > 0, got 0"),
        ({"decoder": {"layers": 1, "depth": 2}}, "decoder.depth: unknown key; valid keys here: la"),
        ({"decoder": {}}, "model.backbone.decoder.layers: is required"),
        (
            {"layers": None},
            "model.backbone.layers: is required; an encoder-decoder may have encoder.la",
        ),
        (
            {"layers": 2, "encoder": {"layers": 1}, "decoder": {"layers": 1}},
            "layers: (=2) has no effect beside both encoder and decoder; leave it out",
        ),
        ({"positions": "rotory"}, "got 'rotory'; did you mean 'rotary'?"),
        ({"attention_heads": 3}, "hidden_size: must be a multiple of attention_heads (=3), got 16"),
    ],
)
def test_a_mistake_in_the_section_is_told_in_one_line(section: dict[str, Any], line: str) -> None:
    plain = experiment().model_dump(mode="json", exclude_none=True)
    backbone = plain["model"]["backbone"] | section
    with pytest.raises(ConfigError) as caught:
        validate(plain | {"model": {"architecture": "transformer", "backbone": backbone}}, "file")
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_a_kernel_of_others_is_refused_by_name() -> None:
    config = experiment().model_copy(deep=True)
    config.training.attn_implementation = "flash_attention_2"
    with pytest.raises(ConfigError, match="does not fit transformer, whose kernel is torch's"):
        create_model_from_config(config, vocab_size=V, **IDS)


ELSEWHERE = """
import sys
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSeq2SeqLM

for directory in sys.argv[1:]:
    model = AutoModelForSeq2SeqLM.from_pretrained(directory, trust_remote_code=True).eval()
    seen = load_file(f"{directory}/expected.safetensors")
    logits = model(seen["ids"], labels=seen["labels"]).logits
    torch.testing.assert_close(logits, seen["logits"], rtol=0, atol=1e-6)
    written = model.generate(seen["ids"], max_new_tokens=8, num_beams=2)[:, 1:]
    assert torch.equal(written, seen["written"]), (written, seen["written"])
assert "model_foundry" not in sys.modules
"""


@pytest.mark.slow
def test_transformers_loads_it_without_this_package(tmp_path: Path) -> None:
    directories = []
    for name, own in (("one", {}), ("two", {"source_vocab_size": 40})):
        model, inputs = make(given=IDS | own, positions="rotary").eval(), batch()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(4)  # a fresh model repeats itself
        directories.append(tmp_path / name)
        model.save_pretrained(directories[-1])
        ids, labels = inputs["input_ids"], inputs["labels"].clamp(min=0)
        expected = {
            "ids": ids,
            "labels": labels,
            "logits": model(input_ids=ids, labels=labels).logits,
            "written": model.generate(ids, max_new_tokens=8, num_beams=2),
        }
        tensors = {key: value.contiguous() for key, value in expected.items()}
        save_file(tensors, directories[-1] / "expected.safetensors")
    environment = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin"}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *map(str, directories)],
        **{"env": environment, "cwd": tmp_path, "capture_output": True, "text": True},
    )
    assert done.returncode == 0, done.stderr

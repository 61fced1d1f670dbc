"""The laws that every language model obeys, over all that are registered.

Those that are not about tokens are in `test_contract_of_all_kinds.py`.
"""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from model_foundry.architectures import (
    MODEL_REGISTRY,
    BaseLanguageModel,
    ModelOutput,
    create_model_from_config,
)
from model_foundry.architectures.saving.native_format import architecture_of
from model_foundry.config import ARCHITECTURES, ExperimentConfig
from model_foundry.errors import ConfigError

V, T = 61, 12
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LANGUAGE = [name for name in sorted(MODEL_REGISTRY) if ARCHITECTURES[name].kind == "language"]
RECURRENT = [name for name in LANGUAGE if ARCHITECTURES[name].section == "rnn"]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in LANGUAGE},
    **{
        f"{name}-{kind}": (name, {"implementation": kind})
        for name in ("bert", "gpt2")
        for kind in ("native", "transformers")
    },
    **{f"{name}-both-ways": (name, {"bidirectional": True}) for name in RECURRENT},
    **{f"{name}-tied": (name, {"tie_word_embeddings": True}) for name in RECURRENT},
    "lstm-both-ways-tied": ("lstm", {"bidirectional": True, "tie_word_embeddings": True}),
}
MakeConfig = Callable[..., ExperimentConfig]


def make(config: ExperimentConfig, *, seed: int = 0) -> BaseLanguageModel:
    torch.manual_seed(seed)
    return create_model_from_config(config, vocab_size=V, **IDS)


def random_ids(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, V, shape, generator=generator)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return CASES[request.param]


@pytest.fixture
def config(case: tuple[str, dict[str, Any]], tiny_config: MakeConfig) -> ExperimentConfig:
    return tiny_config(case[0], **case[1])


@pytest.fixture
def model(config: ExperimentConfig) -> BaseLanguageModel:
    return make(config)


CAUSAL = [
    key
    for key, (name, section) in CASES.items()
    if "causal_lm" in ARCHITECTURES[name].objectives and not section.get("bidirectional")
]


@pytest.fixture(params=CAUSAL)
def generator(request: pytest.FixtureRequest, tiny_config: MakeConfig) -> BaseLanguageModel:
    name, section = CASES[request.param]
    model = make(tiny_config(name, **section)).eval()
    # A fresh model repeats itself; with large weights it wanders. States above 0 need larger ones.
    std = 2.0 if name.startswith("min_") else 0.7
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=std)
    return model


def tied_pairs(model: BaseLanguageModel) -> list[tuple[Tensor, Tensor]]:
    """Return (input, output) matrices where the configuration ties them."""
    hf_model = model.hf_model
    if not hf_model.config.tie_word_embeddings:
        return []
    return [(model.get_input_embeddings().weight, hf_model.get_output_embeddings().weight)]


# --- forward --------------------------------------------------------------------------------------


def test_a_model_agrees_with_its_spec(model: BaseLanguageModel, config: ExperimentConfig) -> None:
    spec = ARCHITECTURES[config.model.architecture]
    assert model.model_type == config.model.architecture
    assert type(model) is MODEL_REGISTRY[model.model_type]
    assert spec.causal_with(config.model.section) in (None, model.is_causal)
    assert model.supports_generation == model.is_causal


def test_initial_loss_is_near_the_log_of_the_vocabulary(model: BaseLanguageModel) -> None:
    ids = random_ids(16, T)
    assert model(ids, labels=ids).loss.item() == pytest.approx(math.log(V), abs=0.3)


def test_logits_have_a_row_for_each_position(model: BaseLanguageModel) -> None:
    output = model(random_ids(3, 7))
    assert isinstance(output, ModelOutput)
    assert output.logits.shape == (3, 7, V)
    assert output.loss is None


def test_hidden_states_come_on_request(model: BaseLanguageModel) -> None:
    states = model(random_ids(3, 7), output_hidden_states=True).hidden_states
    assert [state.shape[:2] for state in states] == [(3, 7)] * 3  # embeddings and two layers


def test_future_tokens_leak_exactly_into_models_that_see_both_sides(
    model: BaseLanguageModel,
) -> None:
    model.eval()
    ids, t = random_ids(2, T), 5
    changed = ids.clone()
    changed[:, t] = (ids[:, t] + 1 - 3) % (V - 3) + 3
    before, after = model(ids).logits, model(changed).logits
    if model.is_causal:
        torch.testing.assert_close(after[:, :t], before[:, :t], rtol=0, atol=1e-6)
    else:
        assert all((after[:, i] != before[:, i]).any() for i in range(t))
    assert (after[:, t] != before[:, t]).any()


@pytest.mark.parametrize("side", ["left", "right", "both"])
def test_padding_changes_no_real_token(model: BaseLanguageModel, side: str) -> None:
    model.eval()
    ids = random_ids(2, 6)
    left = {"left": 4, "right": 0, "both": 2}[side]
    padded, mask = torch.zeros(2, 10, dtype=torch.long), torch.zeros(2, 10, dtype=torch.long)
    padded[:, left : left + 6], mask[:, left : left + 6] = ids, 1
    logits = model(padded, attention_mask=mask).logits[:, left : left + 6]
    torch.testing.assert_close(logits, model(ids).logits, rtol=0, atol=1e-5)


def test_a_batch_equals_its_rows_one_by_one(model: BaseLanguageModel) -> None:
    model.eval()
    rows = [random_ids(1, length, seed=length) for length in (3, 7, 10)]
    batch, mask = torch.zeros(3, 10, dtype=torch.long), torch.zeros(3, 10, dtype=torch.long)
    for i, row in enumerate(rows):
        batch[i, : row.shape[1]], mask[i, : row.shape[1]] = row, 1
    logits = model(batch, attention_mask=mask).logits
    for i, row in enumerate(rows):
        alone = model(row).logits[0]
        torch.testing.assert_close(logits[i, : row.shape[1]], alone, rtol=0, atol=1e-5)


def test_the_loss_is_the_mean_over_the_labels_that_count(model: BaseLanguageModel) -> None:
    ids = random_ids(3, T)
    labels = ids.clone()
    labels[0, 4:] = -100
    labels[2] = -100
    output = model(ids, labels=labels)
    log_probabilities = output.logits.log_softmax(-1)
    wanted = []
    for row in range(3):
        for t in range(T):
            source = t - 1 if model.is_causal else t
            if source >= 0 and labels[row, t] != -100:
                wanted.append(-log_probabilities[row, source, labels[row, t]])
    torch.testing.assert_close(output.loss, torch.stack(wanted).mean())


def test_evaluation_is_deterministic_and_training_is_not(
    case: tuple[str, dict[str, Any]], tiny_config: MakeConfig
) -> None:
    model = make(tiny_config(case[0], **{**case[1], "dropout": 0.5}))
    ids = random_ids(2, T)
    model.eval()
    assert torch.equal(model(ids).logits, model(ids).logits)
    model.train()
    assert not torch.equal(model(ids).logits, model(ids).logits)


@pytest.mark.parametrize("padded", [False, True])
def test_bf16_autocast_trains(model: BaseLanguageModel, padded: bool) -> None:
    ids = random_ids(3, T)
    mask = None
    if padded:
        mask = torch.ones_like(ids)
        mask[0, 8:] = 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(ids, attention_mask=mask, labels=ids)
    output.loss.backward()
    assert output.loss.dtype == torch.float32
    assert output.loss.item() == pytest.approx(math.log(V), abs=0.5)
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("padded", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(
    config: ExperimentConfig, padded: bool
) -> None:
    ids = random_ids(3, T)
    mask = None
    if padded:
        mask = torch.ones_like(ids)
        mask[0, 7:] = 0
    plain, checkpointed = make(config), make(config)
    checkpointed.gradient_checkpointing_enable()
    recomputed = count_layer_calls(checkpointed)
    for model in (plain, checkpointed):
        model.train()
        model(ids, attention_mask=mask, labels=ids).loss.backward()
    for ours, theirs in zip(plain.parameters(), checkpointed.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    assert recomputed() == 2 * 2  # both layers, forward and again in the backward pass


def count_layer_calls(model: BaseLanguageModel) -> Callable[[], int]:
    """Count the calls of the layers' main submodules from here on."""
    calls = []
    names = ("attn", "attention", "rnn", "self_attention", "self_attn")
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in names:
            module.register_forward_pre_hook(lambda *_: calls.append(1))
    return lambda: len(calls)


# --- size -----------------------------------------------------------------------------------------


def expected_parameters(config: ExperimentConfig) -> int:
    name, section = config.model.architecture, config.model.section
    if ARCHITECTURES[name].section == "rnn":
        e, h, layers = section.embedding_size, section.hidden_size, section.num_layers
        d = 2 if section.bidirectional else 1
        parts = {"lstm": 4, "gru": 3, "min_gru": 2, "min_lstm": 3, "rnn": 1}[name]
        of_state = 1 if name.startswith("min_") else h + 2  # a bias; with torch two and a matrix
        first, later = (d * parts * h * (width + of_state) for width in (e, d * h))
        if section.tie_word_embeddings:
            head = (d * h * e if d * h != e else 0) + V
        else:
            head = d * h * V + V
        return V * e + first + (layers - 1) * later + head
    if name == "huggingface":  # OPT, with two positions that it does not use
        h, layers, f = (section.fields[k] for k in ("hidden_size", "num_hidden_layers", "ffn_dim"))
        return (V + T + 2) * h + layers * (4 * (h * h + h) + 2 * h * f + f + h + 4 * h) + 2 * h
    h, layers, f = section.hidden_size, section.layers, 4 * section.hidden_size
    layer = 4 * (h * h + h) + (h * f + f) + (f * h + h) + 2 * 2 * h
    if name == "transformer_encoder":  # pre-norm, and a layer before the output matrix
        return (V + T) * h + layers * layer + 2 * h + (h * h + h) + 2 * h + V
    if name in ("gpt2", "transformer_decoder"):
        return (V + T) * h + layers * layer + 2 * h
    assert name == "bert"
    segments = 0 if config.model.implementation == "native" else 2  # they add nothing there
    return (V + T + segments) * h + 2 * h + layers * layer + (h * h + h) + 2 * h + V


def test_the_parameter_count_follows_the_formula(
    model: BaseLanguageModel, config: ExperimentConfig
) -> None:
    assert model.get_parameter_count() == expected_parameters(config)
    model.get_input_embeddings().weight.requires_grad_(False)
    frozen = model.get_input_embeddings().weight.numel()
    assert model.get_parameter_count(trainable_only=True) == expected_parameters(config) - frozen


def test_the_memory_footprint_is_four_bytes_a_parameter_and_the_buffers(
    model: BaseLanguageModel,
) -> None:
    buffers = sum(b.numel() * b.element_size() for b in model.buffers())
    assert model.get_memory_footprint() == 4 * model.get_parameter_count() + buffers


def test_a_model_can_be_laid_out_without_memory(config: ExperimentConfig) -> None:
    with torch.device("meta"):
        model = create_model_from_config(config, vocab_size=V, **IDS)
    assert all(p.is_meta for p in model.parameters())
    assert model.get_parameter_count() == expected_parameters(config)


@pytest.mark.parametrize("size", [V - 5, V + 7])
def test_resizing_changes_the_vocabulary_and_keeps_the_rows(
    model: BaseLanguageModel, size: int
) -> None:
    model.eval()
    ids = random_ids(2, T).clamp(max=V - 6)
    before = model(ids).logits
    model.resize_token_embeddings(size)
    after = model(ids).logits
    kept = min(size, V)
    assert after.shape[-1] == size == model.get_input_embeddings().weight.shape[0]
    torch.testing.assert_close(after[..., :kept], before[..., :kept])
    assert all(a is b for a, b in tied_pairs(model))


# --- saving and loading ---------------------------------------------------------------------------


def test_a_loaded_model_has_the_same_tied_weights(model: BaseLanguageModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    loaded = BaseLanguageModel.from_pretrained(tmp_path)
    assert loaded.get_parameter_count() == model.get_parameter_count()
    assert len(tied_pairs(loaded)) == len(tied_pairs(model))
    assert all(a is b for a, b in tied_pairs(loaded))


def test_a_resized_model_is_loaded_with_its_new_size(
    model: BaseLanguageModel, tmp_path: Path
) -> None:
    model.resize_token_embeddings(V + 3)
    model.save_pretrained(tmp_path)
    loaded = BaseLanguageModel.from_pretrained(tmp_path)
    assert loaded(random_ids(1, 4)).logits.shape[-1] == V + 3


def test_a_directory_holds_safetensors_and_names_its_architecture(
    model: BaseLanguageModel, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    assert architecture_of(tmp_path) == model.model_type
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".safetensors", ".py"}
    assert json.loads((tmp_path / "config.json").read_text())["vocab_size"] == V


def test_a_directory_of_another_architecture_is_refused(
    model: BaseLanguageModel, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    other = next(MODEL_REGISTRY[n] for n in sorted(MODEL_REGISTRY) if n != model.model_type)
    with pytest.raises(ConfigError, match=f"holds the architecture '{model.model_type}'"):
        other.from_pretrained(tmp_path)
    assert type(type(model).from_pretrained(tmp_path)) is type(model)


def test_missing_and_damaged_weights_are_refused(model: BaseLanguageModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=str(tmp_path)):
        BaseLanguageModel.from_pretrained(tmp_path)
    save_file({"stray": torch.zeros(2)}, weights, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=str(tmp_path)):
        BaseLanguageModel.from_pretrained(tmp_path)
    weights.unlink()
    with pytest.raises(ConfigError, match=str(tmp_path)):
        BaseLanguageModel.from_pretrained(tmp_path)


LOAD_ELSEWHERE = """
import json, sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

torch.set_num_threads(1)
result = {}
for directory in sorted(Path(sys.argv[1]).iterdir()):
    expected = load_file(directory / "expected.safetensors")
    own_code = any(directory.glob("modeling_*.py"))
    auto = AutoModelForCausalLM if "rows" in expected else AutoModelForMaskedLM
    model = auto.from_pretrained(directory, trust_remote_code=own_code).eval()
    with torch.no_grad():
        off = (model(expected["ids"]).logits - expected["logits"]).abs().max().item()
    same_rows = True
    if "rows" in expected:
        rows = model.generate(expected["ids"], attention_mask=torch.ones_like(expected["ids"]),
                              max_new_tokens=4, do_sample=False)
        same_rows = torch.equal(rows, expected["rows"])
    result[directory.name] = [off, same_rows]
assert not any(name.startswith("model_foundry") for name in sys.modules)
print(json.dumps(result))
"""


@pytest.mark.slow
def test_a_process_without_this_package_gets_the_same_logits_and_texts(
    tiny_config: MakeConfig, tmp_path: Path
) -> None:
    ids = random_ids(2, 6)
    for key, (name, section) in CASES.items():
        model = make(tiny_config(name, **section)).eval()
        directory = tmp_path / "models" / key
        model.save_pretrained(directory)
        expected = {"ids": ids, "logits": model(ids).logits.detach()}
        if model.supports_generation:
            expected["rows"] = model.generate(ids, max_new_tokens=4)
        save_file(expected, directory / "expected.safetensors")
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-I", "-c", LOAD_ELSEWHERE, str(tmp_path / "models")],
        cwd=tmp_path,
        env={"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    result = json.loads(finished.stdout.splitlines()[-1])
    assert result.keys() == CASES.keys()
    assert all(off < 1e-6 and same_rows for off, same_rows in result.values()), result


# --- generation -----------------------------------------------------------------------------------


def greedy_by_hand(model: BaseLanguageModel, row: Tensor, number: int) -> Tensor:
    """Continue one row by reading the whole of it again for each token."""
    for _ in range(number):
        row = torch.cat((row, model(row).logits[:, -1:].argmax(-1)), dim=1)
    return row


def test_greedy_generation_equals_reading_everything_again(generator: BaseLanguageModel) -> None:
    ids = random_ids(16, 4)
    rows = generator.generate(ids, max_new_tokens=6, eos_token_id=None)
    assert torch.equal(rows, greedy_by_hand(generator, ids, 6))
    assert len(rows[:, 4:].unique()) > 4  # the comparison means something


def test_rows_padded_on_the_left_are_continued_as_if_alone(generator: BaseLanguageModel) -> None:
    rows = [random_ids(1, length, seed=length) for length in (2, 5)]
    batch, mask = torch.zeros(2, 5, dtype=torch.long), torch.zeros(2, 5, dtype=torch.long)
    for i, row in enumerate(rows):
        batch[i, 5 - row.shape[1] :], mask[i, 5 - row.shape[1] :] = row, 1
    together = generator.generate(batch, attention_mask=mask, max_new_tokens=6, eos_token_id=None)
    for i, row in enumerate(rows):
        alone = greedy_by_hand(generator, row, 6)[0, row.shape[1] :]
        assert torch.equal(together[i, 5:], alone)


def test_a_pad_id_inside_a_prompt_is_read(generator: BaseLanguageModel) -> None:
    ids = random_ids(1, 4)
    ids[0, 1] = IDS["pad_token_id"]
    rows = generator.generate(ids, max_new_tokens=5, eos_token_id=None)
    assert torch.equal(rows, greedy_by_hand(generator, ids, 5))


def test_generation_leaves_the_mode_of_the_model(generator: BaseLanguageModel) -> None:
    generator.train()
    generator.generate(random_ids(1, 3), max_new_tokens=2)
    assert all(module.training for module in generator.modules())


def test_generation_switches_dropout_off(generator: BaseLanguageModel) -> None:
    ids = random_ids(4, 4)
    rows = generator.generate(ids, max_new_tokens=6)
    for module in generator.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    assert torch.equal(generator.train().generate(ids, max_new_tokens=6), rows)


def test_models_that_fill_masks_do_not_generate(model: BaseLanguageModel) -> None:
    if model.supports_generation:
        assert model.generate(random_ids(1, 3), max_new_tokens=2).shape[1] <= 5
    else:
        with pytest.raises(ConfigError, match="fills masks cannot generate"):
            model.generate(random_ids(1, 3))

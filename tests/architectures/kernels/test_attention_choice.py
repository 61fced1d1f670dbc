"""The choice of the attention kernel, as a table of facts and decisions."""

from collections.abc import Callable

import pytest
import torch

from model_foundry.architectures import create_model_from_config
from model_foundry.architectures.kernels import attention_choice
from model_foundry.architectures.kernels.attention_choice import choose_attention
from model_foundry.config import ExperimentConfig
from model_foundry.errors import ConfigError


def install_flash(monkeypatch: pytest.MonkeyPatch, *, installed: bool) -> None:
    found = object() if installed else None
    monkeypatch.setattr(attention_choice, "find_spec", lambda name: found)


@pytest.mark.parametrize(
    ("device_type", "installed", "mixed_precision", "expected"),
    [
        ("cuda", True, "bf16", "flash_attention_2"),
        ("cuda", True, "fp16", "flash_attention_2"),
        ("cuda", True, "no", "sdpa"),
        ("cuda", False, "bf16", "sdpa"),
        ("cpu", True, "bf16", "sdpa"),
    ],
)
def test_auto_is_flash_attention_exactly_where_it_can_run(
    monkeypatch: pytest.MonkeyPatch,
    device_type: str,
    installed: bool,
    mixed_precision: str,
    expected: str,
) -> None:
    install_flash(monkeypatch, installed=installed)
    facts = {"device_type": device_type, "mixed_precision": mixed_precision}
    assert choose_attention("auto", **facts)[0] == expected
    if expected == "sdpa":
        with pytest.raises(ConfigError, match=r"training\.attn_implementation.*auto or sdpa"):
            choose_attention("flash_attention_2", **facts)
    else:
        assert choose_attention("flash_attention_2", **facts) == (expected, "as asked")


@pytest.mark.parametrize("requested", ["eager", "sdpa"])
def test_what_is_asked_for_by_name_is_used(monkeypatch: pytest.MonkeyPatch, requested: str) -> None:
    install_flash(monkeypatch, installed=True)
    chosen, _ = choose_attention(requested, device_type="cuda", mixed_precision="bf16")
    assert chosen == requested


def test_packed_documents_take_an_attention_that_keeps_them_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install_flash(monkeypatch, installed=True)
    facts = {"device_type": "cuda", "mixed_precision": "bf16", "packed_documents": True}
    chosen, reason = choose_attention("auto", **facts)
    assert chosen == "sdpa" and "data.packing is 'documents'" in reason
    assert choose_attention("eager", **facts)[0] == "eager"
    message = r"^training\.attn_implementation \(=flash_attention_2\).*data\.packing is 'documents'"
    with pytest.raises(ConfigError, match=message):
        choose_attention("flash_attention_2", **facts)


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_a_model_is_built_for_the_packing_of_its_data(
    tiny_config: Callable[..., ExperimentConfig], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    install_flash(monkeypatch, installed=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    config = tiny_config(name, training={"mixed_precision": "bf16"})
    config.data.packing = "documents"
    assert create_model_from_config(config, vocab_size=31).attention_in_use == "sdpa"

"""`auto` settings, resolved from facts of the machine and written into the run's `config.yaml`.

A choice depends on device, instruction sets, vendor and sizes, never on a timing, so each start of
a run makes the same choice.
"""

import logging
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, Final, Literal

import torch

from model_foundry.architectures.kernels.attention_choice import choose_attention
from model_foundry.architectures.saving.native_format import LANGUAGE
from model_foundry.config import (
    ARCHITECTURES,
    ExperimentConfig,
    TrainingConfig,
    settings_without_effect,
)
from model_foundry.errors import ConfigError
from model_foundry.experiment.debug_settings import debug_choices
from model_foundry.foundation.hardware import computes_in_bf16, favours_onednn
from model_foundry.foundation.messages import short_repr
from model_foundry.foundation.plugins import LOADED_PLUGINS
from model_foundry.training.distributed import device_type

logger = logging.getLogger(__name__)

Precision = Literal["no", "bf16", "fp16"]
Products = Literal["default", "onednn", "tf32"]
NARROW: Final = 256  # hidden units; products of narrower models are too small to gain from bf16


def resolve_auto_settings(
    config: ExperimentConfig, *, device_type: str
) -> tuple[ExperimentConfig, list[str]]:
    """Resolve all `auto` settings; return them with the reasons, a line each.

    Args:
        device_type: device of the model (cpu, cuda).

    Raises:
        ConfigError: this machine cannot do what a setting asks for.
    """
    config = config.model_copy(deep=True)
    notes = [f"plugin {path}: sha256 {digest}" for path, digest in LOADED_PLUGINS.items()]
    for field, asked, chosen, reason in (*debug_choices(config), *_choices(config, device_type)):
        if chosen != asked:
            notes.append(f"{field}: {_yaml(asked)} -> {_yaml(chosen)} ({reason})")
    transformer = config.model.transformer
    if transformer is not None and transformer.max_position_embeddings is None:
        transformer.max_position_embeddings = config.data.max_sequence_length
    return config, notes


def settle(config: ExperimentConfig) -> tuple[ExperimentConfig, list[str]]:
    """Resolve all `auto` settings for this process; log the reasons, and unused settings."""
    for line in settings_without_effect(config):
        logger.warning("%s", line)
    settled, notes = resolve_auto_settings(config, device_type=device_type(config.training))
    for note in notes:
        logger.info("%s", note)
    return settled, notes


def _choices(
    config: ExperimentConfig, device_type: str
) -> Iterator[tuple[str, object, object, str]]:
    """Resolve one setting after the other; yield (field, asked for, chosen, reason)."""
    training, spec = config.training, ARCHITECTURES[config.model.architecture]
    asked: Any = training.mixed_precision
    training.mixed_precision, reason = _precision(config, device_type)
    yield "training.mixed_precision", asked, training.mixed_precision, reason
    asked = training.compile
    training.compile, reason = choose_compile(
        asked, device_type=device_type, gains=spec.gains_from_compile
    )
    yield "training.compile", asked, training.compile, reason
    asked = training.speed.fp32_products
    training.speed.fp32_products, reason = choose_products(training, device_type=device_type)
    yield "training.speed.fp32_products", asked, training.speed.fp32_products, reason
    if "attn_implementation" in spec.settings:
        asked = training.attn_implementation
        training.attn_implementation, reason = choose_attention(
            asked,
            device_type=device_type,
            mixed_precision=training.mixed_precision,
            packed_documents=config.data.packing == "documents",
        )
        yield "training.attn_implementation", asked, training.attn_implementation, reason


def _precision(config: ExperimentConfig, device_type: str) -> tuple[Precision, str]:
    """Return the number format of the products of an experiment, and the reason."""
    spec, asked = ARCHITECTURES[config.model.architecture], config.training.mixed_precision
    if spec.trained_by == "counting":
        return "no", f"{spec.name} learns by counting"
    width = getattr(config.model.section, "hidden_size", None)
    width = width if type(width) is int else None  # a section may pass on whatever it was given
    # a narrow language model gains on GPUs too, by its vocabulary; another model has none
    if asked == "auto" and spec.kind != LANGUAGE and width is not None and width < NARROW:
        return "no", _too_narrow(width)
    return choose_precision(asked, device_type=device_type, width=width)


def choose_precision(
    asked: Literal["auto", "no", "bf16", "fp16"], *, device_type: str, width: int | None
) -> tuple[Precision, str]:
    """Return the number format of the products, and the reason.

    Args:
        width: hidden size of the model; None: it is not known.

    Raises:
        ConfigError: fp16 without an accelerator.
    """
    if asked == "fp16" and device_type == "cpu":
        raise ConfigError(
            "training.mixed_precision: 'fp16' needs an accelerator, and there is none here; "
            "use bf16 or no"
        )
    if asked != "auto":
        return asked, "as asked"
    if width is None:
        return "no", "the width of the model is not known"
    if device_type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "the GPU computes in bf16"
        return "no", "the GPU does not compute in bf16"
    if device_type != "cpu":
        return "no", f"bf16 was not tried on {device_type}"
    if not computes_in_bf16():
        return "no", "the processor does not compute in bf16"
    if width < NARROW:
        return "no", _too_narrow(width)
    return "bf16", "the processor computes in bf16"


def _too_narrow(width: int) -> str:
    return f"a model {width} wide is too narrow to gain from bf16"


def choose_compile(
    asked: bool | Literal["auto"], *, device_type: str, gains: bool
) -> tuple[bool, str]:
    """Return the choice for `training.compile`, and the reason.

    Args:
        gains: true for architectures that were measured to gain from it.
    """
    if asked != "auto":
        return asked, "as asked"
    if device_type != "cuda":
        return False, f"on {device_type} compiling takes longer than it saves"
    if not gains:
        return False, "the architecture was not measured to gain from it"
    if find_spec("triton") is None:
        return False, "the package triton is not installed"
    return True, "the architecture gains from it on GPUs"


def choose_products(training: TrainingConfig, *, device_type: str) -> tuple[Products, str]:
    """Return the library of the fp32 products, and the reason.

    Raises:
        ConfigError: this machine does not have the library asked for.
    """
    asked = training.speed.fp32_products
    if asked == "tf32" and device_type != "cuda":
        raise ConfigError(
            f"training.speed.fp32_products (=tf32) needs an NVIDIA GPU, and this is {device_type}; "
            "leave it out"
        )
    if asked == "tf32" and not _allows_tf32():
        raise ConfigError(
            "training.speed.fp32_products (=tf32) holds for a whole process, and only the command "
            "line sets it; call torch.set_float32_matmul_precision('high') first, or leave it out"
        )
    if asked == "onednn" and not (device_type == "cpu" and _has_onednn()):
        raise ConfigError(
            "training.speed.fp32_products (=onednn) needs a CPU and a torch built with oneDNN; "
            "leave it out"
        )
    if asked != "auto":
        return asked, "as asked"
    if training.mixed_precision != "no":
        return "default", f"the products are in {training.mixed_precision}"
    if device_type == "cuda":
        if _allows_tf32():
            return "tf32", "this process has allowed TF32"
        return "default", "this process has not allowed TF32"
    if device_type == "cpu" and _has_onednn() and favours_onednn():
        return "onednn", "MKL uses half of an AMD processor with AVX-512"
    return "default", "nothing faster is known for this machine"


def _allows_tf32() -> bool:
    return torch.get_float32_matmul_precision() != "highest"


def _has_onednn() -> bool:
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def _yaml(value: object) -> str:
    return value if isinstance(value, str) else short_repr(value)

"""The choice of the attention kernel.

It depends on settings and hardware, never on a timing, so that a run can repeat it.
"""

from importlib.util import find_spec
from typing import Final

from model_foundry.config import Attention
from model_foundry.errors import ConfigError

FLASH: Final = "flash_attention_2"  # Dao (2023, arXiv:2307.08691)
ISOLATING: Final = ("eager", "sdpa")  # accept a mask of any pattern


def obstacle_to_flash(
    *, device_type: str, mixed_precision: str, packed_documents: bool
) -> str | None:
    """Return the reason why flash attention cannot run; None if it can."""
    if packed_documents:
        return "it would see across the documents of a row, and data.packing is 'documents'"
    if device_type != "cuda":
        return f"it needs a CUDA device, and this is {device_type}"
    if find_spec("flash_attn") is None:
        return "the package flash-attn is not installed"
    if mixed_precision not in {"bf16", "fp16"}:
        return f"it needs bf16 or fp16, and training.mixed_precision is {mixed_precision!r}"
    return None


def choose_attention(
    requested: Attention,
    *,
    device_type: str,
    mixed_precision: str,
    packed_documents: bool = False,
) -> tuple[Attention, str]:
    """Return the implementation, by its name in transformers, and the reason.

    Args:
        packed_documents: True if rows hold several documents that must not see each other.

    Raises:
        ConfigError: flash attention was requested by name and cannot run.
    """
    obstacle = obstacle_to_flash(
        device_type=device_type,
        mixed_precision=mixed_precision,
        packed_documents=packed_documents,
    )
    if requested == FLASH and obstacle:
        raise ConfigError(
            f"training.attn_implementation (={FLASH}) cannot run: {obstacle}; "
            "set it to auto or sdpa."
        )
    if requested != "auto":
        return requested, "as asked"
    if obstacle:
        return "sdpa", f"no flash attention: {obstacle}"
    return FLASH, "flash attention can run here"

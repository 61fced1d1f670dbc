"""Settings of training that say how a machine computes it: precision, kernels, processes."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from model_foundry.config.on_resume import OnResume
from model_foundry.config.sections import Section, faults_error
from model_foundry.config.training_sections import DistributedConfig, SpeedConfig

Attention = Literal["auto", "eager", "sdpa", "flash_attention_2"]


def _yes_no_or_auto(value: Any) -> Any:
    # Before the union, which would report a line for each of its members.
    if isinstance(value, bool) or value == "auto":
        return value
    raise faults_error(("", f"must be true, false or 'auto', got {value!r}"))


class ExecutionSettings(Section):
    """Precision, memory, kernels and processes."""

    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """Number format of the products; the weights stay in fp32. fp16 needs an accelerator; auto:
    bf16 where the machine computes in it, for language models that are wide enough to gain, else
    no."""
    gradient_checkpointing: Annotated[bool, OnResume.LAST_BITS] = False
    """Recompute activations in the backward pass: less memory, more time."""
    attn_implementation: Annotated[Attention, OnResume.LAST_BITS] = "auto"
    """Attention kernel; auto: flash attention where it can run, else torch's own sdpa."""
    compile: Annotated[
        Annotated[bool | Literal["auto"], BeforeValidator(_yes_no_or_auto)], OnResume.LAST_BITS
    ] = "auto"
    """Compile the model with torch.compile; auto: where that was found to pay."""
    use_cpu: Annotated[bool, OnResume.LAST_BITS] = False
    """Train on the CPU although there is a GPU."""
    speed: SpeedConfig = Field(default_factory=SpeedConfig)
    """Settings that speed up training; left out: all of them."""
    distributed: Annotated[DistributedConfig, OnResume.FREE] = Field(
        default_factory=DistributedConfig
    )
    """Division of the work among processes; left out: ddp."""

"""A trial step of a plugin's model; errors name file and line.

A language model is tried before the corpus is read, a model of another kind on its first batch.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from model_foundry.architectures.base import BaseLanguageModel
from model_foundry.architectures.base_model import BaseModel, CountedModel
from model_foundry.architectures.early_check import try_settings
from model_foundry.architectures.encoder_decoder import HFEncoderDecoder
from model_foundry.architectures.model_registry import MODEL_REGISTRY
from model_foundry.architectures.restored import restored
from model_foundry.architectures.saving.native_format import class_of
from model_foundry.config import ARCHITECTURES, OBJECTIVES, ExperimentConfig
from model_foundry.errors import ConfigError, FoundryError, is_out_of_memory
from model_foundry.foundation.plugins import (
    LOADED_PLUGINS,
    describe_error,
    locate_class,
    locate_in_files,
)
from model_foundry.foundation.random_state import seeded

OURS = __name__.partition(".")[0]
ROWS, VOCABULARY = 2, 32  # of the trial batch; special tokens have the first ids
ROLES = ("pad", "bos", "eos", "mask", "cls", "sep")
SPECIAL = {f"{role}_token_id": number for number, role in enumerate(ROLES)}
Inputs = dict[str, torch.Tensor]
Forward = Callable[[Any, Inputs], Any]


def check_without_data(config: ExperimentConfig, device: torch.device) -> None:
    """Check the settings of a model; run one step of a plugin's language model on a small batch.

    A model that reads tokens is made for it, with the sizes of the experiment except for a tiny
    vocabulary. Random generators keep their state.

    Raises:
        ConfigError: the model cannot be created, raises, or returns an invalid output.
        MemoryExhaustedError: it does not fit into the memory.
    """
    name, kind = config.model.architecture, OBJECTIVES[config.training.objective].model_kind
    cls = class_of(name, kind) if kind in ARCHITECTURES[name].kinds else MODEL_REGISTRY[name]
    with plugin_method(cls, "check_settings"):
        cls.check_settings(config)
    with seeded(0):
        if issubclass(cls, BaseLanguageModel) and not is_ours(cls):
            _try_language_model(cls, config, device)
        elif issubclass(cls, BaseLanguageModel | HFEncoderDecoder) and is_ours(cls):
            try_settings(cls, config, device, {"vocab_size": VOCABULARY, **SPECIAL})


def _try_language_model(cls: Any, config: ExperimentConfig, device: torch.device) -> None:
    ids = torch.arange(ROWS * config.data.max_sequence_length, device=device)
    rows = (ids % VOCABULARY).view(ROWS, -1)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(config.training.mixed_precision)
    precision = torch.autocast(device.type, dtype=dtype) if dtype else nullcontext()

    def forward(model: Any, inputs: Inputs) -> Any:
        with precision:
            return model(**inputs)

    with plugin_method(cls, "from_config"):
        model = cls.from_config(config, vocab_size=VOCABULARY, **SPECIAL).to(device)
    inputs = {"input_ids": rows, "attention_mask": torch.ones_like(rows), "labels": rows}
    trial_step(model, inputs, forward, logits=(*rows.shape, VOCABULARY))
    with plugin_method(cls, "forward", "without labels: "), torch.no_grad():
        forward(model, {"input_ids": rows})


def trial_step(
    model: BaseModel, inputs: Inputs, forward: Forward, *, logits: tuple[int, ...] | None = None
) -> None:
    """Run one step of a plugin's model on a batch; skip built-in models.

    The model and the random generators are as before afterwards.

    Args:
        inputs: on the device of the model.
        forward: gives the output of a model for inputs.
        logits: shape that the logits must have; None: any.

    Raises:
        ConfigError: the model raises, or returns an invalid output.
    """
    cls = type(model)
    if is_ours(cls):
        return
    with seeded(0), restored(model):
        if isinstance(model, CountedModel):
            with plugin_method(cls, "count"):
                model.count(**inputs)
        with plugin_method(cls, "forward"):
            output = forward(model, inputs)
            _require_output(cls, output)
            if "labels" in inputs:
                check_plugin_output(cls, output, logits=logits)
        if "labels" in inputs and not isinstance(model, CountedModel):
            with plugin_method(cls, "forward"):
                output.loss.backward()


def _require_output(cls: type, output: Any) -> None:
    if not (hasattr(output, "loss") and hasattr(output, "logits")):
        kind = "None" if output is None else type(output).__name__
        raise plugin_fault(cls, "forward", f"must return a ModelOutput, got {kind}")


def check_plugin_output(cls: type, output: Any, *, logits: tuple[int, ...] | None = None) -> None:
    """Check the output of a plugin's model for inputs with labels.

    Raises:
        ConfigError: it has no loss to learn from, or logits of another shape.
    """
    loss, found = (getattr(output, name, None) for name in ("loss", "logits"))
    learns = issubclass(cls, CountedModel) or getattr(loss, "requires_grad", False)
    if not isinstance(loss, torch.Tensor) or loss.dim() != 0 or not learns:
        problem = "given labels, it returns no loss that is a scalar with a gradient"
    elif logits is None:
        return
    elif not isinstance(found, torch.Tensor) or found.dim() != len(logits):
        problem = "it returns no logits (batch, length, vocabulary)"
    elif found.shape != logits:
        problem = f"its logits are of shape {tuple(found.shape)}, must be {logits}: "
        problem += "(rows, tokens, vocabulary)"
    else:
        return
    raise plugin_fault(cls, "forward", problem)


class PluginFault(ConfigError):
    """A method of a class breaks a law.

    Args:
        law: the fault without the method.
    """

    def __init__(self, message: str, law: str) -> None:
        super().__init__(message)
        self.law = law


def plugin_fault(cls: type, method: str, problem: str) -> PluginFault:
    """Return the error for a method of a plugin, with its file and line, or those of the class if
    the method is inherited from this package; a class of this package is no plugin."""
    owner = next((each for each in cls.__mro__ if method in vars(each)), cls)
    line = " ".join(problem.split())  # the text of an array has several lines
    place = locate_class(cls) if is_ours(owner) else locate_class(owner, method)
    where = "" if is_ours(cls) else f"plugin {place}: "
    return PluginFault(f"{where}{cls.__name__}.{method}: {line}", line)


def require_signatures(cls: type) -> None:
    """Require that the methods of a plugin's class take what those of ours that they replace take.

    Raises:
        ConfigError: one does not.
    """
    ours = [vars(each).items() for each in cls.__mro__ if is_ours(each)]
    for name, given in (item for items in ours for item in items):
        found = inspect.getattr_static(cls, name, None)
        if found is given or not (inspect.isfunction(given) and inspect.isfunction(found)):
            continue
        signature = inspect.signature(given)
        taken = [each.replace(annotation=each.empty) for each in signature.parameters.values()]
        places = [each.name for each in taken if each.kind is each.POSITIONAL_OR_KEYWORD]
        names = [each.name for each in taken if each.kind is each.KEYWORD_ONLY]
        try:
            inspect.signature(found).bind(*places, **dict.fromkeys(names))
        except TypeError as error:
            law = f"must take {inspect.Signature(taken)}, as it is called; it takes "
            problem = f"{law}{inspect.signature(found)}"
            raise plugin_fault(cls, name, problem) from error


def is_ours(cls: type | Callable[..., Any]) -> bool:
    """Return True for a class or function of this package."""
    return cls.__module__.partition(".")[0] == OURS


@contextmanager
def plugin_method(
    cls: type | Callable[..., Any], method: str = "", when: str = ""
) -> Iterator[None]:
    """Convert an exception of a plugin's method, or function, to a `ConfigError` with its place."""
    try:
        yield
    except FoundryError:
        raise
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error) or is_ours(cls):
            raise
        files = [str(Path(inspect.getfile(cls)))] if cls.__module__ != "__main__" else []
        place = locate_in_files(error, *LOADED_PLUGINS, *files) or locate_class(cls, method)
        name = ".".join(filter(None, (cls.__name__, method)))
        message = f"plugin {place}: {name}: {when}{describe_error(error)}"
        raise ConfigError(message) from error

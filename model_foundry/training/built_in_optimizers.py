"""The built-in optimizers: functions from parameter groups and settings to those of torch.

Weight decay is decoupled from the gradient (Loshchilov and Hutter 2019, arXiv:1711.05101) where
torch can do so, and added to it elsewhere.
"""

from typing import Any

from torch.optim import (
    SGD,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    NAdam,
    RAdam,
    RMSprop,
)

from model_foundry.config import TrainingConfig
from model_foundry.config.optimizers import (
    AdadeltaConfig,
    AdagradConfig,
    MuonConfig,
    NAdamConfig,
    RMSpropConfig,
    SGDConfig,
)
from model_foundry.errors import ConfigError
from model_foundry.training.muon import MuonWithAdamW, muon_with_adamw
from model_foundry.training.parameter_groups import MATRICES, Groups


def adamw(groups: Groups, training: TrainingConfig) -> AdamW:
    """Return AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101)."""
    return AdamW(groups, **_of_adam(training), fused=_fused(training))


def muon(groups: Groups, training: TrainingConfig, section: MuonConfig) -> MuonWithAdamW:
    """Return Muon (Jordan et al. 2024) for hidden matrices, AdamW for all other parameters.

    The sum of gradients is made orthogonal, so that all directions of a matrix learn alike.
    """
    others = [group for group in groups if group["kind"] != MATRICES]
    return muon_with_adamw(groups, training, section, adamw(others, training))


def sgd(groups: Groups, training: TrainingConfig, section: SGDConfig) -> SGD:
    """Return stochastic gradient descent; weight decay is added to the gradient."""
    # torch has no fused update of sharded parameters for it
    sharded = training.distributed.strategy == "fsdp2"
    return SGD(
        groups,
        lr=training.learning_rate,
        momentum=section.momentum,
        nesterov=section.nesterov,
        fused=None if sharded else _fused(training),
    )


def adafactor(groups: Groups, training: TrainingConfig) -> Adafactor:
    """Return Adafactor (Shazeer and Stern 2018, arXiv:1804.04235).

    The learning rate is the upper bound of its relative step size.

    Raises:
        ConfigError: parameters are sharded, which torch's implementation does not support.
    """
    _require_whole_parameters("adafactor", training)
    return Adafactor(groups, lr=training.learning_rate)


def adam(groups: Groups, training: TrainingConfig) -> Adam:
    """Return Adam (Kingma and Ba 2015, arXiv:1412.6980); decay is added to the gradient."""
    return Adam(groups, **_of_adam(training), fused=_fused(training))


def adamax(groups: Groups, training: TrainingConfig) -> Adamax:
    """Return Adamax, Adam with the infinity norm (Kingma and Ba 2015, arXiv:1412.6980).

    Weight decay is added to the gradient.
    """
    return Adamax(groups, **_of_adam(training))


def nadam(groups: Groups, training: TrainingConfig, section: NAdamConfig) -> NAdam:
    """Return NAdam, Adam with Nesterov momentum (Dozat 2016); weight decay is decoupled."""
    return NAdam(
        groups,
        **_of_adam(training),
        momentum_decay=section.momentum_decay,
        decoupled_weight_decay=True,
    )


def radam(groups: Groups, training: TrainingConfig) -> RAdam:
    """Return RAdam, which needs less warm-up (Liu et al. 2020, arXiv:1908.03265).

    Weight decay is decoupled, as in the authors' code.
    """
    return RAdam(groups, **_of_adam(training), decoupled_weight_decay=True)


def rmsprop(groups: Groups, training: TrainingConfig, section: RMSpropConfig) -> RMSprop:
    """Return RMSprop (Tieleman and Hinton 2012); weight decay is added to the gradient."""
    return RMSprop(
        groups,
        lr=training.learning_rate,
        alpha=section.alpha,
        momentum=section.momentum,
        centered=section.centered,
        eps=section.epsilon,
    )


def adagrad(groups: Groups, training: TrainingConfig, section: AdagradConfig) -> Adagrad:
    """Return Adagrad (Duchi et al. 2011); weight decay is added to the gradient.

    Raises:
        ConfigError: parameters are sharded, which they are only after torch's has made its state.
    """
    _require_whole_parameters("adagrad", training)
    return Adagrad(
        groups,
        lr=training.learning_rate,
        initial_accumulator_value=section.initial_accumulator_value,
        eps=section.epsilon,
    )


def adadelta(groups: Groups, training: TrainingConfig, section: AdadeltaConfig) -> Adadelta:
    """Return Adadelta (Zeiler 2012, arXiv:1212.5701); weight decay is added to the gradient."""
    return Adadelta(groups, lr=training.learning_rate, rho=section.rho, eps=section.epsilon)


def _of_adam(training: TrainingConfig) -> dict[str, Any]:
    return {
        "lr": training.learning_rate,
        "betas": (training.adam_beta1, training.adam_beta2),
        "eps": training.adam_epsilon,
    }


def _require_whole_parameters(name: str, training: TrainingConfig) -> None:
    if training.distributed.strategy == "fsdp2":
        raise ConfigError(
            f"training.optimizer (={name}) cannot update sharded parameters; set "
            "training.distributed.strategy: ddp, or another optimizer"
        )


def _fused(training: TrainingConfig) -> bool | None:
    """Return True for a fused update; None: torch chooses another way."""
    return training.speed.fused_optimizer or None

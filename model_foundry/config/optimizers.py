"""The sections of built-in optimizers, `training.<name>`."""

from pydantic import model_validator

from model_foundry.config.sections import Probability, Section, faults_error


class SGDConfig(Section):
    """Stochastic gradient descent, with momentum (Sutskever et al. 2013) or without."""

    momentum: Probability = 0.0
    """Decay of the sum of gradients; 0: an update follows the last gradient alone."""
    nesterov: bool = False
    """Evaluate the momentum one update ahead."""

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> "SGDConfig":
        if self.nesterov and not self.momentum:
            raise faults_error(("nesterov", "needs momentum > 0; set it, or drop nesterov"))
        return self

"""A minute of checks: would an experiment train, resume and be saved on this machine?"""

from model_foundry.doctor.checks import examine
from model_foundry.doctor.findings import Finding

__all__ = ["Finding", "examine"]

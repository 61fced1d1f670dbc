"""A minute of checks: would an experiment train, resume and be saved on this machine?"""

from model_foundry.doctor.checks import Finding, examine

__all__ = ["Finding", "examine"]

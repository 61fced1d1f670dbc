"""Descriptions of steps for `foundry list interventions`."""

import inspect
import re

from model_foundry.config.setting_lines import setting_line
from model_foundry.interventions.registration import intervention


def describe(name: str) -> str:
    """Return the first paragraph of a step's docstring, and a line for each of its settings.

    Raises:
        UnknownNameError: the name is not registered.
    """
    step = intervention(name)
    docstring = inspect.getdoc(step.function) or ""
    lines = [re.split(r"\n\s*\n", docstring)[0].replace("\n", " ")]
    for key, setting in step.schema.model_fields.items():
        lines.append(f"  {setting_line(key, setting, setting.description)}")
    return "\n".join(lines)

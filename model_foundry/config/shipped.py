"""The experiment files that come with the package, also where only its wheel is installed."""

from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parents[1]


def shipped_configs() -> Path:
    """Return the directory of the shipped experiment files: `configs/` of a checkout."""
    installed = PACKAGE / "shipped_configs"  # where the wheel puts them
    return installed if installed.is_dir() else PACKAGE.parent / "configs"

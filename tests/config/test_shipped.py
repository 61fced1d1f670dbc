"""The shipped experiment files are found in a checkout and in an installed wheel."""

import pytest

from model_foundry.config import shipped
from model_foundry.config.shipped import shipped_configs


def test_a_checkout_has_them_in_configs():
    assert shipped_configs().name == "configs"
    assert (shipped_configs() / "quickstart.yaml").is_file()


def test_an_installed_package_has_them_within(tmp_path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "package" / "shipped_configs").mkdir(parents=True)
    monkeypatch.setattr(shipped, "PACKAGE", tmp_path / "package")
    assert shipped_configs() == tmp_path / "package" / "shipped_configs"

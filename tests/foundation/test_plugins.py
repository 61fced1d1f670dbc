"""Places in plugins, as messages name them."""

from pathlib import Path

import pytest

from model_foundry.foundation.plugins import locate_in_files


def test_a_file_that_is_given_twice_is_named_as_the_first_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = str(tmp_path / "own.py")
    with pytest.raises(ZeroDivisionError) as caught:
        exec(compile("\n1 / 0\n", whole, "exec"))
    assert locate_in_files(caught.value, "own.py", whole) == "own.py:2"
    assert locate_in_files(caught.value, whole, "own.py") == f"{whole}:2"
    assert locate_in_files(caught.value, "other.py") is None

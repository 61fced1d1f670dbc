"""Random generators: captured, put back and kept apart."""

import json
import random
from typing import Any

import numpy as np
import pytest
import torch

from model_foundry.foundation.random_state import (
    INVALID_STATES,
    LIBRARIES,
    environment,
    random_states,
    restore_random_states,
    seed_generators,
    seed_of_process,
    seeded,
)

CPU = torch.device("cpu")


def draws() -> list[float]:
    """Draw from every global generator, and leave half of a pair of Gaussians in each."""
    return [
        random.random(),
        random.gauss(0, 1),
        float(np.random.random()),
        float(np.random.standard_normal()),
        float(torch.rand(())),
        float(torch.randn(())),
    ]


def test_states_put_back_from_json_draw_the_same_again() -> None:
    draws()
    tensors, numbers = random_states()
    expected = [draws() for _ in range(3)]
    copied = {name: tensor.clone() for name, tensor in tensors.items()}
    assert restore_random_states(copied, json.loads(json.dumps(numbers))) == []
    assert [draws() for _ in range(3)] == expected


def test_capturing_changes_nothing() -> None:
    with seeded(3):
        expected = draws()
    with seeded(3):
        random_states()
        assert draws() == expected


def test_a_block_draws_from_its_seed_and_nothing_else() -> None:
    def drawn(seed: int) -> list[float]:
        draws()
        with seeded(seed):
            return draws()

    assert drawn(5) == drawn(5)
    assert all(a != b for a, b in zip(drawn(5), drawn(6), strict=True))


def test_each_process_draws_from_a_seed_of_its_own_and_the_first_from_that_of_the_run() -> None:
    places = [(process, step) for process in range(4) for step in (0, 5, 6)]
    seeds = [seed_of_process(3, process, step=step) for process, step in places]
    assert len({*seeds}) == len(places)
    assert seed_of_process(3, 0) == 3
    assert seeds == [seed_of_process(3, process, step=step) for process, step in places]
    assert seed_of_process(4, 1) != seed_of_process(3, 1)


@pytest.mark.parametrize("seed", [seed_of_process(2**63, 1), seed_of_process(0, 7, step=9)])
def test_every_generator_takes_the_seed_of_a_process(seed: int) -> None:
    with seeded(seed):
        expected = draws()
    with seeded(0):
        seed_generators(seed)
        assert draws() == expected


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, 2**32, 2**63])
def test_a_block_gives_the_generators_back_whatever_way_it_ends(seed: int) -> None:
    before = random_states()
    expected = draws()
    restore_random_states(*before)
    with pytest.raises(KeyError), seeded(seed):
        draws()
        raise KeyError
    assert draws() == expected


@pytest.mark.parametrize(
    "change",
    [
        {"python": None},
        {"python": [3, [1, 2], None]},
        {"python": [1, [1] * 625, None]},
        {"python": [3, [-1] * 625, None]},
        {"numpy": ["MT19937", [1, 2], 0, 0, 0.0]},
        {"numpy": ["PCG64", [1] * 624, 0, 0, 0.0]},
        {"numpy": []},
        {"numpy": ["MT19937", [-1] * 624, 0, 0, 0.0]},
        {"numpy": ["MT19937", [1.5] * 624, 0, 0, 0.0]},
        {"numpy": ["MT19937", ["a"] * 624, 0, 0, 0.0]},
        {"python": [3, ["a"] * 625, None]},
        {"cpu": torch.zeros(3, dtype=torch.uint8)},
        {"cpu": torch.zeros(5056)},
    ],
)
def test_what_is_no_state_is_refused(change: dict[str, Any]) -> None:
    with seeded(0):
        tensors, numbers = random_states()
        (name, value) = next(iter(change.items()))
        (tensors if name == "cpu" else numbers)[name] = value
        with pytest.raises(INVALID_STATES):
            restore_random_states(tensors, numbers)


@pytest.mark.parametrize("missing", ["cpu", "python", "numpy"])
def test_a_state_that_is_missing_is_an_error(missing: str) -> None:
    with seeded(0):
        tensors, numbers = random_states()
        for states in (tensors, numbers):
            states.pop(missing, None)
        with pytest.raises(KeyError, match=missing):
            restore_random_states(tensors, numbers)


def test_the_environment_names_what_last_bits_depend_on() -> None:
    found = environment(CPU)
    assert set(found) == {"python", *LIBRARIES, "device", "threads"}
    assert found["torch"] == torch.__version__
    assert found["device"].startswith("cpu (")
    assert json.loads(json.dumps(found)) == found


def test_the_environment_follows_the_number_of_threads() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        assert environment(CPU)["threads"] == str(before + 1)
    finally:
        torch.set_num_threads(before)


@pytest.mark.gpu
def test_generators_of_the_accelerator_are_put_back_too() -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no accelerator")
    tensors, numbers = random_states()
    expected = torch.rand(4, device="cuda")
    restore_random_states(tensors, numbers)
    assert torch.equal(torch.rand(4, device="cuda"), expected)
    del tensors["cuda.0"]
    assert restore_random_states(tensors, numbers) == ["cuda.0"]

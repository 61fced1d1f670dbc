"""Values from the environment in messages."""

from model_foundry.config.unexpanded import Unexpanded, hide_values


def test_a_variable_is_hidden_also_without_the_text_around_it() -> None:
    found = Unexpanded(
        "/mnt/${TOKEN}/c.txt", "/mnt/hunter2secret/c.txt", variables={"${TOKEN}": "hunter2secret"}
    )
    message = hide_values("", "/mnt/hunter2secret is no directory", {"data.train": found})
    assert message == "/mnt/${TOKEN} is no directory"


def test_a_short_variable_hides_no_part_of_a_word() -> None:
    found = Unexpanded("x-${A}", "x-in", variables={"${A}": "in"})
    assert hide_values("", "no such thing", {"data.train": found}) == "no such thing"

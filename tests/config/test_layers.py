"""Layers that give one seed for all, and one of them."""

from model_foundry.config.layers import Layer
from model_foundry.config.origins import OVERRIDE
from model_foundry.config.overrides import apply_override, parse_override

APART = {"init": 9, "data": "${S}", "dropout": "${S}"}


def test_an_expression_for_all_seeds_stays_for_those_not_given() -> None:
    layer = Layer({"seed": "${S}"}, {"seed": OVERRIDE})
    layer.lay_over(Layer({"seed": {"init": 9}}, {"seed": OVERRIDE, "seed.init": OVERRIDE}))
    assert layer.data == {"seed": APART}


def test_an_override_sets_one_seed_apart_from_an_expression() -> None:
    layer = Layer({"seed": "${S}"}, {"seed": OVERRIDE})
    apply_override(layer, parse_override("seed.init=9"))
    assert layer.data == {"seed": APART}

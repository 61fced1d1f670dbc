"""The output of a forward pass, as torch, accelerate and users of HuggingFace models handle it."""

import copy
import pickle

import pytest
import torch
from accelerate.utils import convert_outputs_to_fp32
from torch.nn.parallel.distributed import _find_tensors
from torch.utils import _pytree

from model_foundry.architectures import ModelOutput


@pytest.fixture
def output() -> ModelOutput:
    return ModelOutput(loss=torch.ones(()), logits=torch.zeros(2, 3), past_key_values="state")


def test_fields_are_had_by_attribute_name_and_number(output: ModelOutput) -> None:
    assert output["loss"] is output.loss is output[0]
    assert output[2] == output[-1] == output.past_key_values == "state"
    assert output[:2] == output.to_tuple()[:2]
    loss, logits, state = output.to_tuple()
    assert (loss, logits, state) == tuple(output.values())


def test_what_is_none_is_not_there(output: ModelOutput) -> None:
    assert list(output) == list(output.keys()) == ["loss", "logits", "past_key_values"]
    assert len(output) == 3
    assert "hidden_states" not in output
    assert output.hidden_states is None
    assert output.get("hidden_states", 5) == 5
    for key in ("hidden_states", "cache"):
        with pytest.raises(KeyError):
            output[key]


def test_a_field_that_is_set_later_is_there(output: ModelOutput) -> None:
    output.attentions = (torch.zeros(1),)
    assert output["attentions"] is output.attentions
    assert len(output) == 4


@pytest.mark.parametrize("copied", [copy.copy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_is_an_output(output: ModelOutput, copied) -> None:
    again = copied(output)
    assert type(again) is ModelOutput
    assert list(again) == list(output)
    assert torch.equal(again.logits, output.logits)


def test_accelerate_makes_its_tensors_fp32() -> None:
    def forward() -> ModelOutput:
        return ModelOutput(logits=torch.zeros(2, dtype=torch.bfloat16), past_key_values="state")

    converted = convert_outputs_to_fp32(forward)()
    assert type(converted) is ModelOutput
    assert converted.logits.dtype == torch.float32
    assert (converted.loss, converted.past_key_values) == (None, "state")


def test_a_mapping_with_another_field_is_refused() -> None:
    with pytest.raises(TypeError, match="no field 'cache'"):
        ModelOutput({"cache": 1})


def test_torch_finds_its_tensors(output: ModelOutput) -> None:
    assert {id(t) for t in _find_tensors(output)} == {id(output.loss), id(output.logits)}
    leaves, spec = _pytree.tree_flatten(output)
    assert leaves[:2] == [output.loss, output.logits]
    assert type(_pytree.tree_unflatten(leaves, spec)) is ModelOutput

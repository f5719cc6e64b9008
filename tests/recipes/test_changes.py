"""What becomes different from one recipe to the next, counted by hand from llama.cpp's rules."""

import dataclasses

import pytest

from qviz.errors import RecipeError
from qviz.recipes import model_plan, plan_changes


def test_from_q4_k_s_to_q4_k_m():
    """llama.cpp gives attn_v and ffn_down of llama-7b Q6_K in 16 of 32 layers; Q4_K_S had Q5_K in the first four."""
    changes = plan_changes(model_plan("llama-7b", "Q4_K_S"), model_plan("llama-7b", "Q4_K_M"))
    found = [(str(c.before), str(c.after), c.kinds) for c in changes]
    assert found == [
        ("Q4_K", "Q6_K", (("attn_v", 12), ("ffn_down", 12))),
        ("Q5_K", "Q6_K", (("attn_v", 4), ("ffn_down", 4))),
    ]
    assert [c.tensors for c in changes] == [24, 8]
    assert all(c.why.startswith("its layer is among those that get more bits") for c in changes)


def test_a_rule_that_holds_no_more():
    """Q3_K_L lifts attn_output, attn_v and ffn_down to Q5_K; of these Q4_K_S keeps the first four layers."""
    changes = plan_changes(model_plan("llama-7b", "Q3_K_L"), model_plan("llama-7b", "Q4_K_S"))
    down = {c.which: c.why for c in changes if (str(c.before), str(c.after)) == ("Q5_K", "Q4_K")}
    assert set(down) == {"32 × attn_output", "28 × attn_v", "28 × ffn_down"}
    assert all(why.startswith("no rule holds any more. Before: ") for why in down.values())
    up = [c for c in changes if str(c.after) == "Q4_K" and str(c.before) == "Q3_K"]
    assert [(c.tensors, c.why) for c in up] == [(1 + 4 * 32, "the base format is another")]


def test_nothing_changes_within_one_plan():
    plan = model_plan("smollm2-135m", "Q4_K_M")
    assert plan_changes(plan, plan) == []


def test_stand_ins_are_told_elsewhere():
    changes = plan_changes(model_plan("smollm2-135m", "Q4_K_S"), model_plan("smollm2-135m", "Q4_K_M"))
    assert not any("576" in change.why for change in changes)


def test_two_models_are_not_compared():
    with pytest.raises(RecipeError, match="different tensors"):
        plan_changes(model_plan("llama-7b", "Q4_0"), model_plan("smollm2-135m", "Q4_0"))


@pytest.mark.parametrize("wrong", [{"format": "Q4_0"}, {"format": None}, {"name": 3}, {"role": None}, {"reason": b"r"}])
def test_choices_made_by_hand_are_looked_at(wrong):
    plan = model_plan("llama-7b", "Q4_0")
    with pytest.raises(RecipeError, match=r"is no choice as qviz\.recipes\.plan makes them"):
        plan_changes(plan, [dataclasses.replace(plan[0], **wrong), *plan[1:]])

"""Budgets, sizes, verdicts: by arithmetic, against whole files, and with outcomes made for the test."""

import math

import bounds
import numpy as np
import pytest

import qviz
from qviz import measure, models, transformer
from qviz.course import missions
from qviz.course.missions import MIB, MISSIONS, Choice, Mission, Outcome
from qviz.errors import RecipeError

WATCH, LAPTOP = MISSIONS["a watch"], MISSIONS["7B on a laptop"]
MISSION = Mission("test", "", "tiny", 10, 10, 256)


def outcome(recipe, mib, damage, error=0.0, speed=100.0):
    return Outcome(Choice(recipe), int(mib * MIB), int((mib + 2) * MIB), 4.0, damage, error, speed)


@pytest.mark.parametrize("recipe", ["Q4_K_M", "Q4_0"])
def test_bytes_equal_those_of_a_quantized_file(tmp_path, recipe):
    source = qviz.load("tiny")
    made = qviz.load(qviz.quantize_model(source.path, tmp_path / "a.gguf", recipe).path)
    run = missions.build(source, Choice(recipe))
    assert {name: run.model[name].tobytes() for name in run.model} == {name: t.tobytes() for name, t in made.items()}
    assert missions.sizes(WATCH, Choice(recipe)).disk == sum(t.nbytes for t in made.values())


def test_what_a_recipe_takes_is_planned_once(monkeypatch):
    """A picture asks for all recipes at each move of a hand."""
    planned = []
    plan = missions.choices.recipes.plan
    monkeypatch.setattr(missions.choices.recipes, "plan", lambda *a, **k: planned.append(a) or plan(*a, **k))
    mission = Mission("of this test alone", "", "tiny", 10, 10, 256)
    first, again, small = (missions.sizes(mission, Choice("Q4_0", cache=cache)) for cache in ("F16", "F16", "Q8_0"))
    assert first.disk == again.disk == small.disk
    assert first.memory == again.memory > small.memory
    assert len(planned) == 1


def test_formats_that_overrule_the_recipe():
    choice = Choice("Q3_K_M", embedding="Q4_K", values="Q8_0")
    run = missions.build(qviz.load("tiny"), choice)
    formats = {name: str(run.model[name].format) for name in run.model}
    assert formats["token_embd.weight"] == "Q4_K"
    assert {formats[f"blk.{i}.{part}.weight"] for i in range(8) for part in ("attn_v", "ffn_down")} == {"Q8_0"}
    assert formats["blk.3.attn_q.weight"] == "Q3_K"
    assert formats["blk.3.attn_norm.weight"] == "F32"
    assert missions.sizes(WATCH, choice).disk == sum(run.model[name].nbytes for name in run.model)


def test_memory_is_weights_and_caches_by_hand():
    for kind, bits in (("F16", 16), ("Q8_0", 8.5), ("Q4_0", 4.5)):
        size = missions.sizes(MISSIONS["eight chats at once"], Choice("Q4_K_M", cache=kind))
        assert size.memory - size.disk == 8 * 2 * 8 * 256 * 256 * bits / 8  # chats, K and V, layers, tokens, width
        size = missions.sizes(LAPTOP, Choice("Q4_K_M", cache=kind))
        assert size.memory - size.disk == 2 * 32 * 4096 * 4096 * bits / 8
        assert size.disk == qviz.recipes.model_size("llama-7b", "Q4_K_M")


def test_the_bound_on_speed_is_bandwidth_over_bytes():
    plan = qviz.recipes.model_plan("llama-7b", "Q4_0")
    read = sum(c.nbytes for c in plan if c.name != "token_embd.weight") + 2 * 32 * 4096 * 4096 * 2
    assert missions.sizes(LAPTOP, Choice("Q4_0")).speed == 50e9 / read


def test_a_rounding_method_counts_scales_and_an_unrounded_embedding():
    shapes = {name: t.shape for name, t in qviz.load("tiny").items()}
    matrices = sum(math.prod(s) for name, s in shapes.items() if len(s) == 2 and name.startswith("blk"))
    norms = sum(math.prod(s) for s in shapes.values() if len(s) == 1)
    expected = matrices * (4 + 20 / 128) / 8 + 4096 * 256 * 2 + norms * 4
    assert missions.sizes(WATCH, Choice("AWQ-4bit-g128")).disk == expected
    columns = sum(s[1] for name, s in shapes.items() if len(s) == 2 and name.startswith("blk"))
    assert missions.sizes(WATCH, Choice("GPTQ-Int4-g128")).disk == expected + 4 * columns  # with act-order


@pytest.mark.parametrize(
    ("mission", "choice", "says"),
    [
        (LAPTOP, Choice("Q4_K_M", imatrix=True), "nobody published"),
        (LAPTOP, Choice("AWQ-4bit-g128"), "nobody published"),
        (WATCH, Choice("Q9"), "Q9"),
        (WATCH, Choice(cache="Q3_K"), "F16, Q8_0, Q4_0"),
    ],
)
def test_choices_that_cannot_be_judged(mission, choice, says):
    with pytest.raises(RecipeError, match=says):
        missions.sizes(mission, choice)


def test_methods_are_measured_alone():
    with pytest.raises(RecipeError, match="cache in F16"):
        missions.play(WATCH, Choice("GPTQ-Int4-g128", cache="Q8_0"))


def test_a_cache_is_felt_by_the_windows():
    """Equal to feeding token by token; an F32 cache changes nothing but roundings of activations to int8."""
    source = qviz.load("tiny")
    plain = transformer.Transformer(source)
    windows = transformer.evaluate.windows_of(plain, models.heldout_text(), 64, 40)
    run = transformer.Transformer(source, cache="F32")
    # stated: an activation that a last bit rounds to another int8 moves a logit by so much at most
    np.testing.assert_allclose(
        run.window_logits(windows, 20, 60), plain.window_logits(windows, 20, 60), rtol=0, atol=0.03
    )
    assert missions.build(source, Choice("F16", cache="Q4_0")).new_cache(64).kinds == ("Q4_0", "Q4_0")
    # activations in float32: where they are rounded to int8, too, a last bit that falls the other way moves every logit
    exact, run = (transformer.Transformer(source, activations="float", cache=kind) for kind in ("F32", "Q4_0"))
    cache = run.new_cache(64)
    by_token = np.concatenate([run.logits([t], cache) for t in windows[0]])[20:60]
    cached, plain_logits = (each.window_logits(windows[:1], 20, 60)[0] for each in (run, exact))
    moved = np.abs(cached - plain_logits).mean()
    # stated: a key that falls the other way by a last bit moves few logits a little; the cache itself moves all of them
    assert np.abs(cached - by_token).mean() < 0.01 * moved
    assert moved > 0.03


def test_a_choice_is_measured_as_perplexity_measures_it():
    found = missions.play(WATCH, Choice("Q3_K_S"), max_tokens=100)
    run, source = missions.build(qviz.load("tiny"), Choice("Q3_K_S")), qviz.load("tiny")
    expected = qviz.perplexity(run.model, models.heldout_text(), baseline=source, max_tokens=100)
    assert (found.damage, found.error) == (expected.kld, expected.kld_se)
    assert found.speed > 0


def test_importance_is_the_mean_square_of_the_inputs(monkeypatch):
    monkeypatch.setattr("qviz.course.missions.trial._IMPORTANCE", {})
    source = qviz.load("tiny")
    found = missions.importance(source, n_tokens=256)
    x = transformer.linear_inputs(source, "blk.2.ffn_down.weight", models.calibration_text(), 256)
    expected = (x.astype(float) ** 2).mean(axis=0)
    bounds.assert_within(found["blk.2.ffn_down.weight"], expected, bounds.size_bound(expected, len(x) + 2))
    assert len(found) == 56


def test_importance_of_another_text_length_is_another():
    model = qviz.load("tiny")
    few, many, again = (missions.importance(model, n_tokens=n) for n in (256, 512, 256))
    name = "blk.0.attn_q.weight"
    assert again[name] is few[name], "kept"
    assert not np.array_equal(few[name], many[name])


def test_progress_can_end_the_work():
    def stop(what, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        missions.play(WATCH, Choice("Q4_0"), max_tokens=100, progress=stop)


def test_what_is_left_on_the_table(monkeypatch):
    others = [
        outcome("Q8_0", 8, 0.001),
        outcome("Q5_0", 6, 0.01),
        outcome("Q4_K_M", 5, 0.02),
        outcome("Q4_0", 5.5, 0.04),
    ]
    sizes = {o.choice.recipe: o for o in others}
    monkeypatch.setattr(missions.verdict, "sizes", lambda mission, choice: sizes[choice.recipe])
    verdict = missions.judge(MISSION, outcome("Q4_0", 5.5, 0.04), others)
    assert [o.choice.recipe for o in verdict.better] == ["Q8_0", "Q5_0", "Q4_K_M"]
    assert [o.choice.recipe for o in verdict.dominated_by] == ["Q4_K_M"]
    assert (verdict.front, verdict.left) == (False, 40)
    small = Mission("test", "", "tiny", 10, 8.5, 256)  # with the cache of 2 MiB, Q8_0 does not fit
    verdict = missions.judge(small, outcome("Q5_0", 6, 0.01), others)
    assert (verdict.better, verdict.front, verdict.left) == ((), True, 1)
    noisy = missions.judge(MISSION, outcome("Q4_0", 5.5, 0.04, error=0.011), others)
    assert "Q4_K_M" not in [o.choice.recipe for o in noisy.better]  # within twice the error: not clearly better


def test_what_a_cache_costs_is_added_to_all(monkeypatch):
    others = [outcome("Q8_0", 8, 0.001), outcome("Q4_0", 5, 0.04)]
    sizes = {o.choice.recipe: o for o in others}
    monkeypatch.setattr(missions.verdict, "sizes", lambda mission, choice: sizes[choice.recipe])
    chosen = Outcome(Choice("Q4_0", cache="Q4_0"), 5 * MIB, 6 * MIB, 4.0, 0.06, 0.0, 100.0)
    verdict = missions.judge(MISSION, chosen, others)
    assert [round(o.damage, 3) for o in verdict.better] == [0.021]  # and not Q4_0 itself, with a better cache
    assert verdict.left == pytest.approx(0.06 / 0.021)


def test_limits_one_by_one():
    kept = missions.limits(Mission("t", "", "tiny", 5, 7, 256, 1, 0.5), outcome("a", 6, 0.1, speed=40), [
        outcome("Q8_0", 8, 0.1, speed=100)
    ])  # fmt: skip
    assert (kept.disk, kept.memory, kept.speed, kept.floor) == (False, False, False, 50)
    assert missions.limits(WATCH, outcome("a", 5, 0.1)).all
    assert missions.limits(LAPTOP, outcome("a", 5, 0.1, speed=7.9)).speed is False


def test_a_large_model_is_looked_up():
    found = {o.choice.recipe: o for o in missions.field(LAPTOP)}
    assert {name: found[name].damage for name in measure.PUBLISHED_PPL} == measure.PUBLISHED_PPL
    assert math.isnan(missions.play(LAPTOP, Choice("IQ4_XS")).damage)


def test_reasons_hold_or_are_misconceptions():
    others = missions.field(LAPTOP)
    good, bad = (missions.judge(LAPTOP, missions.play(LAPTOP, Choice(name)), others) for name in ("Q4_K_M", "Q4_1"))
    holds = [[r.holds(LAPTOP, v) for r in missions.REASONS if r.holds] for v in (good, bad)]
    assert holds == [[True, True, True, True], [False, False, True, False]]  # Q4_1 is below 8 tokens a second
    assert sum(r.holds is None for r in missions.REASONS) == 5

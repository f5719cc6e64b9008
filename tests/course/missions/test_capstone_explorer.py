"""The capstone, driven from Python: hidden until chosen and justified, then measured, judged and kept."""

import math

import pytest

from qviz import measure
from qviz.course import missions
from qviz.course.missions import MIB, Choice, Outcome
from qviz.errors import WidgetError
from qviz.widgets import CapstoneExplorer

DAMAGE = {"Q8_0": 0.001, "Q4_K_M": 0.01, "Q4_0": 0.03}


@pytest.fixture
def quick(monkeypatch):
    """Outcomes that need no measuring; sizes stay real."""

    def play(mission, choice, *, max_tokens, progress):
        progress("scoring", 0, 1)
        size = missions.sizes(mission, choice)
        damage = DAMAGE.get(choice.recipe, 0.1) * (2 if choice.cache == "Q4_0" else 1)
        return Outcome(choice, size.disk, size.memory, size.bpw, damage, 0.0, 50.0)

    def field(mission, *, max_tokens, progress):
        return [play(mission, Choice(name), max_tokens=max_tokens, progress=progress) for name in missions.FIELD]

    monkeypatch.setattr(missions, "play", play)
    monkeypatch.setattr(missions, "field", field)


def carry_out(explorer, reason=0, **values):
    for name, value in values.items():
        explorer.controls[name].value = value
    explorer.controls["reason"].value = reason
    explorer.measure()
    explorer.wait()
    return " ".join(explorer.feedback)


def test_nothing_is_measured_without_a_reason(quick):
    explorer = CapstoneExplorer("a watch")
    explorer.measure()
    explorer.wait()
    assert explorer.verdicts == []
    assert "First say why" in explorer.figure.scene.status[0].text
    assert explorer.figure["chooser"].best == -1
    assert "hidden" in {tile.value for tile in explorer.figure.scene.readouts}


def test_the_wall_moves_and_the_verdict_keeps_to_the_mission(quick):
    explorer = CapstoneExplorer("a watch")
    wall = explorer.controls["budget"]
    plane = explorer.figure["chooser"]
    assert plane.budget == plane.limit == wall.value == 7
    explorer._message(explorer.figure, {"event": "set", "control": "budget", "value": 5.0}, None)
    moved = explorer.figure["chooser"]
    assert (wall.value, moved.budget, moved.limit) == (5, 5, 7)
    assert moved.kept.sum() < plane.kept.sum()
    assert all(size <= 5 for size, kept in zip(moved.sizes, moved.kept, strict=True) if kept)
    assert "Q4_K_M keeps all limits" in carry_out(explorer, recipe="Q4_K_M")  # 5.1 MiB and its cache: of seven
    explorer.controls["mission"].value = "7B on a phone"
    plane = explorer.figure["chooser"]
    assert plane.budget == plane.limit == wall.value == missions.MISSIONS["7B on a phone"].memory / 1024
    assert wall.min < min(plane.sizes)
    assert wall.max > max(plane.sizes)


def test_a_try_is_judged_and_kept(quick):
    explorer = CapstoneExplorer("a watch")
    said = carry_out(explorer, recipe="Q4_0", predicted=0.02, sure=0.9)
    assert "Q4_0 keeps all limits." in said
    assert "Left on the table: Q4_K_M keeps all limits, and your choice does 3.0 times its damage." in said
    assert "You expected 0.02 and were 90% sure, and were right: it is 0.03." in said
    assert "Your reason does not hold here" in said
    plane = explorer.figure["chooser"]
    assert plane.names[plane.best] == "Q4_K_M"
    assert plane.tries == ("Q4_0",)
    said = carry_out(explorer, recipe="Q4_K_M", predicted=0.1)
    assert "Nothing was left on the table" in said
    assert "and were wrong" in said
    assert "Your reason holds" in said
    assert explorer.figure["chooser"].tries == ("Q4_0", "Q4_K_M")
    tile = next(t for t in explorer.figure.scene.readouts if t.label == "Predictions")
    assert tile.value == "1 of 2"
    assert f"{((0.9 - 1) ** 2 + 0.9**2) / 2:.2f}" in tile.hint
    assert len(explorer.figure.scene.tables[1].rows) == 2


def test_what_does_not_fit_is_said(quick):
    explorer = CapstoneExplorer("a watch")
    said = carry_out(explorer, recipe="Q8_0")
    assert "Q8_0 does not do: it takes 7.99 MiB on disk, 5.00 MiB are allowed" in said
    explorer.controls["mission"].value = "eight chats at once"
    said = carry_out(explorer, recipe="Q4_K_M")
    assert "it needs 20.8 MiB, 16.0 MiB are allowed" in said
    said = carry_out(explorer, recipe="Q4_K_M", cache="Q4_0")
    assert "Left on the table: Q8_0" in said
    said = carry_out(explorer, recipe="Q8_0", cache="Q4_0")
    assert "Nothing was left" in said
    assert "did less damage" not in said
    said = carry_out(explorer, recipe="Q4_0", cache="Q4_0")
    assert "Your own Q8_0, Q4_0 cache did less damage" in said


@pytest.mark.parametrize("reason", [i for i, r in enumerate(missions.REASONS) if r.holds is None])
def test_a_misconception_is_named(quick, reason):
    said = carry_out(CapstoneExplorer("a watch"), reason=reason)
    assert "is a misconception" in said
    assert missions.REASONS[reason].answer in said


def test_a_large_model_offers_only_what_was_published():
    explorer = CapstoneExplorer("7B on a laptop")
    assert [explorer.controls[name].disabled for name in ("embedding", "values", "imatrix")] == [True] * 3
    said = carry_out(explorer, recipe="Q4_1")
    assert "misconception" not in said
    plane = explorer.figure["chooser"]
    sizes = [missions.sizes(explorer.mission, Choice(name)).memory / MIB / 1024 for name in plane.names]
    assert plane.sizes.tolist() == sizes
    assert plane.damage[plane.names.index("Q2_K")] == measure.PUBLISHED_PPL["Q2_K"]
    assert "Nobody published" in carry_out(explorer, recipe="IQ4_XS")
    assert math.isnan(explorer.verdicts[-1].outcome.damage)
    explorer.controls["mission"].value = "a watch"
    explorer.controls["recipe"].value = "GPTQ-Int4-g128"
    explorer.controls["mission"].value = "7B on a phone"
    assert explorer.choice.recipe == "Q4_K_M"
    assert explorer.figure.scene.status == ()


def test_stop_keeps_what_there_is(monkeypatch):
    explorer = CapstoneExplorer("a watch")

    def field(mission, *, max_tokens, progress):
        explorer._halt.set()  # as the button does, without waiting for this very thread
        progress("scoring", 1, 9)

    monkeypatch.setattr(missions, "field", field)
    carry_out(explorer)
    assert explorer.verdicts == []
    assert "Stopped" in explorer.figure.scene.status[0].text
    assert explorer.controls["stop"].disabled
    assert not explorer.controls["measure"].disabled


def test_an_error_is_shown(quick):
    explorer = CapstoneExplorer("a watch")
    explorer.controls["embedding"].value = "Q8_0"
    explorer._field["a watch"] = []
    said = carry_out(explorer)
    assert said
    with pytest.raises(WidgetError, match="no mission"):
        CapstoneExplorer("the moon")
    with pytest.raises(WidgetError, match="cannot be chosen"):
        CapstoneExplorer("a watch", Choice("Q9"))


def test_a_real_choice_is_measured():
    explorer = CapstoneExplorer("a watch", Choice("Q3_K_S"), max_tokens=60)
    explorer._field["a watch"] = [missions.play(explorer.mission, Choice("Q2_K"), max_tokens=60)]
    explorer.controls["reason"].value = 1
    explorer._plane = lambda *a: explorer.figure["chooser"]  # a field of one is too small to be drawn
    explorer.measure()
    explorer.wait()
    verdict = explorer.verdicts[-1]
    assert verdict.front
    assert 0.001 < verdict.outcome.damage < 1

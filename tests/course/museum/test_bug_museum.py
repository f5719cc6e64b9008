"""The bug museum, driven from Python."""

import ggml
import pytest

from qviz.course import museum
from qviz.course.museum import EXHIBITS, _material
from qviz.errors import MuseumError
from qviz.widgets import BugMuseum
from qviz.widgets.scene import unpack

SHUT = {"story", "before", "after", "error", "gap", "quiz"}
OPEN = SHUT | {"plaque", "code", "blind", "sharp"}
NAMES = list(EXHIBITS)


def choose(room, index):
    room._message(room.figure, {"event": "answer", "answer": index}, None)


def wrong_ones(exhibit):
    return [i for i in range(len(exhibit.diagnoses)) if i != exhibit.answer]


@pytest.fixture
def room():
    return BugMuseum("min-sign")


def test_symptoms_come_first():
    room = BugMuseum()
    assert room.exhibit is next(iter(EXHIBITS.values()))
    assert set(room.figure.panels) == SHUT
    text = str(unpack(room.figure.frame))
    exhibit = room.exhibit
    assert exhibit.story[:40] in text
    for secret in (exhibit.fault, exhibit.why_green, exhibit.remedy, exhibit.threads[0].url, "Yes. "):
        assert secret not in text, "the answer travels to the browser before it is asked for"
    trial = exhibit.trial
    assert room.figure["before"].pixels.shape == room.figure["after"].pixels.shape == room.figure["error"].pixels.shape
    assert room.figure["gap"].first == trial.first_column
    assert trial.material in room.figure["story"].parts[1][1]


def test_a_wrong_diagnosis_says_why_it_does_not_fit(room):
    first = wrong_ones(room.exhibit)[0]
    choose(room, first)
    assert room.controls["diagnosis"].value == first
    assert room.figure["quiz"].answers[first].state == "wrong"
    assert room.figure["quiz"].answers[first].feedback == room.exhibit.diagnoses[first].feedback
    assert room.exhibit.diagnoses[first].feedback in room.figure.scene.summary, "it is read aloud"
    assert set(room.figure.panels) == SHUT
    assert (room.solved, room.tried) == (False, {"min-sign": [first]})


def test_the_right_one_opens_the_rest(room):
    choose(room, room.exhibit.answer)
    assert room.solved
    assert set(room.figure.panels) == OPEN
    assert room.figure["quiz"].solved
    assert all(a.feedback for a in room.figure["quiz"].answers), "now all of them are explained"
    lines = room.figure["code"].lines
    assert [(line.left.strip(), line.right.strip()) for line in lines if not line.same] == [
        ("return scale * code + low", "return scale * code - low")
    ]
    blind, sharp = room.figure["blind"], room.figure["sharp"]
    assert (blind.wrong, blind.right, sharp.wrong, sharp.right) == (True, True, False, True)
    assert (blind.note, sharp.note) == (room.exhibit.why_green, room.exhibit.remedy)
    assert room.figure["plaque"].links == (
        ("ggml-org/llama.cpp#13377", "https://github.com/ggml-org/llama.cpp/issues/13377"),
    )
    assert "Not as it was found" in room.figure.scene.status[0].text
    assert [table.caption for table in room.figure.scene.tables] == ["Measured", "Tests"]
    assert ("A test that would have caught it", "passes", "fails") in room.figure.scene.tables[1].rows


def test_what_is_measured_is_written(room):
    readouts = {r.label: r.value for r in room.figure.scene.readouts}
    weight = _material.matrix()
    theirs = ggml.dequantize(ggml.quantize(weight, "Q4_K"), "Q4_K", weight.size)
    share = f"{100 * (theirs < 0).mean():.3g} %"
    assert readouts["Negative weights"] == f"{share} → 0 %"
    assert readouts["Weights that differ"] == "100 %"
    rows = {row[0]: row[1:] for row in room.figure.scene.tables[0].rows}
    assert rows["Negative weights"] == (share, "0 %")


def test_not_finite_is_said():
    room = BugMuseum("awq-half-precision")
    readouts = {r.label: r.value for r in room.figure.scene.readouts}
    assert readouts["Output error"].endswith("→ not finite")
    assert "every column" in room.figure.panels["gap"].label
    assert room.figure["after"].pixels.min() == 255


def test_scores_count_first_tries(room):
    def score():
        tile = next(r for r in room.figure.scene.readouts if r.label == "Diagnosed")
        return tile.value, tile.hint

    total = len(EXHIBITS)
    assert score()[0] == f"0 of {total}"
    choose(room, wrong_ones(room.exhibit)[0])
    choose(room, room.exhibit.answer)
    assert score() == (f"1 of {total}", "0 of them at the first try")
    room.controls["exhibit"].value = "zero-point-label"
    assert set(room.figure.panels) == SHUT
    choose(room, room.exhibit.answer)
    assert score() == (f"2 of {total}", "1 of them at the first try")
    # further clicks change nothing
    choose(room, wrong_ones(room.exhibit)[0])
    assert score() == (f"2 of {total}", "1 of them at the first try")
    # and coming back finds it as it was left
    room.controls["exhibit"].value = "min-sign"
    assert set(room.figure.panels) == OPEN
    assert room.tried["min-sign"][-1] == room.exhibit.answer


def test_an_answer_can_be_shown_without_counting(room):
    room.controls["reveal"].click()
    assert set(room.figure.panels) == OPEN
    assert room.controls["reveal"].disabled
    choose(room, room.exhibit.answer)
    assert not room.solved
    assert next(r for r in room.figure.scene.readouts if r.label == "Diagnosed").value.startswith("0 of")
    room.controls["next"].click()
    assert room.exhibit.name != "min-sign"
    assert not room.controls["reveal"].disabled


def test_the_tour_comes_round():
    room = BugMuseum(NAMES[-1])
    room.controls["next"].click()
    assert room.exhibit.name == NAMES[0]


@pytest.mark.parametrize("name", NAMES)
def test_every_exhibit_can_be_shown(name):
    room = BugMuseum(name)
    assert room.figure.scene.status == ()
    room.reveal()
    assert all(status.level == "info" for status in room.figure.scene.status)
    assert len(room.figure.frame) < 600_000
    assert room.figure.scene.summary.endswith(room.exhibit.fault)


def test_a_pointer_reads_both_builds(room):
    trial = room.exhibit.trial
    text = room.locate(3, 70)
    assert f"row 3, column 70: correct build {trial.right[3, 70]:.3g}".replace("-", "−") in text
    assert text.endswith("sub-block 2, columns 64 … 95")


def test_pictures_zoom(room):
    room._message(room.figure, {"event": "zoom", "row": 100, "column": 700, "into": True}, None)
    assert room.controls["zoom"].value == 128
    window = room.window
    assert (window.top, window.left, window.rows, window.columns) == (36, 636, 128, 128)
    assert room.figure["after"].window == window
    shown = room.exhibit.trial.wrong[36:164, 636:764]
    assert (room.figure["after"].pixels > 127).mean() == pytest.approx(
        (shown > 0).mean(), abs=0.02
    )  # stated: grey is neither
    room.controls["exhibit"].value = "q3k-scales"
    assert room.controls["zoom"].value == 0
    room._message(room.figure, {"event": "zoom", "row": 0, "column": 0, "into": False}, None)
    assert room.controls["zoom"].value == 0


def test_nonsense_from_the_browser_is_not_answered(room):
    before = room.figure.frame
    for message in (
        {"event": "answer", "answer": 17},
        {"event": "answer"},
        {"event": "locate", "row": 9999, "column": 0},
    ):
        room._message(room.figure, message, None)
    assert unpack(room.figure.frame)["panels"].keys() == unpack(before)["panels"].keys()
    assert room.tried == {}


def test_pictures_are_those_of_the_trial(room):
    trial = museum.get("min-sign").trial
    sent = unpack(room.figure.frame)["panels"]
    assert sent["gap"]["figure"]["gap"].max() == room.figure["gap"].gap.max()
    assert sent["error"]["figure"]["pixels"].min() > 0, "every weight differs"
    assert trial.differing == trial.right.size


def test_it_says_what_it_is_and_what_it_has_not():
    assert repr(BugMuseum("not-a-copy")) == "BugMuseum(not-a-copy)"
    with pytest.raises(MuseumError, match="no exhibit 'x'"):
        BugMuseum("x")

"""FileExplorer without a browser: pages, damage, healing, and what stands in the way."""

from __future__ import annotations

import numpy as np
import pytest

import qviz
from qviz.errors import WidgetError
from qviz.figures.file_strip import KINDS, file_strip
from qviz.widgets import FileExplorer
from qviz.widgets.file import PAGE


@pytest.fixture(scope="module")
def tiny():
    return qviz.load("tiny")


def test_the_strip_is_the_file(tiny):
    strip = FileExplorer(tiny).figure["strip"]
    assert strip.size == tiny.path.stat().st_size
    assert np.array_equal(strip.starts[1:], strip.stops[:-1])
    assert strip.starts[KINDS.index("tensor") == strip.kinds][0] == strip.header
    assert bytes(strip.raw) == tiny.path.read_bytes()[:PAGE]


def test_parts_pages_and_positions_follow_each_other(tiny):
    explorer = FileExplorer(tiny)
    explorer.goto(1_000_003)
    assert explorer.figure["strip"].at == 1_000_000
    assert explorer.controls["page"].value == 1_000_003 // PAGE
    region = tiny.file.parts[0].regions[explorer.controls["part"].value]
    assert region.start <= 1_000_003 < region.stop
    explorer.controls["part"].value = 3
    start = tiny.file.parts[0].regions[3].start
    assert explorer.figure["strip"].at <= start < explorer.figure["strip"].at + 16
    explorer.controls["page"].value = explorer.controls["page"].max
    strip = explorer.figure["strip"]
    assert strip.at + strip.raw.size == strip.size


def test_damage_and_healing(tiny):
    explorer = FileExplorer(tiny)
    before = tiny.path.read_bytes()[:64]
    explorer.damage(30, 200)
    assert explorer.figure["strip"].wrong_at == 24
    (status,) = explorer.figure.scene.status
    assert status.level == "error"
    assert status.text.startswith("tiny.gguf: metadata key 0 is too long at byte 24")
    assert not explorer.controls["heal"].disabled
    explorer.controls["heal"].click()
    assert explorer.figure["strip"].wrong_at == -1
    assert explorer.controls["heal"].disabled
    explorer.damage(30, 200)
    explorer.damage(30, before[30])  # its own byte
    assert not explorer.changes
    assert tiny.path.read_bytes()[:64] == before


def test_nobody_notices_a_changed_weight(tiny):
    explorer = FileExplorer(tiny)
    last = explorer.figure["strip"].size - 2
    explorer.goto(last)
    explorer.damage(last, 0xFF)
    (status,) = explorer.figure.scene.status
    assert status.level == "info"
    assert "still opens" in status.text
    assert "1 of 1 weights change" in status.text


def test_messages_from_the_picture(tiny):
    explorer = FileExplorer(tiny)
    explorer._message(explorer.figure, {"event": "damage", "byte": 4}, [])
    assert explorer.changes == {4: 4}
    explorer._message(explorer.figure, {"event": "damage", "byte": 4, "bit": 3}, [])
    for bit in (-1, 8, 2**40):  # no bit of a byte
        changes = dict(explorer.changes)
        explorer._message(explorer.figure, {"event": "damage", "byte": 4, "bit": bit}, [])
        assert explorer.changes == changes
        assert not [status.text for status in explorer.figure.scene.status if "machine" in status.text]
    assert explorer.changes == {4: 12}
    explorer._message(explorer.figure, {"event": "goto", "byte": 10**12}, [])
    strip = explorer.figure["strip"]
    assert strip.at + strip.raw.size == strip.size
    for wrong in ({"event": "damage", "byte": -1}, {"event": "damage", "byte": "x"}, {"event": "damage"}):
        explorer._message(explorer.figure, wrong, [])
    assert explorer.changes == {4: 12}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda e: e.goto(-1), "no byte -1 in tiny.gguf"),
        (lambda e: e.damage(0, 256), "no byte 0 that could be 256"),
        (lambda e: FileExplorer(3), "a model or the path of a GGUF file is wanted, got int"),
        (lambda e: FileExplorer(e._part.path, at=-1), "no byte -1"),
        (
            lambda e: [e.damage(n, 255 - qviz.load("tiny").path.read_bytes()[n]) for n in range(65)],
            "heal the file first",
        ),
    ],
)
def test_wrong_calls(tiny, call, words):
    with pytest.raises(WidgetError, match=words):
        call(FileExplorer(tiny))


@pytest.mark.parametrize(
    ("parts", "at", "words"),
    [
        ([(0, 4, "header", ""), (5, 8, "tensor", "w")], 0, "without a gap"),
        ([(0, 8, "soup", "")], 0, "no part of a file is 'soup'"),
        ([(0, 8, "header", "")], 6, "is not in a file of 8 bytes"),
    ],
)
def test_wrong_strips(parts, at, words):
    with pytest.raises(WidgetError, match=words):
        file_strip(parts, 4, at, b"GGUF", [])

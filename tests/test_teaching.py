"""The teacher's page says what the notebooks say."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from exercises import exercises
from test_notebooks import LESSONS, LINK

PAGE = Path(__file__).parents[1] / "docs" / "teaching.md"
ROWS = [[cell.strip() for cell in line.strip("| ").split("|")] for line in PAGE.read_text("utf-8").splitlines()]


def head(path: Path) -> tuple[str, str, str]:
    """Title, minutes and level of a notebook."""
    first = nbformat.read(path, 4).cells[0].source
    stamp = re.search(r"\*\*(\d+) minutes · ([●○]{3})", first)
    assert stamp
    return first.splitlines()[0], stamp[1], stamp[2]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_the_table_has_each_lesson_and_its_exercises(path):
    row = next(row for row in ROWS if row[0][:3] == f"{path.stem[:2]} " and len(row) == 6)
    _, minutes, level = head(path)
    assert row[1:3] == [minutes, level]
    title, minutes, _ = head(next(other for other in exercises() if other.stem == path.stem))
    assert [cell.lower() for cell in row[3:5]] == [title.partition("Exercises: ")[2].lower(), minutes]


def test_memory_was_measured():
    """For every lesson, by benchmarks/memory.py; several kernels share a classroom's server, so none takes 500 MB."""
    lessons = [path.stem.replace("_", " ") for path in LESSONS]
    fresh = [f"{lessons[k]}, nothing compiled or measured" for k in (0, 10)]
    rows = {row[0]: list(map(int, filter(None, row[1:]))) for row in ROWS if row[0] in lessons + fresh and len(row) < 6}
    assert list(rows) == lessons + fresh
    for name, (peak, resident, own, *exercises_peak) in rows.items():
        assert 50 < own <= resident <= peak
        assert peak * 2**20 <= 500e6
        assert name in fresh or exercises_peak[0] > 50


def test_a_new_account_on_a_hub_gets_every_notebook():
    """A lesson's links lead to the glossary and to the page on choosing, too."""
    pattern = re.search(r"^sudo cp (notebooks/\S+) /etc/skel", PAGE.read_text("utf-8"), re.MULTILINE)[1]
    root = PAGE.parents[1]
    assert set(root.glob(pattern)) == set((root / "notebooks").glob("*.ipynb"))


def test_points_add_up():
    stated = int(re.search(r"a whole course is (\d+)\.", PAGE.read_text("utf-8"))[1])
    assert stated == 10 * len(exercises())


def test_links_lead_somewhere():
    for _, url in LINK.findall(PAGE.read_text(encoding="utf-8")):
        assert url.startswith("https://") or (PAGE.parent / url).exists(), url

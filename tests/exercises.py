"""What the tests of the exercises share: play a notebook's cells in this process, with other answers in them."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import nbformat

SOURCES = Path(__file__).parents[1] / "notebooks" / "exercises" / "source"
_HIDDEN = re.compile(r"[ \t]*### BEGIN HIDDEN TESTS\n.*?### END HIDDEN TESTS\n?", re.DOTALL)
_SOLUTION = re.compile(r"([ \t]*)### BEGIN SOLUTION\n(.*?)[ \t]*### END SOLUTION", re.DOTALL)
UNSOLVED = "raise NotImplementedError()"


def exercises() -> list[Path]:
    """The sources, one a lesson."""
    return sorted(SOURCES.glob("*/*.ipynb"))


def visible(source: str) -> str:
    """A check as a student has it."""
    return _HIDDEN.sub("", source)


def solved(source: str, old: str, new: str) -> str:
    """A solution cell with one thing in its solution written otherwise."""
    found = _SOLUTION.search(source)
    assert found, source
    assert old in found[2], f"no {old!r} in {found[2]}"
    return source.replace(found[2], found[2].replace(old, new))


def unsolved(source: str) -> str:
    """A solution cell as a student gets it."""
    return _SOLUTION.sub(rf"\1{UNSOLVED}", source)


def grading(cell: Any) -> dict[str, Any]:
    """What nbgrader knows about a cell."""
    return dict(cell.metadata.get("nbgrader", {}))


class Play:
    """A source, cell after cell, in one namespace.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.cells = nbformat.read(path, 4).cells
        self.answers = {
            grading(c)["grade_id"]: c.source for c in self.cells if c.cell_type == "code" and grading(c).get("solution")
        }

    def run(self, tries: dict[str, list[tuple[str, bool]]]) -> dict[str, list[str | None]]:
        """Run everything with the right answers; at each check, first try others.

        Parameters
        ----------
        tries : dict
            Name of an answer -> sources of its cell, and whether the hidden checks run, too.

        Returns
        -------
        dict
            Name of an answer -> what its check said to each try: None if it passed.
        """
        space: dict[str, Any] = {"__name__": "__main__"}
        said: dict[str, list[str | None]] = {}
        for cell in self.cells:
            if cell.cell_type != "code":
                continue
            about = grading(cell)
            if about.get("grade"):
                name = about["grade_id"].removeprefix("test_")
                for answer, hidden in tries.get(name, []):
                    check = cell.source if hidden else visible(cell.source)
                    said.setdefault(name, []).append(_try(dict(space), answer, check))
            exec(compile(cell.source, about.get("grade_id", "cell"), "exec"), space)
        return said


def _try(space: dict[str, Any], answer: str, check: str) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a wrong answer may well divide by zero
            exec(answer, space)
            exec(check, space)
    except Exception as error:  # whatever a student's code may raise
        return f"{type(error).__name__}: {error}"
    return None

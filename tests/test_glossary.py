"""Words that the lessons link are in the glossary; every lesson leads to its neighbours and its exercises."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from exercises import SOURCES
from test_notebooks import FOLDER, LESSONS, LINK, build

GLOSSARY, EXERCISES = FOLDER / "glossary.ipynb", FOLDER / "exercises" / "exercises.ipynb"


def text(path: Path) -> str:
    """All prose of a notebook."""
    return "\n\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")


def terms() -> dict[str, str]:
    """A term's place on the page, such as ``zero-point`` -> how it is explained."""
    parts = re.split(r"^### (.+)$", re.sub(r"^## .*$", "", text(GLOSSARY), flags=re.MULTILINE), flags=re.MULTILINE)[1:]
    return {name.replace(" ", "-"): said for name, said in zip(parts[::2], parts[1::2], strict=True)}


def linked(path: Path) -> list[str]:
    """The places of the glossary that a lesson leads to."""
    return [url.partition("#")[2] for _, url in LINK.findall(text(path)) if url.startswith("glossary.ipynb#")]


@pytest.fixture(params=LESSONS, ids=lambda path: path.stem)
def lesson(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.mark.parametrize("page", [GLOSSARY, EXERCISES], ids=lambda path: path.stem)
def test_pages_are_canonical_and_hold_only_words(page):
    notebook = nbformat.read(page, as_version=4)
    assert {cell.cell_type for cell in notebook.cells} == {"markdown"}
    assert page.read_text(encoding="utf-8") == build.canonical(notebook, page.name)


def test_a_linked_word_is_explained_and_linked_once(lesson):
    found = linked(lesson)
    assert set(found) <= set(terms()), "a word that the glossary does not have"
    assert len(found) == len(set(found)), "link a word where it first stands, and not again"
    assert found, "link the words that a reader may have forgotten"


def test_a_term_is_linked_by_the_lesson_that_explains_it():
    lessons = {path.name: path for path in LESSONS}
    for term, said in terms().items():
        assert (found := re.search(r"\(\[\d\d\]\(([^)]+)\)\)$", said.strip())), f"{term}: which lesson explains it?"
        assert term in linked(lessons[found[1]]), f"{found[1]} does not link {term}"


def test_a_term_is_explained_in_few_words_and_once():
    names = re.findall(r"^### (.+)$", text(GLOSSARY), re.MULTILINE)
    assert len(names) == len(set(map(str.lower, names)))
    assert all(len(said.split()) <= 60 for said in terms().values())


def test_the_list_of_words_has_all_of_them():
    first = nbformat.read(GLOSSARY, as_version=4).cells[0].source
    assert [url for _, url in LINK.findall(first) if url.startswith("#")] == [
        f"#{term}" for term in sorted(terms(), key=str.lower)
    ]


def test_every_lesson_leads_to_its_neighbours_and_exercises(lesson):
    last = nbformat.read(lesson, as_version=4).cells[-1].source
    ways = {kind: re.search(rf"\*\*{kind}:\*\* \[[^\]]+\]\(([^)]+)\)", last) for kind in ("Next", "Back", "Exercises")}
    found = {kind: match[1] for kind, match in ways.items() if match}
    expected = {"Exercises": EXERCISES.relative_to(FOLDER).as_posix()}
    for before, after in pairwise(path.name for path in LESSONS):
        if lesson.name == before:
            expected["Next"] = after
        if lesson.name == after:
            expected["Back"] = before
    assert found == expected


def test_the_page_of_exercises_has_every_lesson():
    urls = {url for _, url in LINK.findall(text(EXERCISES))}
    for path in LESSONS:
        assert f"../{path.name}" in urls
        assert f"release/{path.stem}/{path.name}" in urls
        assert (SOURCES / path.stem / path.name).is_file()

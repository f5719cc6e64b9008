"""The field guide keeps the promises of lessons, but for what a page to look things up in does not need."""

from __future__ import annotations

import inspect

import nbformat
import pytest
import test_notebooks as promises
from test_glossary import linked, terms
from test_notebooks import FOLDER, LESSONS, code_cells, prose

PAGE = FOLDER / "choosing.ipynb"
KEPT = (
    promises.test_every_cell_was_executed_in_order,
    promises.test_file_is_canonical,
    promises.test_file_is_small,
    promises.test_nothing_is_stored_that_a_reader_cannot_use,
    promises.test_no_output_is_an_error_or_a_warning,
    promises.test_outputs_do_not_depend_on_the_machine,
    promises.test_outputs_show_few_digits,
    promises.test_cells_define_nothing,
    promises.test_cells_import_only_qviz_and_numpy,
    promises.test_no_cell_ignores_its_output,
    promises.test_there_is_at_least_as_much_prose_as_code,
    promises.test_sections_are_numbered,
    promises.test_threads_are_linked_by_their_names,
    promises.test_links_lead_somewhere,
    promises.test_numbers_in_prose_were_computed_or_have_a_source,
)


@pytest.mark.parametrize("promise", KEPT, ids=lambda promise: promise.__name__.removeprefix("test_"))
def test_the_page_keeps_the_promises_of_a_lesson(promise):
    given = {"lesson": PAGE, "notebook": nbformat.read(PAGE, as_version=4)}
    promise(**{name: given[name] for name in inspect.signature(promise).parameters})


def test_the_page_is_short():
    cells = code_cells(nbformat.read(PAGE, as_version=4))
    assert len(cells) <= 15
    assert all(len(cell.source.splitlines()) <= promises.MAX_LINES for cell in cells)
    assert all(len(line) <= 88 for cell in cells for line in cell.source.splitlines())


def test_words_are_linked_once_and_explained():
    found = linked(PAGE)
    assert set(found) <= set(terms())
    assert len(found) == len(set(found))


def test_readers_find_the_page():
    for name in ("00", "10", "11", "12"):
        path = next(path for path in LESSONS if path.stem.startswith(name))
        assert "](choosing.ipynb)" in "\n".join(prose(nbformat.read(path, as_version=4))), name
    assert "](choosing.ipynb)" in nbformat.read(FOLDER / "glossary.ipynb", as_version=4).cells[0].source
    assert "](notebooks/choosing.ipynb)" in (FOLDER.parent / "README.md").read_text(encoding="utf-8")

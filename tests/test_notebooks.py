"""The lessons keep their promises: executed, canonical, small, readable, and honest about their numbers.

That their outputs are right is for ``pytest --nbval notebooks/``, which runs every cell and compares.
"""

from __future__ import annotations

import ast
import base64
import functools
import importlib.util
import io
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbstills import build
from nbval.plugin import IPyNbCell
from PIL import Image

import qviz.course.lesson
import qviz.widgets

FOLDER = Path(__file__).parents[1] / "notebooks"
LESSONS = sorted(FOLDER.glob("[0-9]*.ipynb"))
SLICED = {"00_start_here", "04_ggml_blocks", "05_k_quants", "06_gguf_file"}

MEASURED = {"09_speed"}  # lessons about how long things take

MAX_BYTES, MAX_BYTES_OF_TEXT, MAX_BYTES_OF_A_STILL = 700_000, 62_000, 80_000
MAX_CODE_CELLS, MAX_MINUTES = 25, 60
MAX_LINES, MAX_MEDIAN_LINES = 15, 4
ALLOWED_IMPORTS = {"qviz", "qviz.widgets", "numpy", "pathlib", "tempfile"}

THREAD = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+)/(issues|pull|discussions)/(\d+)")
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
TEXT = "text/plain"
DECIMAL = re.compile(r"(?<![\w.−-])\d+\.\d+(?![\w.])")


@functools.cache
def exporter() -> HTMLExporter:
    """Made once: it reads its templates anew each time."""
    return HTMLExporter()


@pytest.fixture(params=LESSONS, ids=lambda path: path.stem)
def lesson(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def notebook(lesson: Path) -> Any:
    return nbformat.read(lesson, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook: Any) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def texts(cell: Any) -> list[str]:
    """What a code cell shows, as text."""
    return [output.text if output.output_type == "stream" else output.data[TEXT] for output in cell.outputs]


def stills(notebook: Any) -> list[tuple[Any, str, str]]:
    """Every still: its output, kind of file, and content in base64."""
    return [
        (output, mime, output.data[mime])
        for cell in code_cells(notebook)
        for output in cell.outputs
        for mime in ("image/png", "image/jpeg")
        if mime in output.get("data", ())
    ]


def test_the_lessons_are_there():
    assert {path.stem for path in LESSONS} >= SLICED


# -- the file


def test_every_cell_was_executed_in_order(notebook):
    """Strict nbval compares nothing in a cell whose execution count is null."""
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_file_is_canonical(lesson, notebook):
    assert lesson.read_text(encoding="utf-8") == build.canonical(notebook, lesson.name)


def test_file_is_small(lesson, notebook):
    pictures = sum(len(data) for *_, data in stills(notebook))
    assert lesson.stat().st_size <= MAX_BYTES
    assert lesson.stat().st_size - pictures <= MAX_BYTES_OF_TEXT


def test_nothing_is_stored_that_a_reader_cannot_use(lesson, notebook):
    assert "widgets" not in notebook.metadata
    raw = lesson.read_text(encoding="utf-8")
    for unwanted in ("application/vnd.jupyter.widget", "ipykernel_", "Traceback"):
        assert unwanted not in raw


def test_every_picture_is_there_before_anything_runs(notebook):
    """An explorer, card or chart is stored as a still; its text alone would say nothing to a reader."""
    widgets = [*qviz.widgets.__all__, *qviz.course.lesson.__all__, "Roofline"]
    shown = re.compile(rf"Prediction \d\d\.\d+: |(?:{'|'.join(widgets)})\(")
    outputs = [o for cell in code_cells(notebook) for o in cell.outputs if shown.match(o.get("data", {}).get(TEXT, ""))]
    assert outputs
    with_still = [output for output, *_ in stills(notebook)]
    for output in outputs:
        assert output in with_still, output.data[TEXT]


def test_stills_are_pictures(notebook):
    for output, mime, data in stills(notebook):
        raw = base64.b64decode(data)
        assert len(raw) <= MAX_BYTES_OF_A_STILL
        picture = Image.open(io.BytesIO(raw)).convert("L")
        assert Image.MIME[Image.open(io.BytesIO(raw)).format] == mime
        assert picture.width >= 700
        dark = sum(picture.histogram()[:140]) / (picture.width * picture.height)
        assert dark > 0.002, "nothing is drawn"
        assert output.metadata[mime]["alt"].strip()
        assert output.data[TEXT].strip()


def test_a_page_without_kernel_is_illustrated(notebook):
    """What `jupyter nbconvert --to html` makes of the stored file, which is what GitHub and nbviewer show, too."""
    page = BeautifulSoup(exporter().from_notebook_node(notebook)[0], "html.parser")
    assert len(page.select(".jp-OutputArea-output img")) == len(stills(notebook))
    for output in page.select(".jp-OutputArea-output"):
        text = output.get_text(strip=True)
        assert text or output.select("img"), "an empty output"
        assert not re.search(r"Loading widget|model not found|Box\(children|^\w+Explorer\(", text)


def test_no_output_is_an_error_or_a_warning(notebook):
    kinds = {(output.output_type, output.get("name")) for cell in code_cells(notebook) for output in cell.outputs}
    assert kinds <= {("stream", "stdout"), ("execute_result", None), ("display_data", None)}


def test_outputs_do_not_depend_on_the_machine(notebook):
    shown = "\n".join(text for cell in code_cells(notebook) for text in texts(cell))
    for place in (str(Path.home()), str(FOLDER.parent), "/tmp", "site-packages", " at 0x"):
        assert place == "/" or place not in shown


def test_outputs_show_few_digits(notebook):
    for cell in code_cells(notebook):
        for text in texts(cell):
            for number in re.findall(r"\d+\.\d+", text):
                assert len(number.replace(".", "").strip("0")) <= 5, text


# -- the cells


def test_cells_are_short(notebook):
    lines = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in code_cells(notebook)]
    assert max(lines) <= MAX_LINES
    assert statistics.median(lines) <= MAX_MEDIAN_LINES


def test_a_class_can_do_it_in_one_session(notebook):
    minutes = re.search(r"\*\*(\d+) minutes", notebook.cells[0].source)
    assert int(minutes[1]) <= MAX_MINUTES
    assert len(code_cells(notebook)) <= MAX_CODE_CELLS


def test_cells_define_nothing(notebook):
    for cell in code_cells(notebook):
        kinds = {type(node) for node in ast.walk(ast.parse(cell.source))}
        assert not kinds & {ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda}, cell.source


def test_cells_import_only_qviz_and_numpy(notebook):
    found = set()
    for cell in code_cells(notebook):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module)
    assert found <= ALLOWED_IMPORTS


def test_no_cell_ignores_its_output(lesson, notebook):
    """Ignored outputs are unchecked: only times may be, in a lesson that says so."""
    ignored = [cell for cell in code_cells(notebook) if cell.metadata.get("tags")]
    assert all(cell.metadata["tags"] == [build.MEASURED] for cell in ignored)
    assert not any("NBVAL" in cell.source for cell in code_cells(notebook))
    if lesson.stem not in MEASURED:
        assert not ignored
    else:
        assert "differ from run to run" in "\n".join(prose(notebook))
        assert 2 * len(ignored) <= len(code_cells(notebook))


# -- the prose


def test_there_is_at_least_as_much_prose_as_code(notebook):
    assert len(prose(notebook)) >= len(code_cells(notebook))
    assert sum(map(len, prose(notebook))) >= sum(len(cell.source) for cell in code_cells(notebook))


def test_every_lesson_has_its_parts(notebook):
    first, text = notebook.cells[0].source, "\n".join(prose(notebook))
    assert first.startswith("# ")
    assert re.search(r"\*\*\d+ minutes · [●○]{3} · You need\*\*", first)
    assert "**Afterwards you can**" in first
    for part in ("> **Myth check", "Break it on purpose", "## Summary", "**Sources.**"):
        assert part in text


def test_predictions_are_numbered(notebook):
    numbers = [int(n) for n in re.findall(r"> \*\*Predict (\d+)\.\*\*", "\n".join(prose(notebook)))]
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers


def test_every_prediction_has_an_answer(lesson, notebook):
    """Folded in its cell; or the next cell asks for the prediction, and the answer comes with it."""
    for cell, after in zip(notebook.cells, [*notebook.cells[1:], None], strict=True):
        if cell.cell_type == "markdown" and (found := re.search(r"> \*\*Predict (\d+)\.\*\*", cell.source)):
            folded = cell.source.count("<details><summary>Answer</summary>\n\n")
            assert folded == cell.source.count("\n\n</details>")
            asked = after is not None and f'qviz.lesson.predict("{lesson.stem[:2]}.{found[1]}"' in after.source
            assert folded + asked == 1, cell.source
            assert asked or lesson.stem in MEASURED, "only an answer that differs from machine to machine is not scored"


def test_every_question_of_a_lesson_is_asked(lesson, notebook):
    """Otherwise nobody could answer all of them, and the score would never be complete."""
    code = "\n".join(cell.source for cell in code_cells(notebook))
    asked = re.findall(r'lesson\.predict\("([\w.]+)"', code)
    there = [id for id, question in qviz.course.lesson.questions().items() if question.options]
    assert asked == [id for id in there if id.startswith(f"{lesson.stem[:2]}.")]
    locked = re.findall(r'"(\d\d\.\w+)"', "".join(re.findall(r"lesson\.lock\((.*?)\)", code)))
    assert set(locked) <= set(asked), "a lock without its question never opens"
    if asked:
        assert "qviz.lesson.score()" in code


def test_answers_beside_a_question_are_folded(notebook):
    """A table within a screen of a prediction is closed until it is made; the picture that is between is a screen."""
    code = code_cells(notebook)
    for i, cell in enumerate(code):
        found = re.search(r'lesson\.predict\("([\d.]+)"', cell.source)
        if not found or "shows=" in cell.source:  # which folds it
            continue
        shown_with_it = "unlocks=" in cell.source and "lesson.lock(" not in "".join(
            c.source for c in code[:i] if f'"{found[1]}"' in c.source
        )
        tables = [o.data["text/html"] for o in code[i + 1].outputs if "text/html" in o.get("data", ())]
        if tables and not shown_with_it:
            assert all(table.startswith("<details><summary>") for table in tables), found[1]


def test_a_lesson_first_asks_about_an_earlier_one(lesson, notebook):
    """From 03 on; what is remembered by answering stays longer than what is read again."""
    first, number = notebook.cells[0].source, int(lesson.stem[:2])
    asked = re.findall(
        r"\*\*Do you still know\?\*\* \(\[lesson (\d\d)\]\((\d\d)_\w+\.ipynb\)\) [^\n]+\?\n\n"
        r"<details><summary>Answer</summary>\n\n[^\n]+\n\n</details>",
        first,
    )
    assert len(asked) == (number >= 3)
    assert all(a == b and int(a) < number for a, b in asked)


def test_sections_are_numbered(notebook):
    numbers = [int(n) for n in re.findall(r"^## (\d+) · ", "\n".join(prose(notebook)), re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_lesson_shows_a_failure(notebook):
    """An error of qviz, caught and printed by its name."""
    shown = [text for cell in code_cells(notebook) if "except qviz.errors." in cell.source for text in texts(cell)]
    assert any(re.search(r"\b[A-Z]\w+Error: ", text) for text in shown)


def test_threads_are_linked_by_their_names(notebook):
    """``[owner/repo#1](https://github.com/owner/repo/issues/1)``; a second one of the same repository may be ``#2``."""
    for text in prose(notebook):
        links = LINK.findall(text)
        for label, url in links:
            if match := THREAD.fullmatch(url):
                assert label in (f"{match[1]}#{match[3]}", f"#{match[3]}")
            else:
                assert not re.search(r"github\.com/[^)]*/(issues|pull|discussions)/", url), url
        bare = LINK.sub("", text)
        assert not re.search(r"[\w.-]+/[\w.-]+#\d+", bare), "a thread without a link"


def test_links_lead_somewhere(notebook):
    for text in prose(notebook):
        for _, url in LINK.findall(text):
            if not url.startswith("https://"):
                assert (FOLDER / url.partition("#")[0]).is_file(), url


def test_numbers_in_prose_were_computed_or_have_a_source(notebook):
    """A decimal number must stand in an output of the lesson, or in a cell that links to where it comes from."""
    checked = [cell for cell in code_cells(notebook) if not cell.metadata.get("tags")]
    shown = "\n".join(text for cell in checked for text in texts(cell))
    computed = set(DECIMAL.findall(shown.replace(",", "")))
    for text in prose(notebook):
        if THREAD.search(text):
            continue
        plain = re.sub(r"\$[^$]*\$|“[^”]*”|`[^`]*`", "", LINK.sub(r"\1", text), flags=re.DOTALL)
        for number in DECIMAL.findall(plain):
            assert number in computed, f"{number} in: {text[:80]}"


# -- the builder


def write(path: Path, *sources: str, **metadata: Any) -> Path:
    cells = [
        nbformat.v4.new_markdown_cell(source[1:]) if source.startswith("#") else nbformat.v4.new_code_cell(source)
        for source in sources
    ]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    nbformat.write(notebook, path)
    return path


def test_building_a_lesson_again_changes_no_byte():
    lesson = FOLDER / "00_start_here.ipynb"
    assert build.build(lesson) == lesson.read_text(encoding="utf-8")


def test_build_and_check(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    path = write(tmp_path / "01_a.ipynb", "#A title  ", "print(6 * 7)   ", "", "print(6 * 7)", author="someone")
    draft = path.read_bytes()

    assert build.main(["--check"]) == 1
    assert path.read_bytes() == draft
    report = capsys.readouterr().out
    assert "01_a.ipynb: not as built" in report
    assert '\n-   "execution_count": null,\n' in report

    assert build.main(["01"]) == 0
    built = path.read_bytes()
    notebook = nbformat.reads(built.decode(), as_version=4)
    assert [cell.source for cell in notebook.cells] == ["A title", "print(6 * 7)", "print(6 * 7)"]
    assert [texts(cell) for cell in code_cells(notebook)] == [["42\n"], ["42\n"]]
    assert "author" not in notebook.metadata
    assert len({cell.id for cell in notebook.cells}) == 3

    assert build.main(["--check"]) == 0
    assert path.read_bytes() == built
    assert [file.name for file in tmp_path.iterdir()] == ["01_a.ipynb"]


def test_editing_one_cell_keeps_the_other_ids(tmp_path):
    ids = []
    for middle in ("1 + 1", "2 + 2"):
        notebook = nbformat.read(write(tmp_path / "x.ipynb", "#Title", middle, "3 + 3"), as_version=4)
        ids.append([cell["id"] for cell in nbformat.reads(build.canonical(notebook, "x"), as_version=4).cells])
    assert [a == b for a, b in zip(*ids, strict=True)] == [True, False, True]


def test_measured_outputs_stay_until_the_cell_is_edited(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_others_at_work", lambda: 0.1)
    path = write(tmp_path / "01_a.ipynb", "#Title", "import time", "time.perf_counter_ns()")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].metadata["tags"] = [build.MEASURED]
    nbformat.write(notebook, path)
    first = build.build(path)
    assert build.build(path) != first  # nothing canonical was stored yet
    path.write_text(first, encoding="utf-8")
    assert build.build(path) == first
    path.write_text(first.replace("perf_counter_ns()", "perf_counter_ns() + 1"), encoding="utf-8")
    monkeypatch.setattr(build, "_others_at_work", lambda: 3.0)
    with pytest.raises(build.BuildError, match=r"cells 2 measure this machine, and it is busy: 3\.0 programs"):
        build.build(path)
    edited = nbformat.reads(build.build(path, busy=True), as_version=4)
    assert texts(edited.cells[2]) != texts(nbformat.reads(first, as_version=4).cells[2])


def test_new_words_need_no_run_and_new_code_does(tmp_path):
    path = write(tmp_path / "01_a.ipynb", "#Title", "6 * 7")
    path.write_text(build.build(path), encoding="utf-8")
    before = path.read_text(encoding="utf-8")
    assert build.reword(path) == before
    path.write_text(before.replace("Title", "Another title"), encoding="utf-8")
    made = build.reword(path)
    assert made == build.build(path)
    assert made != before
    path.write_text(before.replace("6 * 7", "6 * 8"), encoding="utf-8")
    with pytest.raises(build.BuildError, match="the code of cell 1 has changed, so it must run"):
        build.reword(path)


@pytest.mark.parametrize(
    ("source", "message"),
    [("1 / 0", "a cell failed"), ("import warnings; warnings.warn('old')", "wrote to stderr")],
)
def test_a_cell_that_fails_or_warns_is_refused(tmp_path, source, message):
    with pytest.raises(build.BuildError, match=message):
        build.build(write(tmp_path / "x.ipynb", source))


def test_a_file_that_is_no_notebook_is_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "01_x.ipynb").write_text("{")
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    assert build.main([]) == 1
    assert "01_x.ipynb is not a notebook" in capsys.readouterr().err


def test_an_unknown_name_is_refused(capsys):
    assert build.main(["99"]) == 1
    assert "no lesson '99'; there are 00_start_here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("KLD 0.15 ± 3%", "KLD 0.16 ± 2%", True),
        ("KLD 0.15", "KLD 0.17", False),
        ("<td>6.2%</td><td>", "<td>6.1%</td><td>", True),
        ("row   9.9 dB", "row  10.0 dB", True),
        ("9.9e-05", "1.0e-04", True),
        ("9.9e-05", "1.1e-04", False),
        ("1,024.5", "1,024.6", True),
        ("0.1", "0.099", True),
        ("0.1", "0.15", False),
        ("loss -0.5", "loss 0.5", False),
        ("17 of 150 codes", "18 of 150 codes", False),
        ("Q4_0 in 4.5 bits", "Q4_1 in 4.5 bits", False),
        ("True 0.5", "False 0.5", False),
        ("0.5 0.5", "0.5", False),
    ],
)
def test_a_measured_number_may_be_shown_one_unit_off(one, other, equal):
    """A sum on the border of two roundings is shown otherwise by another processor; nothing else may differ."""
    path = FOLDER / "conftest.py"
    spec = importlib.util.spec_from_file_location("notebooks_conftest", path)
    found = importlib.util.module_from_spec(spec)
    before = IPyNbCell.sanitize
    try:
        spec.loader.exec_module(found)
    finally:
        IPyNbCell.sanitize = before
    assert found.as_shown(one, other) is equal
    assert found.as_shown(other, one) is equal
    assert (found.Output(one) == other) is equal
    assert (found.Output(one) != other) is not equal


def test_lessons_are_compared_as_they_are_shown(tmp_path):
    """`pytest --nbval notebooks/` finds the rule beside the lessons; without it, nothing might be compared at all."""
    shutil.copy(FOLDER / "conftest.py", tmp_path)
    cells = {"0.33 as is": "0.33 as is", "0.33 one off": "0.34 one off", "0.33 two off": "0.35 two off", "a": "b"}
    path = write(tmp_path / "01_a.ipynb", *(f"print({made!r})" for made in cells))
    text = build.build(path)
    for made, stored in cells.items():
        text = text.replace(f'"{made}\\n"', f'"{stored}\\n"')
    path.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "--nbval", "-q", "-p", "no:cacheprovider", str(path)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 1, run.stdout
    assert re.findall(r"^FAILED \S+::Cell (\d)", run.stdout, re.MULTILINE) == ["2", "3"], run.stdout
    assert "2 failed, 2 passed" in run.stdout

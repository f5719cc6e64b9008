"""The browser's side of the pictures: one painter a figure, one file a painter, joined into one module."""

import dataclasses
import importlib
import pkgutil
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import qviz.figures
from qviz.widgets import modules
from qviz.widgets.view import View

HERE = Path(__file__).parent.parent / "javascript"
NOT_DRAWN = {
    # parts of figures, and what figures are made from
    *(
        "QuizAnswer",
        "BitMap",
        "Cell",
        "CodeLine",
        "BlockField",
        "GptqRun",
        "PageField",
        "Histogram",
        "MapTensor",
        "ScaleSearch",
        "Window",
    ),
    # text in a cell's output
    *("HexDump", "TextTable"),
    # a chart of results: Plotly's
    "Roofline",
    "RecipeCurves",
    "SizeCurves",
    "TrainingCurves",
}


def figures():
    """The frozen dataclasses of the rooms of figures, whoever makes them."""
    rooms = [f"qviz.figures.{m.name}" for m in pkgutil.iter_modules(qviz.figures.__path__)]
    rooms += [f"qviz.course.{path.parent.name}.figure" for path in modules.PACKAGE.glob("course/*/figure.py")]
    classes = [thing for room in rooms for thing in vars(importlib.import_module(room)).values()]
    return {
        c.__name__ for c in classes if isinstance(c, type) and dataclasses.is_dataclass(c) and c.__module__ in rooms
    }


def test_every_figure_has_a_painter_and_every_painter_a_figure():
    assert set(modules.painters()) == figures() - NOT_DRAWN


def test_a_painter_has_a_file_of_its_own_name():
    for name, path in modules.painters().items():
        assert path.stem == re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    assert len(set(modules.painters().values())) == len(modules.painters())


def test_a_file_runs_behind_what_it_imports():
    text = modules.module()
    for path in [*modules.STATIC.rglob("*.js"), *modules.painters().values()]:
        name = f'modules["{path.relative_to(modules.PACKAGE).as_posix()}"] = '
        for other in re.findall(r'from "([^"]+)"', path.read_text(encoding="utf-8")):
            needed = (path.parent / other).resolve().relative_to(modules.PACKAGE).as_posix()
            made = text.index(f'modules["{needed}"] = ')
            assert path.name == "view.js" or made < text.index(name), f"{path.name} runs before {needed}"
    assert text == View._esm


def node():
    found = shutil.which("node")
    if found is None:
        pytest.skip("no node: install it to run the painters' own tests")
    return found


def test_the_module_is_one_that_a_browser_takes(tmp_path):
    path = tmp_path / "view.mjs"
    path.write_text(modules.module(), encoding="utf-8")
    done = subprocess.run([node(), "--check", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_painters_own_tests():
    files = sorted(map(str, HERE.glob("*.test.js")))
    done = subprocess.run([node(), "--test", *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

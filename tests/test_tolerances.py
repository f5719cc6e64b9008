"""How far sums of floats may lie apart is derived in `bounds`, or a comment says who stated it: no bare tolerances."""

import ast
import itertools
import json
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TOLERANCES = {"rtol", "atol", "rel", "abs", "rel_tol", "abs_tol"}
WITH_DEFAULTS = {"allclose", "isclose", "assert_allclose"}  # NumPy's; those of `pytest.approx` are for decimals
TOLERANT = re.compile(rf"\b(?:{'|'.join(TOLERANCES)})\s*=|{'|'.join(WITH_DEFAULTS)}")  # what has neither is not parsed
FILES = [path for path in sorted(HERE.rglob("*.py")) if path.name not in ("bounds.py", "test_tolerances.py")]
EXERCISES = sorted((HERE.parent / "notebooks" / "exercises" / "source").rglob("*.ipynb"))


def sources(path):
    """Python text, a piece at a time: of a notebook its cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return [text]
    return ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]


def guesses(text, *, defaults=True):
    """Lines of calls whose tolerance is a number that nobody derived, and no comment with "stated" explains."""
    if not TOLERANT.search(text):
        return
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        given = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg in TOLERANCES}
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        by_numpy = name in WITH_DEFAULTS and ast.unparse(node.func) != "math.isclose"
        bare = [value for value in given.values() if is_number(value) and ast.unparse(value) != "0"]
        if bare or (defaults and by_numpy and not given and len(node.args) < 3):
            said = itertools.chain(lines[node.lineno - 1 : node.end_lineno], lines[node.lineno - 2 : node.lineno - 1])
            if not any("stated" in line.partition("#")[2] for line in said):
                yield node.lineno, ast.unparse(node)


def is_number(node):
    """A number as it stands, or one times 10ⁿ."""
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool)


def test_tests():
    found = [(path, guess) for path in FILES for text in sources(path) for guess in guesses(text)]
    assert not found, f"derive these with tests/bounds.py, or say in a comment who stated them: {found}"


def test_exercises():
    """What a student hands in may be float32 or float64; that a wrong answer is not alike needs no bound."""
    found = [(path, guess) for path in EXERCISES for text in sources(path) for guess in guesses(text, defaults=False)]
    assert not found, f"derive these, or say in a comment who stated them: {found}"


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("assert np.allclose(a, b)", True),
        ("assert np.allclose(a, b, rtol=1e-3)", True),
        ("assert a == pytest.approx(b, abs=0.1)", True),
        ("assert a == pytest.approx(b, abs=0.1)  # stated with one decimal", False),
        ("assert a == pytest.approx(0.5)", False),
        ("assert np.isclose(a, b, rtol=0, atol=close)", False),
        ("assert math.isclose(a, b)", False),
    ],
)
def test_what_counts_as_a_guess(line, wrong):
    assert bool(list(guesses(line))) is wrong

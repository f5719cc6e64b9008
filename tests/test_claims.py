"""What a lesson says of numbers, its stored numbers say, too; `claims.toml` holds which sentence goes with which."""

from __future__ import annotations

import html
import re
import tomllib
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
CLAIMS = tomllib.loads((ROOT / "tests" / "claims.toml").read_text(encoding="utf-8"))["claim"]
UNITS = {"%": 0.01, "×": 1.0}


def number(text: str) -> float | str:
    """A cell of a table as the number that it shows, else as it stands."""
    found = re.fullmatch(r"(-?[\d,.]+(?:e-?\d+)?)\s*([%×]?)", text.replace("−", "-"))
    if not found:
        return text
    return float(found[1].replace(",", "")) * UNITS.get(found[2], 1.0)


def table(markup: str) -> dict[str, dict[str, float | str]]:
    """Rows by their first cell, and by every longer run of first cells; a heading that comes again gets a number."""
    parts = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in re.findall(r"<tr>(.*?)</tr>", markup, re.S)]
    cells = [[html.unescape(re.sub(r"<[^>]+>", "", cell)) for cell in row] for row in parts]
    names: list[str] = []
    for name in cells[0]:
        again = sum(known == name or known.startswith(f"{name} (") for known in names)
        names.append(f"{name} ({again + 1})" if again else name)
    rows: dict[str, dict[str, float | str]] = {}
    for row in cells[1:]:
        values = dict(zip(names, map(number, row), strict=True))
        for n in (1, 2):
            rows.setdefault(" | ".join(row[:n]), values)
    return rows


def held(claim: dict[str, str], notebook: nbformat.NotebookNode) -> None:
    """Raise AssertionError unless the sentence stands in the lesson and its numbers bear it out."""
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    flat = [" ".join(re.sub(r"\[([^\]]*)\]\(glossary[^)]*\)", r"\1", text).split()) for text in prose]
    assert any(" ".join(claim["says"].split()) in text for text in flat), (
        "the sentence is gone: change the claim with it"
    )
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and claim["cell"] in cell.source]
    assert len(cells) == 1, f"{len(cells)} cells have {claim['cell']!r} in them"
    names: dict[str, object] = {"n": [], "t": {}}
    for output in cells[0].outputs:
        data = output.get("data", {})
        if "text/html" in data:
            names["t"] = table(data["text/html"])
        plain = output.get("text") or data.get("text/plain", "")
        names["n"] = [float(x) for x in re.findall(r"-?\d+(?:\.\d+)?", plain.replace("−", "-"))]
    # our own file, evaluated with nothing but numbers and a few functions at hand
    tools = {"abs": abs, "all": all, "max": max, "min": min, "round": round, "__builtins__": {}}
    assert eval(claim["holds"], {**tools, **names}), f"the stored numbers say otherwise: {names['t'] or names['n']}"


def lesson(claim: dict[str, str]) -> nbformat.NotebookNode:
    (path,) = (ROOT / "notebooks").glob(f"{claim['lesson']}_*.ipynb")
    return nbformat.read(path, 4)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim['lesson']}: {claim['says'][:40]}")
def test_prose_and_stored_numbers_agree(claim):
    held(claim, lesson(claim))


def test_a_wrong_number_and_a_lost_sentence_are_noticed():
    claim = next(claim for claim in CLAIMS if claim["says"].startswith("sharing a weight pays"))
    notebook = lesson(claim)
    (cell,) = (cell for cell in notebook.cells if cell.source.startswith(claim["cell"]))
    for output in cell.outputs:  # the time of 64 tokens, whatever it was when it was measured
        html = output.get("data", {}).get("text/html", "")
        if ">64<" in html:
            output.data["text/html"] = re.sub(r"(>64</td><td[^>]*>)[^<]+", r"\g<1>14,000", html)
    with pytest.raises(AssertionError, match="say otherwise"):
        held(claim, notebook)
    with pytest.raises(AssertionError, match="the sentence is gone"):
        held({**claim, "says": "sharing a weight pays for nobody"}, lesson(claim))

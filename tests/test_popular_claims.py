"""Each popular claim about quantization is taught, measured or corrected in a cell of a lesson that can be named."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path

import nbformat
import pytest
from test_notebooks import FOLDER, LESSONS

TABLE = tomllib.loads((Path(__file__).parent / "popular_claims.toml").read_text(encoding="utf-8"))["claim"]
GLOSSARY_LINK = re.compile(r"\[([^\]]*)\]\(glossary[^)]*\)")


def flat(text: str) -> str:
    """Prose without links to the glossary and without line ends, which may fall anywhere."""
    return " ".join(GLOSSARY_LINK.sub(r"\1", text).replace("\n> ", "\n").split())


def section(lesson: str, heading: str) -> tuple[str, list[str]]:
    """The prose and the code cells under a heading."""
    path = next(path for path in [*LESSONS, FOLDER / "choosing.ipynb"] if path.stem.startswith(lesson))
    prose: list[str] = []
    code: list[str] = []
    inside = False
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            code += [cell.source] if inside else []
            continue
        parts = re.split(r"^## (.*)$", cell.source, flags=re.MULTILINE)
        prose += [parts[0]] if inside else []
        for title, text in zip(parts[1::2], parts[2::2], strict=True):
            inside = title.startswith(heading)
            prose += [text] if inside else []
    return flat("\n".join(prose)), code


@pytest.mark.parametrize("claim", TABLE, ids=lambda claim: claim["says"][:50])
def test_a_claim_is_answered_where_the_table_says(claim):
    prose, code = section(claim["lesson"], claim["section"])
    assert prose, f"lesson {claim['lesson']} has no section {claim['section']!r}"
    assert flat(claim["shown"]).lower() in prose.lower()
    if "cell" in claim:
        assert sum(claim["cell"] in source for source in code) >= 1, f"no cell has {claim['cell']!r}"


def test_the_table_is_complete():
    assert set(Counter(claim["verdict"] for claim in TABLE)) == {"holds", "partly", "wrong"}
    says = [claim["says"] for claim in TABLE]
    assert len(says) == len(set(says)) >= 50
    assert all(set(claim) <= {"says", "verdict", "lesson", "section", "shown", "cell"} for claim in TABLE)
    computed = [claim for claim in TABLE if "cell" in claim]
    assert len(computed) >= 0.8 * len(TABLE), "most claims are measured or computed, not only talked about"

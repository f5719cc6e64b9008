"""Patterns for names of modules, against Python's own; and against those who write patterns to keep a matcher busy."""

from __future__ import annotations

import random
import re
import warnings

import pytest

from qviz.checkpoints.packed.patterns import Pattern
from qviz.errors import CheckpointError

REAL = [
    r".*\.(?:1[0-5])\..*",
    r".*self_attn\.(q|k|v)_proj$",
    r"model\.layers\.\d+\.mlp\.[^.]+",
    r"^(?!.*lm_head).*_proj",
    r".*(gate|up)_proj.*",
    "lm_head",
]
NAMES = [
    "lm_head",
    "model.layers.10.self_attn.q_proj",
    "model.layers.1.mlp.up_proj",
    "model.layers.15.mlp.gate_proj.lm_head",
]
PIECES = [
    "a",
    "b",
    ".",
    r"\.",
    "(a|b)",
    "[ab]",
    "[^a]",
    r"\d",
    r"\w",
    "^",
    "$",
    "(?:ab)",
    "(?!b)",
    "(?=a)",
    "1",
    "|",
    "c{2}",
]


@pytest.mark.parametrize("text", REAL)
def test_patterns_of_real_settings(text: str) -> None:
    for name in NAMES:
        assert Pattern(text).begins(name) == bool(re.match(text, name))
        assert Pattern(text).within(name) == bool(re.search(text, name))


def test_as_python_matches() -> None:
    rng = random.Random(0)
    compared = 0
    for _ in range(1500):
        text = "".join(
            rng.choice(PIECES) + rng.choice(["", "", "*", "+", "?", "{0,2}"]) for _ in range(rng.randint(1, 5))
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs = re.compile(text)
            ours = Pattern(text)
        except (re.error, CheckpointError):
            continue
        for _ in range(4):
            name = "".join(rng.choice("abc.1") for _ in range(rng.randint(0, 6)))
            assert ours.begins(name) == bool(theirs.match(name)), (text, name)
            assert ours.within(name) == bool(theirs.search(name)), (text, name)
            compared += 1
    assert compared > 2000


@pytest.mark.parametrize("text", ["(a+)+$", "(a|a)*b", "(.*)*x", "(a|aa)+$", "a*a*a*a*a*a*a*a*a*b", "(?:a?){30}a{30}b"])
def test_no_name_takes_for_ever(text: str) -> None:
    assert not Pattern(text).begins("a" * 900 + "!")


@pytest.mark.parametrize(
    "text",
    ["(", ")", "[", "a**", r"(a)\1", "(?<=a)b", "(?i)a", "*a", "a{2,1}", "a" * 2000, "(" * 60, "((a{0}){3999}){3999}"],
)
def test_what_is_not_followed(text: str) -> None:
    with pytest.raises(CheckpointError, match="is not understood"):
        Pattern(text)

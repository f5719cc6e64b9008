"""Names on download pages: method, bits, size, read from a file's name."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from qviz import formats, recipes
from qviz.errors import RecipeError
from qviz.grids.affine import AffineGrid


@dataclass(frozen=True)
class Download:
    """What a name on a download page says.

    Attributes
    ----------
    name : str
    kind : str
        Container and method.
    bits : float
        Bits of a code.
    bpw : float
        Bits per weight at 7B, everything counted; NaN if the name does not say enough.
    runs_on : str
    lesson : str
        Where it is taught.
    """

    name: str
    kind: str
    bits: float
    bpw: float
    runs_on: str
    lesson: str


def read_name(name: str, model: str = "llama-7b") -> Download:
    """Read a format's name as download pages write it.

    Parameters
    ----------
    name : str
        Such as ``"Q4_K_M"``, ``"IQ4_XS"``, ``"AWQ-4bit-g128"``, ``"GPTQ-Int4"``.
    model : str
        Whose bits per weight are computed.

    Returns
    -------
    Download

    Raises
    ------
    RecipeError
        A name that follows none of the patterns.

    Examples
    --------
    >>> read_name("Q4_K_M").kind, round(read_name("Q4_K_M").bpw, 2)
    ('GGUF recipe', 4.84)
    >>> read_name("AWQ-4bit-g128").bpw, read_name("GPTQ-Int4").bpw
    (4.15625, nan)
    """
    key = name.strip()
    upper = key.upper().replace("-", "_")
    if upper in recipes.RECIPES:
        base = formats.get(recipes.RECIPES[upper].base)
        digits = re.search(r"\d+", base.name)
        bits = float(digits[0]) if digits else math.nan
        plan = recipes.model_plan(model, upper)
        bpw = 8 * sum(c.nbytes for c in plan) / sum(c.n_weights for c in plan)
        lesson = "05" if "_K" in base.name else "03" if base.name.startswith(("IQ", "MX")) else "04"
        return Download(key, "GGUF recipe", bits, bpw, "CPU and GPU: llama.cpp and its relatives", lesson)
    match = re.fullmatch(r"(AWQ|GPTQ)[-_ ]?(?:INT)?(\d)(?:[-_ ]?BITS?)?(?:[-_ ]?G(\d+))?", key.upper())
    if match is None:
        raise RecipeError(
            f"cannot read {name!r}; names are like Q4_K_M, IQ4_XS, AWQ-4bit-g128, GPTQ-Int4 (no model in them)"
        )
    method, bits_text, group = match.groups()
    bpw = AffineGrid(int(bits_text), int(group)).bpw((4096, 4096)) if group else math.nan
    lesson = {"AWQ": "08", "GPTQ": "07"}[method]
    return Download(key, f"safetensors, {method}", float(bits_text), bpw, "mostly GPU: vLLM, Transformers", lesson)

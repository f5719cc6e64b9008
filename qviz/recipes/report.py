"""A plan for the eyes, and as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from qviz.recipes.plan import TensorChoice


def lines(choices: Sequence[TensorChoice]) -> Iterator[str]:
    """A plan as aligned columns: every tensor, what becomes of it, and why; then the sums.

    Examples
    --------
    >>> from qviz.recipes import model_plan
    >>> table = list(lines(model_plan("smollm2-135m", "Q4_0")))
    >>> print(table[-1])
    269,100,288 bytes (16.00 bits per weight) become 89,941,248 (5.35 bits per weight)
    """
    rows = [("tensor", "shape", "format", "bytes")]
    reasons = ["why"]
    for choice in choices:
        arrow = "=" if choice.format is choice.source else "→"
        shape = " × ".join(map(str, choice.shape))
        rows.append((choice.name, shape, f"{choice.source} {arrow} {choice.format}", f"{choice.nbytes:,}"))
        reasons.append(choice.reason)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row, reason in zip(rows, reasons, strict=True):
        *left, nbytes = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        yield "  ".join([*left, nbytes.strip().rjust(widths[-1]), reason]).rstrip()
    yield ""
    fallbacks = sum(choice.fallback_from is not None for choice in choices)
    if fallbacks:
        yield f"{fallbacks} of {len(choices)} tensors fall back to another format: their rows are not whole blocks"
    yield (
        f"{_sum(choices, 'source_nbytes'):,} bytes ({_bpw(choices, 'source_nbytes')} bits per weight) become "
        f"{_sum(choices, 'nbytes'):,} ({_bpw(choices, 'nbytes')} bits per weight)"
    )


def as_dict(choices: Sequence[TensorChoice]) -> dict[str, Any]:
    """A plan as JSON can hold it."""
    return {
        "source_bytes": _sum(choices, "source_nbytes"),
        "bytes": _sum(choices, "nbytes"),
        "weights": _sum(choices, "n_weights"),
        "bpw": 8 * _sum(choices, "nbytes") / max(_sum(choices, "n_weights"), 1),
        "tensors": [
            {
                "name": choice.name,
                "shape": choice.shape,
                "role": choice.role,
                "source": choice.source.name,
                "format": choice.format.name,
                "bytes": choice.nbytes,
                "fallback_from": None if choice.fallback_from is None else choice.fallback_from.name,
                "needs_imatrix": choice.needs_imatrix,
                "switch": choice.switch,
                "reason": choice.reason,
            }
            for choice in choices
        ],
    }


def _sum(choices: Sequence[TensorChoice], what: str) -> int:
    return sum(getattr(choice, what) for choice in choices)


def _bpw(choices: Sequence[TensorChoice], what: str) -> str:
    return f"{8 * _sum(choices, what) / max(_sum(choices, 'n_weights'), 1):.2f}"

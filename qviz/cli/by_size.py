"""``qviz quantize IN OUT --size`` or ``--bpw``: the file of least damage of at most a size."""

from __future__ import annotations

from collections import Counter
from typing import Any

from qviz.cli.by_method import reading_of, with_bar
from qviz.cli.names import file_of
from qviz.cli.terminal import echo, echo_json
from qviz.whole.best import best_file


def by_size(source: str, target: str, given: dict[str, Any], *, allow_requantize: bool, as_json: bool) -> None:
    """Measure, choose, round, write, and say what it costs."""
    reading = reading_of(given, tokens=None)
    made = with_bar(
        lambda progress: best_file(
            file_of(source),
            target,
            size=given.get("size"),
            bpw=given.get("bpw"),
            allow_requantize=allow_requantize,
            progress=progress,
            **reading,
        )
    )
    if as_json:
        numbers = {"bytes": made.nbytes, "bpw": made.bpw, "predicted_kld": made.predicted, "kld": made.measured}
        echo_json({"path": str(made.path), **numbers, "seconds": made.seconds, "formats": made.formats})
        return
    counts = ", ".join(f"{n} × {name}" for name, n in Counter(made.formats.values()).most_common())
    echo(f"{made.nbytes:,} bytes, {made.bpw:.3f} bits per weight: {counts}")
    measured = "no text was left to measure on" if made.measured is None else f"{made.measured:.5f} measured"
    echo(f"KL divergence from the source: {made.predicted:.5f} predicted before rounding, {measured}")

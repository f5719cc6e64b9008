"""Compile every kernel that the course can reach, into Numba's cache on disk.

    python binder/warm.py            fill the cache
    python binder/warm.py --check    fail if there is still something to compile

Runs the lessons, then turns every control of every explorer through all its values, as a curious student would.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from nbclient import NotebookClient

import qviz
from qviz._machine.kernels import Kernel
from qviz.widgets import BitsExplorer, BlockExplorer, TensorExplorer

LESSONS = Path(__file__).resolve().parents[1] / "notebooks"


def values(control: Any) -> Iterator[Any]:
    """Every value that a control can be set to; of a long range only the first and the last few."""
    if hasattr(control, "options"):
        yield from (option[1] if isinstance(option, tuple) else option for option in control.options)
    elif hasattr(control, "min"):
        low, high = int(control.min), int(control.max)
        yield from sorted({*range(low, min(low + 16, high + 1)), high})
    elif isinstance(getattr(control, "value", None), bool):
        yield from (True, False)


def turn_every_knob() -> None:
    model = qviz.load("smollm2", fallback=True)
    for explorer in (BitsExplorer(model), TensorExplorer(model), BlockExplorer(model)):
        for control in explorer.controls.values():
            before = getattr(control, "value", None)
            for value in values(control):
                control.value = value
            if before is not None:
                control.value = before


def library() -> None:
    """What a student's own cells may call first: every format and grid, both ways, and the metrics."""
    x = np.random.default_rng(0).standard_normal((64, 1024)).astype(np.float32)
    for fmt in qviz.formats.FORMATS.values():
        if fmt.can_encode:
            tensor = qviz.quantize(x, fmt)
            qviz.metrics.compare(x, tensor.dequantize())
            if not fmt.is_float:
                tensor.unpack()
    for bits in (4, 12):
        for sym in (False, True):
            grid = qviz.AffineGrid(bits, 32, sym)
            tensor = grid.quantize(x)
            grid.fake_quantize(x, params=(tensor.scale, tensor.zero_point))
            qviz.metrics.error_histogram(x, tensor)
            qviz.metrics.code_histogram(tensor.codes, grid.qmin, grid.qmax)


def model() -> None:
    """The forward pass: both products of every format, every kind of KV cache, what an evaluation calls."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 256)).astype(np.float32)
    for fmt in qviz.formats.FORMATS.values():
        if fmt.can_decode and fmt.name not in ("Q8_1", "Q8_K"):
            weight = qviz.QTensor.from_bytes(fmt, bytes(64 * fmt.row_size(256)), (64, 256))
            for activations in ("int8", "float"):
                linear = qviz.transformer.linear.Linear(weight, activations=activations)
                linear(x[:1])
                linear(x)
    tiny = qviz.transformer.Transformer(qviz.load("tiny"))
    for kind in ("F32", "F16", "Q8_0", "Q4_0"):
        cache = tiny.new_cache(16, kind)
        tiny.logits([1, 2, 3], cache)
        tiny.logits([4], cache)
    qviz.perplexity(tiny, qviz.models.heldout_text()[:4000], tiny, max_tokens=127)


def methods() -> None:
    """Every method on every kind of grid."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((32, 256)).astype(np.float32)
    stats = qviz.ActivationStats.from_inputs(rng.standard_normal((512, 256)).astype(np.float32))
    for sym in (False, True):
        for group_size in (64, -1):
            grid = qviz.AffineGrid(4, group_size, sym)
            qviz.rtn(weight, stats, grid)
            for trace in (False, True):
                qviz.gptq(weight, stats, grid, act_order=True, trace=trace)
                qviz.awq(weight, stats, grid, clip=True, trace=trace)
            qviz.methods.recommended(weight, stats, grid)
            qviz.methods.smoothquant(weight, stats, grid)
            if not sym:
                qviz.methods.hqq(weight, stats, grid)
    for name in ("Q4_0", "Q4_K", "Q2_K"):
        qviz.methods.gptq_format(weight, stats, name)


def compiled() -> tuple[int, int]:
    """How many signatures came from the cache, and how many had to be compiled."""
    kernels = [
        value
        for name, module in list(sys.modules.items())
        if name.startswith("qviz")
        for value in vars(module).values()
        if isinstance(value, Kernel) and "compiled" in vars(value)
    ]
    stats = [kernel.compiled.stats for kernel in {id(k): k for k in kernels}.values()]
    return sum(sum(s.cache_hits.values()) for s in stats), sum(sum(s.cache_misses.values()) for s in stats)


def main() -> None:
    start = time.perf_counter()
    if "--check" not in sys.argv[1:]:
        for lesson in sorted(LESSONS.glob("[0-9]*.ipynb")):
            NotebookClient(
                nbformat.read(lesson, 4), timeout=600, resources={"metadata": {"path": str(LESSONS)}}
            ).execute()
    turn_every_knob()
    library()
    model()
    methods()
    hits, misses = compiled()
    print(f"kernels: {hits} from the cache, {misses} compiled, {time.perf_counter() - start:.1f} s")
    if "--check" in sys.argv[1:] and misses:
        sys.exit("some kernels were not in the cache")


if __name__ == "__main__":
    main()

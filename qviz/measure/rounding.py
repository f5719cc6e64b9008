"""What it costs to quantize one matrix: time, and memory beyond the matrix itself.

Seconds differ from run to run and from machine to machine. Memory is the most at one time that Python's own accounting
(`tracemalloc`) sees, NumPy's arrays included.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy.typing as npt

from qviz import methods
from qviz._arrays import whole_number
from qviz.calibration import ActivationStats
from qviz.errors import MethodError, shortened
from qviz.formats import FORMATS, quantize
from qviz.grids import AffineGrid

_METHODS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "rtn": methods.rtn,
        "awq": methods.awq,
        "awq+clip": partial(methods.awq, clip=True),
        "gptq": methods.gptq,
    }
)
_STATISTICS = "statistics of the inputs"


@dataclass(frozen=True)
class RoundingCost:
    """What one step of quantizing a matrix took.

    Attributes
    ----------
    what : str
        ``"statistics of the inputs"``, a format, or a method.
    seconds : float
        The least of several runs.
    nbytes : int
        Most memory in use at one time beyond what was there before, in bytes.
    """

    what: str
    seconds: float
    nbytes: int


def measure_rounding(
    weight: npt.ArrayLike,
    inputs: npt.ArrayLike,
    names: Sequence[str] = ("Q4_K", "rtn", "awq", "awq+clip", "gptq"),
    grid: AffineGrid | None = None,
    repeats: int = 3,
) -> list[RoundingCost]:
    """Quantize one matrix in several ways, and say how long each takes and how much memory it needs.

    Parameters
    ----------
    weight : array_like of shape (n_out, n_in)
    inputs : array_like of shape (n_tokens, n_in)
        What the layer receives on a text for calibration.
    names : sequence of str
        Formats, such as ``"Q4_K"``, and methods: ``"rtn"``, ``"awq"``, ``"awq+clip"``, ``"gptq"``.
    grid : AffineGrid, optional
        What the methods round onto: 4 bits in groups of 128 unless given.
    repeats : int
        Timed runs of each, after one that compiles and one that is watched for memory.

    Returns
    -------
    list of RoundingCost
        First the statistics of the inputs, which AWQ and GPTQ need, then one for each of `names`.

    Raises
    ------
    MethodError
        No such format or method, or no run at all.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> found = measure_rounding(rng.standard_normal((8, 256)), rng.standard_normal((300, 256)), ["Q4_K", "gptq"])
    >>> [cost.what for cost in found]
    ['statistics of the inputs', 'Q4_K', 'gptq']
    """
    repeats = whole_number(repeats, "repeats", MethodError, least=1, most=100_000)
    if isinstance(names, str) or not isinstance(names, list | tuple):
        raise MethodError(f"names are {shortened(names)}; a list of formats and methods is wanted")
    if unknown := [name for name in names if name not in _METHODS and name not in FORMATS]:
        known = ", ".join(_METHODS)
        raise MethodError(f"no format or method {shortened(unknown[0])}; give a format's name or one of {known}")
    grid = AffineGrid(bits=4, group_size=128) if grid is None else grid
    stats = ActivationStats.from_inputs(inputs)
    steps: dict[str, Callable[[], Any]] = {_STATISTICS: partial(ActivationStats.from_inputs, inputs)}
    for name in names:
        method = _METHODS.get(name)
        steps[name] = partial(quantize, weight, name) if method is None else partial(method, weight, stats, grid)
    return [RoundingCost(what, *_cost(step, repeats)) for what, step in steps.items()]


def _cost(step: Callable[[], Any], repeats: int) -> tuple[float, int]:
    """Least seconds, and most bytes in use at one time."""
    step()  # compiles, and is neither timed nor weighed
    tracemalloc.start()
    try:
        step()
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return min(seconds), most

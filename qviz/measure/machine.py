"""How fast this machine reads and multiplies, how fast each format is on it, and what limits it.

A product of a matrix and one token reads every weight once and does two operations with it, a multiplication and an
addition. So a format with b bits per weight does ``2 / (b / 8)`` operations with every byte: its *arithmetic
intensity*. A machine that reads B bytes and does P operations per second cannot do more than ``min(P, B · intensity)``:
the *roofline*.

What is timed here differs from run to run and from machine to machine; every unit is written beside its number. Source:
S. Williams, A. Waterman, D. Patterson, "Roofline: an insightful visual performance model for multicore architectures",
Communications of the ACM 52(4), 2009.
"""

from __future__ import annotations

import heapq
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from qviz._arguments import reporter
from qviz._arrays import finite_number, whole_number
from qviz._machine.kernels import f32, half_bits, i32, kernel, loose_kernel, simd
from qviz._machine.team import cores, in_parallel
from qviz._types import Progress
from qviz.errors import FormatError, NotEncodableError, QvizError, ShapeError
from qviz.formats import get, quantize
from qviz.formats.base import Format, QTensor
from qviz.recipes import get_shapes
from qviz.transformer.linear import Activations, Linear, multiply_one

_MOST_WIDE, _MOST_NUMBERS = 1 << 24, 1 << 32  # of a side, and of a matrix
_MOST_SECONDS = 3600.0
_MOST_MEGABYTES = 1 << 16
_OPERATIONS = 2  # with each weight: a multiplication and an addition
_BEYOND_CACHE = 128 << 20  # bytes of weights that are read in turn, so that no cache holds the next ones
_FORMATS = ("F32", "F16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0", "IQ4_XS", "Q3_K", "Q2_K", "TQ1_0")


# -- the machine


@dataclass(frozen=True)
class Machine:
    """What a machine can do at best, measured.

    Attributes
    ----------
    bandwidth : float
        Bytes that are read from memory per second.
    float_peak, integer_peak : float
        Operations per second in dot products that stay in the first-level cache: float32, and int8 or 4-bit codes
        with int8. A multiplication is one operation, an addition another.
    threads : int
        Cores that worked.
    nbytes : int
        What was read to find the bandwidth.
    """

    bandwidth: float
    float_peak: float
    integer_peak: float
    threads: int
    nbytes: int

    @property
    def peaks(self) -> Mapping[str, float]:
        """The flat parts of the roof, by name."""
        return MappingProxyType({"integers": self.integer_peak, "float32": self.float_peak})

    @property
    def ridges(self) -> Mapping[str, float]:
        """Where the roof becomes flat: operations per byte from which on memory no longer limits."""
        return MappingProxyType({name: peak / self.bandwidth for name, peak in self.peaks.items()})

    def bound(self, intensity: float, kind: str = "integers") -> float:
        """The roof, in operations per second, over `intensity` operations per byte.

        Examples
        --------
        >>> m = Machine(bandwidth=10e9, float_peak=100e9, integer_peak=200e9, threads=1, nbytes=1)
        >>> m.bound(4) / 1e9, m.bound(100) / 1e9
        (40.0, 200.0)
        """
        return min(self.peaks[kind], self.bandwidth * intensity)


@kernel
def _read(words, sums, at):
    """Add up uint64 words: there is no cheaper way to have read them."""
    total = np.uint64(0)
    for i in range(words.size):
        total += words[i]
    sums[at] = total


@loose_kernel
def _float_dots(rows, x, out, times):
    """Dot products of float32 rows, again and again."""
    for k in range(times):
        row = rows[k % rows.shape[0]]
        total = f32(0)
        for i in range(x.size):
            total += row[i] * x[i]
        out[k % out.size] += total


@kernel
def _byte_dots(rows, codes, out, times):
    """Int8 times int8, 32 at a time, into eight int32."""
    one = half_bits(f32(1))
    for k in range(times):
        row = rows[k % rows.shape[0]]
        words = simd.dot_bytes(row[0], codes, 0)
        for j in range(1, row.shape[0]):
            words = simd.less(simd.dot_bytes(row[j], codes, 32 * j), words, i32(0))
        out[k % out.size] += simd.total(simd.add_scaled(simd.no_floats(), words, one, f32(1)))


@kernel
def _nibble_dots(rows, codes, out, times):
    """Codes 0 … 15, two a byte, times int8."""
    one = half_bits(f32(1))
    for k in range(times):
        row = rows[k % rows.shape[0]]
        words = simd.dot_nibbles(row[0], codes, 0)
        for j in range(1, row.shape[0]):
            words = simd.less(simd.dot_nibbles(row[j], codes, 32 * j), words, i32(0))
        out[k % out.size] += simd.total(simd.add_scaled(simd.no_floats(), words, one, f32(1)))


def measure_machine(*, megabytes: int = 192, seconds: float = 0.4, progress: Progress | None = None) -> Machine:
    """Measure the two numbers that the roofline is made of.

    Parameters
    ----------
    megabytes : int
        How much to read (MiB): several times the largest cache, or it is the cache that is measured.
    seconds : float
        For each of four measurements, of which the best repetition counts: a roof is what cannot be exceeded.
    progress : callable, optional
        Called with what is measured, pieces done, and pieces in all.

    Returns
    -------
    Machine
    """
    rng = np.random.default_rng(0)
    threads = cores()
    megabytes = whole_number(megabytes, "megabytes", QvizError, least=1, most=_MOST_MEGABYTES)
    seconds = finite_number(seconds, "seconds", QvizError, above=0, most=_MOST_SECONDS)
    words = np.ones(megabytes << 17, np.uint64)  # written, so that every page is there
    sums = np.zeros(8 * threads, np.uint64)
    share = words.size // threads

    def read() -> None:
        in_parallel(threads, lambda a, b: _each(a, b, lambda t: _read(words[share * t :][:share], sums, 8 * t)), 1)

    floats = rng.standard_normal((4, 1024), np.float32), rng.standard_normal(1024, np.float32)
    codes = rng.integers(-127, 128, 1024, np.int8)
    rows = rng.integers(-127, 128, (4, 32, 32), np.int8)
    packed = rng.integers(0, 256, (4, 32, 16), np.uint8)
    times = 20_000  # some milliseconds: waking the other cores takes a tenth of one
    work: dict[str, tuple[Callable[[], object], float]] = {
        "reading memory": (read, float(8 * share * threads)),
        "float32": (_on_all(threads, _float_dots, *floats, times), _OPERATIONS * 1024.0 * times * threads),
        "int8 × int8": (_on_all(threads, _byte_dots, rows, codes, times), _OPERATIONS * 1024.0 * times * threads),
        "4 bits × int8": (_on_all(threads, _nibble_dots, packed, codes, times), _OPERATIONS * 1024.0 * times * threads),
    }
    rates = []
    report = reporter(progress, QvizError)
    for done, (name, (run, amount)) in enumerate(work.items()):
        report(name, done, len(work))
        rates.append(amount / min(_times(run, seconds)))
    report("machine", len(work), len(work))
    return Machine(rates[0], rates[1], max(rates[2:]), threads, words.nbytes)


def _each(a: int, b: int, work: Callable[[int], object]) -> None:
    for t in range(a, b):
        work(t)


def _on_all(threads: int, work: Any, rows: Any, x: Any, times: int) -> Callable[[], object]:
    outs = np.zeros((threads, 64), np.float32)
    return lambda: in_parallel(threads, lambda a, b: _each(a, b, lambda t: work(rows, x, outs[t], times)), 1)


def _times(run: Callable[[], object], seconds: float, least: int = 3) -> list[float]:
    """Seconds of each repetition, after one that warms up (and compiles).

    Where the three fastest differ, other programs were at work: then it goes on, up to ten times as long.
    """
    run()
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < least or (spent := time.perf_counter() - begun) < seconds or not _agree(times, spent / seconds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


def _agree(times: list[float], spent: float) -> bool:
    """Whether the three fastest are within a tenth of each other, or ten times the time that was given is spent."""
    fastest = heapq.nsmallest(3, times)
    return spent >= 10 or fastest[-1] <= 1.1 * fastest[0]


# -- the formats


@dataclass(frozen=True)
class FormatSpeed:
    """How fast a matrix in one format multiplies.

    Attributes
    ----------
    format : str
    shape : (int, int)
        The matrix: outputs, inputs.
    tokens : int
        Columns of activations that it met in each product.
    nbytes : int
        Size of the matrix.
    seconds : float
        Time of a product: the median.
    fastest, slowest : float
        Seconds of the best product and of the worst.
    repeats : int
        Products timed.
    """

    format: str
    shape: tuple[int, int]
    tokens: int
    nbytes: int
    seconds: float
    fastest: float
    slowest: float
    repeats: int

    @property
    def bpw(self) -> float:
        """Bits per weight."""
        return 8 * self.nbytes / (self.shape[0] * self.shape[1])

    @property
    def intensity(self) -> float:
        """Operations for each byte of the matrix."""
        return intensity(self.bpw, self.tokens)

    @property
    def operations(self) -> float:
        """Operations per second: multiplications and additions of the product, nothing else counted."""
        return _OPERATIONS * self.shape[0] * self.shape[1] * self.tokens / self.seconds

    @property
    def bandwidth(self) -> float:
        """Bytes of weights per second."""
        return self.nbytes / self.seconds

    @property
    def weights(self) -> float:
        """Weights per second, each used for all tokens."""
        return self.shape[0] * self.shape[1] / self.seconds


def intensity(bpw: float, tokens: int = 1) -> float:
    """Operations per byte of a product that reads its weights once.

    Parameters
    ----------
    bpw : float
        Bits per weight.
    tokens : int
        That share what was read.

    Examples
    --------
    >>> intensity(32), intensity(4), intensity(4, tokens=8)
    (0.5, 4.0, 32.0)
    """
    bpw = finite_number(bpw, "bpw", QvizError, above=0)
    return _OPERATIONS * whole_number(tokens, "tokens", QvizError, least=1, most=1 << 62) * 8 / bpw


def measure_formats(
    formats: Sequence[str | Format] = _FORMATS,
    *,
    shape: tuple[int, int] = (4096, 4096),
    tokens: int = 1,
    seconds: float = 0.3,
    progress: Progress | None = None,
) -> tuple[FormatSpeed, ...]:
    """Time the product of a matrix and activations in several formats, the way the model runs it.

    The matrix lies in memory as often as it takes to outgrow the caches, and each product takes the next copy: as in a
    model, whose layers come one after another. Its weights are random, since no product looks at their values.

    Parameters
    ----------
    formats : sequence of str
    shape : (int, int)
        Outputs and inputs of the matrix.
    tokens : int
        Columns of activations; more than four are multiplied as a prompt is, tile by tile.
    seconds : float
        For each format; at least three products are timed.
    progress : callable, optional
        Called with a format, how many are done, and how many there are.

    Returns
    -------
    tuple of FormatSpeed
        In the order of `formats`.

    Raises
    ------
    ShapeError
        Rows that are no whole number of blocks; no outputs or no tokens.
    NotEncodableError
        A format that weights cannot be brought into here.
    """
    sizes = {"outputs": shape[0], "inputs": shape[1], "tokens": tokens}
    rows, columns, tokens = (whole_number(n, k, ShapeError, least=1, most=_MOST_WIDE) for k, n in sizes.items())
    if max(rows, tokens) * columns > _MOST_NUMBERS:
        raise ShapeError(f"a matrix {rows} × {columns} for {tokens} tokens is larger than what is timed here")
    seconds = finite_number(seconds, "seconds", QvizError, above=0, most=_MOST_SECONDS)
    chosen = [get(name) for name in formats]
    for fmt in chosen:
        fmt.row_size(columns)  # raises
        if not fmt.can_encode:
            raise NotEncodableError(f"{fmt} can be read but not written here; choose others, such as Q4_K or IQ4_XS")
    rng = np.random.default_rng(0)
    few = min(rows, 32)
    weights = rng.standard_normal((few, columns), np.float32) / np.float32(np.sqrt(columns))
    x = rng.standard_normal((tokens, columns), np.float32)
    speeds = []
    report = reporter(progress, QvizError)
    for done, fmt in enumerate(chosen):
        report(fmt.name, done, len(chosen))
        copies = _copies(quantize(weights, fmt), rows)
        times = _times(_turns(copies, x), seconds)
        nbytes = copies[0].weight.blocks.nbytes
        span = statistics.median(times), min(times), max(times)
        speeds.append(FormatSpeed(fmt.name, (rows, columns), tokens, nbytes, *span, len(times)))
        del copies  # or they would stay while the next format's are made
    report("formats", len(chosen), len(chosen))
    return tuple(speeds)


def _copies(few: QTensor, rows: int) -> list[Linear]:
    """Matrices of `rows` rows that together are larger than any cache."""
    columns, width = few.shape[-1], few.blocks.shape[-1]
    n = max(2, -(-_BEYOND_CACHE // (rows * few.format.row_size(columns))))
    blocks = np.empty((n * rows, width), few.blocks.dtype)
    for start in range(0, n * rows, len(few.blocks)):
        part = blocks[start : start + len(few.blocks)]
        part[:] = few.blocks[: len(part)]
    return [Linear(QTensor(few.format, blocks[rows * k : rows * (k + 1)], (rows, columns))) for k in range(n)]


def _turns(copies: list[Linear], x: Any) -> Callable[[], object]:
    """A product with the next copy each time."""
    at = 0
    token, out = Activations(x), np.empty(copies[0].n_out, np.float32)

    def run() -> None:
        nonlocal at
        at = (at + 1) % len(copies)
        if len(x) == 1:
            multiply_one(token, (copies[at],), (out,))
        else:
            copies[at](token)

    return run


def surprises(speeds: Sequence[FormatSpeed], margin: float = 0.05) -> list[tuple[FormatSpeed, FormatSpeed]]:
    """Pairs of a format and one that is larger, yet faster: the smaller one does not earn its keep in speed.

    Parameters
    ----------
    speeds : sequence of FormatSpeed
    margin : float
        By how much the smaller one must be slower: less is within the noise of most machines.

    Returns
    -------
    list of (FormatSpeed, FormatSpeed)
        The smaller, slower one first, beside the fastest of those that are larger.
    """
    pairs = []
    for one in speeds:
        better = [other for other in speeds if other.nbytes > one.nbytes and other.seconds * (1 + margin) < one.seconds]
        if better:
            pairs.append((one, min(better, key=lambda other: other.seconds)))
    return pairs


# -- a model


@dataclass(frozen=True)
class Traffic:
    """What a model reads from memory to write one token.

    Attributes
    ----------
    model, format : str
    context : int
        Tokens before this one.
    weights : int
        Weights that are used: all but the rows of the embedding that are not looked up.
    weight_bytes : int
    cache_bytes : int
        Their keys and values, in float16.
    """

    model: str
    format: str
    context: int
    weights: int
    weight_bytes: int
    cache_bytes: int

    @property
    def nbytes(self) -> int:
        """Everything."""
        return self.weight_bytes + self.cache_bytes

    @property
    def intensity(self) -> float:
        """Operations for each byte of the weights."""
        return _OPERATIONS * self.weights / self.weight_bytes

    def bound(self, bandwidth: float) -> float:
        """The most tokens per second that a memory of `bandwidth` bytes per second allows.

        Examples
        --------
        >>> round(token_traffic("llama-7b", "Q4_0").bound(50e9), 1)
        13.4
        """
        return bandwidth / self.nbytes


def token_traffic(model: str, format: str | Format, context: int = 0) -> Traffic:
    """Bytes read for one token, every matrix in one format.

    Parameters
    ----------
    model : str
        ``"llama-7b"`` ...; see `qviz.recipes.MODEL_SHAPES`. Of a mixture of experts, all experts are counted.
    format : str
    context : int
        Tokens before this one, whose keys and values are read.

    Returns
    -------
    Traffic

    Raises
    ------
    ShapeError
        A row of the model is no whole number of the format's blocks.

    Examples
    --------
    >>> token_traffic("llama-7b", "Q4_0").nbytes
    3717548288
    """
    shapes, fmt = get_shapes(model), get(format)
    context = whole_number(context, "context", ShapeError, least=0)
    weights = nbytes = 0
    for name, (kept, shape) in shapes.tensors().items():
        n = int(np.prod(shape))
        if name == "token_embd.weight" and not shapes.tied:
            n, shape = shape[1], (1, shape[1])  # one row of it
        weights += n
        nbytes += 4 * n if kept == "F32" else n // shape[-1] * fmt.row_size(shape[-1])
    cache = 2 * shapes.layers * shapes.kv_width * context * 2
    return Traffic(shapes.name, fmt.name, context, weights, nbytes, cache)


# -- energy: a model, not a measurement


@dataclass(frozen=True)
class EnergyModel:
    """Picojoules for each thing that a product does.

    Attributes
    ----------
    memory : (float, float)
        For a byte from DRAM: least and most.
    operations : mapping of str to (float, float)
        For a multiplication, and for an addition to the sum.
    source : str
    """

    memory: tuple[float, float]
    operations: Mapping[str, tuple[float, float]]
    source: str

    def weight(self, bpw: float, operation: str) -> tuple[float, float, float]:
        """Picojoules that one weight costs: its bits from memory (least, most), and its product.

        Parameters
        ----------
        bpw : float
            Bits per weight.
        operation : {"int8", "float16", "float32"}
            What it is multiplied in.

        Examples
        --------
        >>> [round(pj, 2) for pj in ENERGY_45NM.weight(32, "float32")]
        [650.0, 1300.0, 4.6]
        """
        if operation not in self.operations:
            raise FormatError(f"no energy of {operation!r} operations; there are {', '.join(self.operations)}")
        low, high = (bpw / 8 * pj for pj in self.memory)
        return low, high, sum(self.operations[operation])


ENERGY_45NM = EnergyModel(
    memory=(1300 / 8, 2600 / 8),  # 1.3 … 2.6 nJ for 64 bits
    operations=MappingProxyType({"int8": (0.2, 0.1), "float16": (1.1, 0.4), "float32": (3.7, 0.9)}),
    source=(
        "M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014, fig. 1.1.9: 45 nm, 0.9 V. "
        "int8 products are added as 32-bit integers"
    ),
)
"""The table that is quoted everywhere. It is of 2014; technology has moved, memory less than arithmetic."""

"""A matrix times activations, straight from quantized blocks.

Two ways to the same product, as in ggml:

- **few tokens** (generation): activations are rounded to int8, blocks of codes meet them in integer dot products, and
  scales come in once a block. The matrix is read once, in the form it has in the file: this is what makes fewer bytes
  faster.
- **many tokens** (a prompt, a perplexity run): each tile of the matrix is decoded into the cache once, and shared by
  all tokens in a float product (BLAS) with the *rounded* activations, so that the numbers are those of the integer
  product up to the order of a float sum.

``activations="float"`` leaves activations as they are, for comparison.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._blas import on_one_thread
from qviz._numba import (
    bits_float,
    f32,
    float_bits,
    half_bits,
    half_float,
    i8,
    i32,
    kernel,
    loose_kernel,
    specialise,
    u32,
)
from qviz.errors import LlamaError
from qviz.formats.base import Format, QTensor

FloatArray = npt.NDArray[np.float32]

_TILE = 1 << 20  # weights decoded at a time: 4 MB, within a second- or third-level cache
_FEW = 4  # up to so many tokens go one by one through the integer product
_THREADS = max(1, min(os.cpu_count() or 1, 4))


class _Helper:
    """A thread that waits for one piece of work at a time: two locks, a third of what a future costs to hand over."""

    def __init__(self) -> None:
        self._start, self._done = threading.Lock(), threading.Lock()
        self._start.acquire()
        self._done.acquire()
        self._work: Callable[[], object] = int
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name="qviz-llama", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._start.acquire()
            try:
                self._work()
            except BaseException as error:  # handed to whoever waits
                self._error = error
            self._work = int
            self._done.release()

    def give(self, work: Callable[[], object]) -> None:
        self._work = work
        self._start.release()

    def wait(self) -> None:
        self._done.acquire()
        error, self._error = self._error, None
        if error is not None:
            raise error


class _Team:
    """The helpers of this process; one caller has them at a time, others work alone."""

    def __init__(self) -> None:
        self.free = threading.Lock()
        self.pid = 0
        self.helpers: list[_Helper] = []

    def take(self, n: int) -> list[_Helper]:
        if self.pid != os.getpid():  # threads do not survive a fork
            self.pid, self.helpers = os.getpid(), []
        while len(self.helpers) < n:
            self.helpers.append(_Helper())
        return self.helpers[:n]


_team = _Team()


def in_parallel(n: int, work: Callable[[int, int], object], least: int = 64) -> None:
    """Call ``work(start, stop)`` on parts of ``range(n)``, one a core; kernels let go of the GIL.

    Parameters
    ----------
    n : int
    work : callable
    least : int
        Parts are no smaller than this.
    """
    parts = max(1, min(_THREADS, n // least))
    if parts == 1 or not _team.free.acquire(blocking=False):
        work(0, n)
        return
    helpers = _team.take(parts - 1)
    waiting = []
    try:
        for k, helper in enumerate(helpers, 1):
            helper.give(functools.partial(work, n * k // parts, n * (k + 1) // parts))
            waiting.append(helper)
        work(0, n // parts)
    finally:  # whatever happens here, nobody may still be writing when this returns
        try:
            for helper in waiting:
                helper.wait()
        finally:
            _team.free.release()


@kernel
def _scale(row, halved):  # type: ignore[no-untyped-def]
    """Of a few activations: what they are multiplied by to become codes −127 … 127, and what undoes it."""
    top = u32(0)  # bits of a float without its sign order as the float does, and their maximum vectorises
    for j in range(row.size):
        top = max(top, u32(float_bits(row[j]) & u32(0x7FFFFFFF)))
    largest = bits_float(top)
    if largest == f32(0):
        return f32(0), f32(0)
    inverse = f32(127) / largest
    return inverse, half_float(half_bits(largest / f32(127))) if halved else f32(1) / inverse


@kernel
def quantize_activations(x, codes, scales, sums):  # type: ignore[no-untyped-def]
    """Activations (n,) -> int8 codes, a scale for every 32 or 256 of them, and the sum of every 16 codes.

    ggml-cpu/arch/x86/quants.c: quantize_row_q8_0 (scales rounded to float16); ggml-quants.c: quantize_row_q8_K_ref,
    whose negative scale and codes are here both turned positive, which changes no product. Rounding is half to even.
    """
    width = x.size // scales.size
    for b in range(scales.size):
        row, part = x[width * b : width * b + width], codes[width * b : width * b + width]
        inverse, scales[b] = _scale(row, width == 32)
        for j in range(width):
            part[j] = i8(i32(np.rint(row[j] * inverse)))
    run = codes.size // sums.size
    for k in range(sums.size):
        total = i32(0)
        for j in range(run * k, run * k + run):
            total += i32(codes[j])
        sums[k] = total


@kernel
def _round_rows(x, width, out):  # type: ignore[no-untyped-def]
    """Activations (rows, n) after a round trip through the codes of `quantize_activations`."""
    rows, n = x.shape
    for t in range(rows):
        for b in range(n // width):
            row, part = x[t, width * b : width * b + width], out[t, width * b : width * b + width]
            inverse, scale = _scale(row, width == 32)
            for j in range(width):
                part[j] = np.rint(row[j] * inverse) * scale


@kernel
def round_to_half(x, out):  # type: ignore[no-untyped-def]
    """Float32 (rows, n) after a round trip through float16; `out` may be `x`."""
    for t in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[t, j] = half_float(half_bits(x[t, j]))


@kernel
def _integer_rows(blocks, codes, scales, sums, out):  # type: ignore[no-untyped-def]
    """Template: one fused product for every format that decodes as ``scale · code − min`` (or ``table[code]``)."""
    rows = blocks.shape[0]
    n = codes.size
    n_sub = n // _SUB
    width = n // scales.size
    run = min(_SUB, width)
    levels = np.empty((n_sub, _SUB), np.int8)
    flat = levels.reshape(n)
    w_scales, w_mins = np.empty(n_sub, np.float32), np.empty(n_sub, np.float32)
    for r in range(rows):
        _unpack(blocks[r], levels, w_scales, w_mins)
        _look_up(levels)
        total = f32(0)
        for start in range(0, n, run):  # a run shares its weights' scale and its activations' scale
            dot, both = i32(0), i32(0)
            for j in range(start, start + run):
                dot += i32(flat[j]) * i32(codes[j])
            for j in range(start // 16, (start + run) // 16):
                both += sums[j]
            s, d = start // _SUB, scales[start // width]
            total += w_scales[s] * d * f32(dot) - w_mins[s] * d * f32(both)
        out[r] = total


@loose_kernel
def _float_rows(blocks, x, out):  # type: ignore[no-untyped-def]
    """Template: each row is decoded into the cache, then multiplied."""
    for r in range(blocks.shape[0]):
        row = np.empty((x.size // _SUB, _SUB), np.float32)
        flat = row.reshape(x.size)
        _decode(blocks[r], row)
        total = f32(0)
        for i in range(x.size):
            total += flat[i] * x[i]
        out[r] = total


@loose_kernel
def _float_format_rows(blocks, x, out):  # type: ignore[no-untyped-def]
    """Template: the same for F32, F16, BF16, whose weights stand alone."""
    row = np.empty(x.size, np.float32)
    for r in range(blocks.shape[0]):
        _decode(blocks[r], row)
        total = f32(0)
        for i in range(x.size):
            total += row[i] * x[i]
        out[r] = total


# what the templates call; `specialise` puts others behind these names
_unpack = _decode = _look_up = _scale
_SUB = 32


@cache
def integer_product(fmt: Format) -> Any:
    """``(blocks, codes, scales, sums, out)`` for `fmt`: explicit vectors where there are some, else the template."""
    from qviz.llama._dots import DOTS

    if fmt.name in DOTS:
        return DOTS[fmt.name]
    return plain_integer_product(fmt)


@cache
def plain_integer_product(fmt: Format) -> Any:
    """The readable product of `fmt`, block by block: the twin of the fast ones."""
    names = {"_unpack": fmt.unpack_blocks, "_look_up": fmt.code_lookup, "_SUB": fmt.sub_block_size}
    return specialise(_integer_rows, f"multiply_{fmt}", **names)


@cache
def float_product(fmt: Format) -> Any:
    """``(blocks, x, out)`` for `fmt`: decode each row, multiply in float32."""
    template = _float_format_rows if fmt.is_float else _float_rows
    return specialise(template, f"multiply_float_{fmt}", _decode=fmt.decoder, _SUB=fmt.sub_block_size)


_HALF = 16


def activation_width(fmt: Format) -> int:
    """How activations are rounded where they meet `fmt`, as ggml does.

    To int8 with a scale for every 256 (super-blocks) or 32 (blocks); to float16 for F16 (returned as 16); for F32 and
    BF16, 0: not at all.
    """
    if fmt.is_float:
        return _HALF if fmt == "F16" else 0
    return 256 if fmt.block_size == 256 else 32


class Activations:
    """Activations (n_tokens, n_in), and what becomes of them where they meet quantized weights: made once, then shared.

    Parameters
    ----------
    x : float32 array (n_tokens, n_in)
    """

    __slots__ = ("_codes", "_rounded", "x")

    def __init__(self, x: FloatArray) -> None:
        self.x = x
        self._codes: dict[int, tuple[Any, Any, Any]] = {}
        self._rounded: dict[int, FloatArray] = {}

    def codes(self, width: int) -> tuple[Any, Any, Any]:
        """Of a single token: codes, scales and sums for blocks of `width`."""
        if width not in self._codes:
            x = self.x.reshape(-1)
            made = np.empty(x.size, np.int8), np.empty(x.size // width, np.float32), np.empty(x.size // 16, np.int32)
            quantize_activations(x, *made)
            self._codes[width] = made
        return self._codes[width]

    def rounded(self, width: int) -> FloatArray:
        """The activations as a product sees them: after int8 codes for each `width`, or after float16 for width 16."""
        if width == 0:
            return self.x
        if width not in self._rounded:
            x, out = self.x, np.empty_like(self.x)
            if width == _HALF:
                in_parallel(len(x), lambda a, b: round_to_half(x[a:b], out[a:b]))
            else:
                in_parallel(len(x), lambda a, b: _round_rows(x[a:b], width, out[a:b]))
            self._rounded[width] = out
        return self._rounded[width]


class Linear:
    """A quantized matrix that multiplies.

    Parameters
    ----------
    weight : QTensor (n_out, n_in)
        Blocks stay where they are, such as in a memory-mapped file.
    name : str
        For error texts and `on_linear_input`.
    activations : {"int8", "float"}
        Whether activations are rounded as ggml rounds them.
    """

    def __init__(self, weight: QTensor, name: str = "weight", activations: str = "int8") -> None:
        if len(weight.shape) != 2:
            raise LlamaError(f"{name} has shape {weight.shape}; a matrix (n_out, n_in) is needed")
        if not weight.format.can_decode:
            raise LlamaError(f"{name} is {weight.format}, which cannot be decoded here; convert the model first")
        if activations not in ("int8", "float"):
            raise LlamaError(f"activations is {activations!r}; choose 'int8' or 'float'")
        self.weight, self.name = weight, name
        self.n_out, self.n_in = weight.shape
        self.width = activation_width(weight.format) if activations == "int8" else 0
        self.blocks = np.ascontiguousarray(weight.blocks).view(weight.format.kernel_dtype)
        self._parts: dict[tuple[int, int], tuple[Any, int, int]] = {}
        self._product: Any = None  # chosen with the first token; its arguments are always of the same types

    def __repr__(self) -> str:
        return f"<Linear {self.name}: {self.weight.format} {self.weight.shape}>"

    def part(self, token: Activations, out: FloatArray, share: int, shares: int) -> None:
        """One of `shares` equal parts of ``out = weight @ x`` for a single token; `out` (n_out,)."""
        if (share, shares) not in self._parts:
            edges = self.n_out * share // shares, self.n_out * (share + 1) // shares
            self._parts[share, shares] = self.blocks[edges[0] : edges[1]], *edges
        rows, start, stop = self._parts[share, shares]
        into = out[start:stop]
        given = token.codes(self.width) if self.width > _HALF else (token.rounded(self.width).reshape(-1),)
        if self._product is None:
            product = integer_product if self.width > _HALF else float_product
            self._product = product(self.weight.format).entry(rows, *given, into)
        self._product(rows, *given, into)

    def __call__(self, x: FloatArray | Activations) -> FloatArray:
        """``x @ weight.T``.

        Parameters
        ----------
        x : float32 array (n_tokens, n_in), or Activations

        Returns
        -------
        float32 array (n_tokens, n_out)
        """
        given = x if isinstance(x, Activations) else Activations(x)
        n_tokens = given.x.shape[0]
        out = np.empty((n_tokens, self.n_out), np.float32)
        if n_tokens <= _FEW:
            for t in range(n_tokens):
                multiply_one(Activations(given.x[t : t + 1]), (self,), (out[t],))
            return out
        self._many(given.rounded(self.width), out)
        return out

    @on_one_thread
    def _many(self, rounded: FloatArray, out: FloatArray) -> None:
        """``out = rounded @ weight.T``: each core decodes a part of a tile, then multiplies a part of the tokens."""
        step = max(1, _TILE // self.n_in)
        tile = _scratch.array(min(step, self.n_out), self.n_in)
        for start in range(0, self.n_out, step):
            part = self.weight.rows(start, min(start + step, self.n_out))
            weights, into = tile[: part.shape[0]], out[:, start : start + part.shape[0]]

            def decode(a: int, b: int, part: QTensor = part, weights: FloatArray = weights) -> None:
                part.rows(a, b).dequantize(weights[a:b])

            def multiply(a: int, b: int, weights: FloatArray = weights, into: FloatArray = into) -> None:
                np.matmul(rounded[a:b], weights.T, out=into[a:b])

            in_parallel(len(weights), decode)
            in_parallel(len(rounded), multiply)


def multiply_one(token: Activations, linears: Sequence[Linear], outs: Sequence[FloatArray]) -> None:
    """Several matrices times one token, each core taking a part of every one; `outs` (n_out,) are filled."""
    for linear in linears:
        token.codes(linear.width) if linear.width > _HALF else token.rounded(linear.width)
    shares = _THREADS if sum(linear.n_out * linear.n_in for linear in linears) >= _worth_sharing() else 1

    def work(first: int, stop: int) -> None:
        for share in range(first, stop):
            for linear, out in zip(linears, outs, strict=True):
                linear.part(token, out, share, shares)

    in_parallel(shares, work, least=1)


@cache
def _worth_sharing() -> float:
    """Weights below which waking another core costs more than it saves; on virtual machines that can be millions.

    A core goes through about ten weights in a nanosecond, and two of them save half of that.
    """
    spans = []
    for _ in range(20):
        begun = time.perf_counter()
        in_parallel(_THREADS, lambda first, stop: None, least=1)
        spans.append(time.perf_counter() - begun)
    return 2 * 10e9 * float(np.median(spans))


class _Scratch(threading.local):
    """Room for one decoded tile, for each thread that multiplies."""

    def __init__(self) -> None:
        self.floats = np.empty(0, np.float32)

    def array(self, rows: int, columns: int) -> FloatArray:
        if self.floats.size < rows * columns:
            self.floats = np.empty(rows * columns, np.float32)
        return self.floats[: rows * columns].reshape(rows, columns)


_scratch = _Scratch()

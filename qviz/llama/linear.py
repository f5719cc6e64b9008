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

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._numba import f32, half_bits, half_float, i8, i32, kernel, loose_kernel, specialise
from qviz.errors import LlamaError
from qviz.formats.base import Format, QTensor

FloatArray = npt.NDArray[np.float32]

_TILE = 1 << 20  # weights decoded at a time: 4 MB, within a second- or third-level cache
_FEW = 4  # up to so many tokens go one by one through the integer product
_THREADS = max(1, min(os.cpu_count() or 1, 4))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, _THREADS - 1), thread_name_prefix="qviz-llama")


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
    edges = [n * k // parts for k in range(parts + 1)]
    others = [_pool().submit(work, edges[k], edges[k + 1]) for k in range(1, parts)]
    work(edges[0], edges[1])
    for other in others:
        other.result()


@kernel
def quantize_by_32(x, codes, scales, sums):  # type: ignore[no-untyped-def]
    """Activations (n,) -> int8 codes, a float16-rounded scale for every 32, and the sum of every 16 codes.

    ggml-cpu/arch/x86/quants.c: quantize_row_q8_0, whose rounding is half to even.
    """
    for b in range(scales.size):
        top = f32(0)
        for j in range(32):
            top = max(top, abs(x[32 * b + j]))
        inverse = f32(127) / top if top > f32(0) else f32(0)
        for k in range(2):
            total = i32(0)
            for j in range(16):
                at = 32 * b + 16 * k + j
                code = i32(np.rint(x[at] * inverse))
                codes[at] = i8(code)
                total += code
            sums[2 * b + k] = total
        scales[b] = _round_half(top / f32(127))


@kernel
def quantize_by_256(x, codes, scales, sums):  # type: ignore[no-untyped-def]
    """Activations (n,) -> int8 codes and a float32 scale for every 256 (ggml-quants.c: quantize_row_q8_K_ref)."""
    for b in range(scales.size):
        top, signed = f32(0), f32(0)
        for j in range(256):
            v = x[256 * b + j]
            if abs(v) > top:
                top, signed = abs(v), v
        inverse = f32(-127) / signed if top > f32(0) else f32(0)
        for k in range(16):
            total = i32(0)
            for j in range(16):
                at = 256 * b + 16 * k + j
                code = min(i32(127), i32(np.rint(inverse * x[at])))
                codes[at] = i8(code)
                total += code
            sums[16 * b + k] = total
        scales[b] = f32(1) / inverse if top > f32(0) else f32(0)


@kernel
def _round_half(x):  # type: ignore[no-untyped-def]
    return half_float(half_bits(x))


@kernel
def _round_rows(x, codes, scales, sums, out):  # type: ignore[no-untyped-def]
    """Template: activations after a round trip through their codes."""
    rows, n = x.shape
    width = n // scales.size
    for t in range(rows):
        _quantize(x[t], codes, scales, sums)
        for b in range(scales.size):
            for j in range(width * b, width * b + width):
                out[t, j] = f32(codes[j]) * scales[b]


@kernel
def _integer_rows(blocks, codes, scales, sums, out):  # type: ignore[no-untyped-def]
    """Template: one fused product for every format that decodes as ``scale · code − min`` (or ``table[code]``)."""
    rows = blocks.shape[0]
    n = codes.size
    n_sub = n // _SUB
    width = n // scales.size
    levels = np.empty((n_sub, _SUB), np.int8)
    w_scales, w_mins = np.empty(n_sub, np.float32), np.empty(n_sub, np.float32)
    for r in range(rows):
        _unpack(blocks[r], levels, w_scales, w_mins)
        _look_up(levels)
        total = f32(0)
        for s in range(n_sub):
            dot, both = i32(0), i32(0)
            for j in range(_SUB):
                dot += i32(levels[s, j]) * i32(codes[s * _SUB + j])
            for j in range(s * _SUB // 16, (s + 1) * _SUB // 16):
                both += sums[j]
            d = scales[s * _SUB // width]
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
_quantize = quantize_by_32
_unpack = _decode = _look_up = _round_half
_SUB = 32

_round_by_32 = specialise(_round_rows, "round_by_32", _quantize=quantize_by_32)
_round_by_256 = specialise(_round_rows, "round_by_256", _quantize=quantize_by_256)


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


def activation_width(fmt: Format) -> int:
    """Activations that share a scale when they meet `fmt`: 256 for super-blocks, 32 for blocks, 0: none are rounded."""
    return 0 if fmt.is_float else 256 if fmt.block_size == 256 else 32


class Activations:
    """One token's activations, and their codes once somebody needs them."""

    __slots__ = ("_by_width", "x")

    def __init__(self, x: FloatArray) -> None:
        self.x = x
        self._by_width: dict[int, tuple[Any, Any, Any]] = {}

    def codes(self, width: int) -> tuple[Any, Any, Any]:
        """Codes, scales and sums for blocks of `width`; made once."""
        if width not in self._by_width:
            n = self.x.size
            made = np.empty(n, np.int8), np.empty(n // width, np.float32), np.empty(n // 16, np.int32)
            (quantize_by_256 if width == 256 else quantize_by_32)(self.x, *made)
            self._by_width[width] = made
        return self._by_width[width]


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
        self.blocks = weight.blocks.view(weight.format.kernel_dtype)

    def __repr__(self) -> str:
        return f"<Linear {self.name}: {self.weight.format} {self.weight.shape}>"

    def one(self, token: Activations, out: FloatArray) -> None:
        """``out = weight @ x`` for a single token; `out` (n_out,)."""
        in_parallel(self.n_out, lambda a, b: self.part(token, out, a, b), least=256)

    def part(self, token: Activations, out: FloatArray, start: int, stop: int) -> None:
        """Rows `start` to `stop` of `one`."""
        if self.width:
            integer_product(self.weight.format)(self.blocks[start:stop], *token.codes(self.width), out[start:stop])
        else:
            float_product(self.weight.format)(self.blocks[start:stop], token.x, out[start:stop])

    def __call__(self, x: FloatArray) -> FloatArray:
        """``x @ weight.T``.

        Parameters
        ----------
        x : float32 array (n_tokens, n_in)

        Returns
        -------
        float32 array (n_tokens, n_out)
        """
        out = np.empty((x.shape[0], self.n_out), np.float32)
        if x.shape[0] <= _FEW:
            for t in range(x.shape[0]):
                self.one(Activations(x[t]), out[t])
            return out
        x = self.rounded(x)
        step = max(1, _TILE // self.n_in)
        tile = _scratch(min(step, self.n_out), self.n_in)
        for start in range(0, self.n_out, step):
            part = self.weight.rows(start, min(start + step, self.n_out))
            weights = part.dequantize(tile[: part.shape[0]])
            np.matmul(x, weights.T, out=out[:, start : start + part.shape[0]])
        return out

    def rounded(self, x: FloatArray) -> FloatArray:
        """Activations as the integer product sees them: after their round trip through int8 (float16 for F16)."""
        if not self.width:
            return x.astype(np.float16).astype(np.float32) if self.weight.format == "F16" else x
        out = np.empty_like(x)
        by = _round_by_256 if self.width == 256 else _round_by_32

        def work(start: int, stop: int) -> None:
            codes, scales = np.empty(self.n_in, np.int8), np.empty(self.n_in // self.width, np.float32)
            by(x[start:stop], codes, scales, np.empty(self.n_in // 16, np.int32), out[start:stop])

        in_parallel(x.shape[0], work)
        return out


@cache
def _scratch(rows: int, columns: int) -> FloatArray:
    return np.empty((rows, columns), np.float32)

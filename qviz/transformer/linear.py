"""A matrix times activations, straight from quantized blocks.

Two ways to the same product, as in ggml:

- **few tokens** (generation): activations are rounded to int8, blocks of codes meet them in integer dot products, and
  scales come in once a block. The matrix is read once, in the form it has in the file: this is what makes fewer bytes
  faster.
- **many tokens** (a prompt, a perplexity run): a part of the matrix is laid out in the cache once, and shared by all
  tokens. Codes stay integers where the host has fast products for them (`qviz.transformer.kernels.tiles`), else they
  are decoded for a float product (BLAS) with the *rounded* activations. The numbers are those of one token up to the
  order of a sum.

``activations="float"`` leaves activations as they are, for comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._arrays import check_shape, one_of, real_array, whole_number
from qviz._machine.blas import on_one_thread
from qviz._machine.buffers import passing
from qviz._machine.kernels import f32, i32, kernel, loose_kernel, reading, specialise
from qviz._machine.team import in_parallel
from qviz._types import FloatArray
from qviz.errors import LlamaError
from qviz.formats.base import Format, QTensor
from qviz.transformer.kernels.groups import GroupFormat
from qviz.transformer.kernels.rounding import quantize_activations, round_to_codes, round_to_half
from qviz.transformer.kernels.tiles import ROWS, TOKENS, Tiled, pack_tokens, tiled

_DECODED_AT_ONCE = 1 << 20  # weights decoded at a time: 4 MB, within a second- or third-level cache
_FEW = 4  # up to so many tokens go one by one through the integer product
_WORTH_WAKING = 1 << 21  # weights below which waking another core costs as much as it saves


@kernel
def _integer_rows(blocks, codes, scales, sums, out):
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
def _float_rows(blocks, x, out):
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
def _float_format_rows(blocks, x, out):
    """Template: the same for F32, F16, BF16, whose weights stand alone."""
    row = np.empty(x.size, np.float32)
    for r in range(blocks.shape[0]):
        _decode(blocks[r], row)
        total = f32(0)
        for i in range(x.size):
            total += row[i] * x[i]
        out[r] = total


# what the templates call; `specialise` puts others behind these names
_unpack = _decode = _look_up = quantize_activations
_SUB = 32


@cache
def integer_product(fmt: Format) -> Any:
    """``(blocks, codes, scales, sums, out)`` for `fmt`: explicit vectors where there are some, else the template."""
    from qviz.transformer.kernels.dots import DOTS, GROUP_DOTS

    if isinstance(fmt, GroupFormat):
        return GROUP_DOTS[fmt.bits]
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
_SHARES = 12  # parts of a matrix that any number of cores can divide among them


def activation_width(fmt: Format) -> int:
    """How activations are rounded where they meet `fmt`, as ggml does.

    To int8 with a scale for every 256 (super-blocks) or 32 (blocks, groups); to float16 for F16 (returned as 16); for
    F32, 0: not at all. BF16 is also 0, and here we part from ggml, which rounds activations to BF16, too.
    """
    if fmt.is_float:
        return _HALF if fmt == "F16" else 0
    return 256 if fmt.block_size == 256 and not isinstance(fmt, GroupFormat) else 32


class Activations:
    """Activations (n_tokens, n_in), and what becomes of them where they meet quantized weights: made once, then shared.

    Parameters
    ----------
    x : float32 array (n_tokens, n_in)

    Raises
    ------
    LlamaError
        An array of another shape, or later a width that does not divide `n_in`.
    """

    __slots__ = ("_codes", "_groups", "_ordered", "_rounded", "x")

    def __init__(self, x: FloatArray) -> None:
        self.x = real_array(x, "activations", LlamaError, shape=("n_tokens", "n_in"))
        self._codes: dict[int, tuple[Any, Any, Any]] = {}
        self._rounded: dict[int, FloatArray] = {}
        self._groups: dict[int, tuple[Any, Any, dict[int, Any]]] = {}
        self._ordered: dict[int, Activations] = {}

    def _check_width(self, width: int) -> None:
        if width not in (_HALF, 32, 256) or (width != _HALF and self.x.shape[1] % width):
            raise LlamaError(
                f"{self.x.shape[1]} activations cannot be rounded {width} at a time; "
                f"whole 32s or 256s can, or all of them to float16 (16)"
            )

    def ordered(self, linear: Linear) -> Activations:
        """These activations in the order in which the columns of a matrix stand."""
        if linear.order is None:
            return self
        if id(linear) not in self._ordered:
            self._ordered[id(linear)] = Activations(self.x[:, linear.order])
        return self._ordered[id(linear)]

    def codes(self, width: int) -> tuple[Any, Any, Any]:
        """Round a single token: codes, scales and sums for blocks of `width`."""
        width = whole_number(width, "width", LlamaError, least=0)
        if width not in self._codes:
            self._check_width(width)
            check_shape(self.x, "activations", LlamaError, (1, "n_in"))
            x = self.x.reshape(-1)
            made = np.empty(x.size, np.int8), np.empty(x.size // width, np.float32), np.empty(x.size // 16, np.int32)
            quantize_activations(x, *made)
            self._codes[width] = made
        return self._codes[width]

    def rounded(self, width: int) -> FloatArray:
        """The activations as a product sees them: after int8 codes for each `width`, or after float16 for width 16."""
        width = whole_number(width, "width", LlamaError, least=0)
        if width == 0:
            return self.x
        if width not in self._rounded:
            self._check_width(width)
            x, out = self.x, passing(self.x.shape)
            if width == _HALF:
                in_parallel(len(x), lambda a, b: round_to_half(x[a:b], out[a:b]))
            else:
                in_parallel(len(x), lambda a, b: round_to_codes(x[a:b], width, out[a:b]))
            self._rounded[width] = out
        return self._rounded[width]

    def groups(self, width: int) -> tuple[Any, Any, dict[int, Any]]:
        """Round many tokens, four at a time: codes, scales, sums of every 16 and 32 codes; see `pack_tokens`."""
        width = whole_number(width, "width", LlamaError, least=0)
        if width not in self._groups:
            self._check_width(width)
            n, count = self.x.shape[1], -(-len(self.x) // TOKENS)
            codes = passing((count, n // 4, TOKENS, 4), np.int8)
            steps = passing((count, n // width, TOKENS))
            sums = {sub: passing((count, n // sub, TOKENS)) for sub in (16, 32)}

            def work(a: int, b: int) -> None:
                part = self.x[TOKENS * a : TOKENS * b]
                pack_tokens(part, width, codes[a:b], steps[a:b], sums[16][a:b], sums[32][a:b])

            in_parallel(count, work, least=16)
            self._groups[width] = codes, steps, sums
        return self._groups[width]


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
    bias : float32 array (n_out,), optional
        Added to each product.

    Raises
    ------
    LlamaError
        What is no matrix, cannot be decoded, or does not go together.
    """

    def __init__(
        self,
        weight: QTensor,
        name: str = "weight",
        activations: str = "int8",
        *,
        bias: npt.NDArray[np.float32] | None = None,
    ) -> None:
        if not isinstance(weight, QTensor):
            raise LlamaError(f"{name} is a {type(weight).__name__}; a QTensor is wanted, such as qviz.quantize returns")
        if len(weight.shape) != 2 or 0 in weight.shape:
            raise LlamaError(f"{name} has shape {weight.shape}; a matrix (n_out, n_in) is needed")
        if not weight.format.can_decode:
            raise LlamaError(f"{name} is {weight.format}, which cannot be decoded here; convert the model first")
        one_of(activations, "activations", ("int8", "float"), LlamaError)
        self.weight, self.name = weight, name
        self.n_out, self.n_in = weight.shape
        self.bias = None if bias is None else real_array(bias, f"bias of {name}", LlamaError, shape=(self.n_out,))
        self.order = getattr(weight, "order", None)
        if self.order is not None and not np.array_equal(np.sort(self.order), np.arange(self.n_in)):
            raise LlamaError(f"the columns of {name} are no order of 0 to {self.n_in - 1}; each must stand there once")
        self.width = activation_width(weight.format) if activations == "int8" else 0
        self.blocks = reading(np.ascontiguousarray(weight.blocks).view(weight.format.kernel_dtype))
        self._parts: dict[tuple[int, int], tuple[Any, int, int]] = {}
        self._product: Any = None  # chosen with the first token; its arguments are always of the same types

    def __repr__(self) -> str:
        return f"<Linear {self.name}: {self.weight.format} {self.weight.shape}>"

    def _chosen(self) -> Any:
        """The kernel that multiplies a single token: ``(blocks, codes, scales, sums, out)`` or ``(blocks, x, out)``."""
        return (integer_product if self.width > _HALF else float_product)(self.weight.format)

    def given(self, token: Activations) -> tuple[Any, ...]:
        """What that kernel takes of a single token."""
        token = token.ordered(self)
        return token.codes(self.width) if self.width > _HALF else (token.rounded(self.width).reshape(-1),)

    def address(self) -> int:
        """The address of that kernel, for `qviz._machine.native.multiply`."""
        token = Activations(np.zeros((1, self.n_in), np.float32))
        address: int = self._chosen().address(self.blocks, *self.given(token), np.empty(self.n_out, np.float32))
        return address

    def part(self, token: Activations, out: FloatArray, first: int, stop: int) -> None:
        """Compute the shares `first` to `stop` of `_SHARES` of ``out = weight @ x``, for one token; `out` (n_out,)."""
        if (first, stop) not in self._parts:
            edges = self.n_out * first // _SHARES, self.n_out * stop // _SHARES
            self._parts[first, stop] = self.blocks[edges[0] : edges[1]], *edges
        rows, start, end = self._parts[first, stop]
        into, given = out[start:end], self.given(token)
        if self._product is None:
            self._product = self._chosen().entry(rows, *given, into)
        self._product(rows, *given, into)
        if self.bias is not None:
            into += self.bias[start:end]

    def __call__(self, x: FloatArray | Activations) -> FloatArray:
        """``x @ weight.T``, and the bias.

        Parameters
        ----------
        x : float32 array (n_tokens, n_in), or Activations

        Returns
        -------
        float32 array (n_tokens, n_out)

        Raises
        ------
        LlamaError
            Activations of another width.
        """
        given = x if isinstance(x, Activations) else Activations(x)
        check_shape(given.x, f"what {self.name} multiplies", LlamaError, ("n_tokens", self.n_in))
        n_tokens = given.x.shape[0]
        out = passing((n_tokens, self.n_out))
        if n_tokens <= _FEW:
            for t in range(n_tokens):
                multiply_one(Activations(given.x[t : t + 1]), (self,), (out[t],))
            return out
        given = given.ordered(self)
        kernels = tiled(self.weight.format) if self.width > _HALF else None
        if kernels is None:
            self._many(given.rounded(self.width), out)
        else:
            self._many_in_tiles(kernels, given, out)
        if self.bias is not None:
            out += self.bias
        return out

    @on_one_thread
    def _many(self, rounded: FloatArray, out: FloatArray) -> None:
        """``out = rounded @ weight.T``: each core decodes a part of a tile, then multiplies a part of the tokens."""
        step = max(1, _DECODED_AT_ONCE // self.n_in)
        tile = passing((min(step, self.n_out), self.n_in))
        for start in range(0, self.n_out, step):
            part = self.weight.rows(start, min(start + step, self.n_out))
            weights, into = tile[: part.shape[0]], out[:, start : start + part.shape[0]]

            def decode(a: int, b: int, part: QTensor = part, weights: FloatArray = weights) -> None:
                part.rows(a, b).dequantize(weights[a:b])

            def multiply(a: int, b: int, weights: FloatArray = weights, into: FloatArray = into) -> None:
                with np.errstate(all="ignore"):
                    np.matmul(rounded[a:b], weights.T, out=into[a:b])

            in_parallel(len(weights), decode)
            in_parallel(len(rounded), multiply)

    def _many_in_tiles(self, kernels: Tiled, given: Activations, out: FloatArray) -> None:
        """Multiply many tokens in integers: a core lays out a part of the matrix, then takes a part of the tokens."""
        codes, steps, sums = given.groups(self.width)
        sub, n = kernels.sub, self.n_in
        step = max(1, _DECODED_AT_ONCE // (ROWS * n))  # tiles laid out at a time
        for start in range(0, -(-self.n_out // ROWS), step):
            first, last = ROWS * start, min(ROWS * (start + step), self.n_out)
            tiles = -(-(last - first) // ROWS)
            layout = (
                passing((tiles, n // 4, ROWS, 4), np.uint8),
                passing((tiles, n // sub, ROWS)),
                passing((tiles, n // sub, ROWS)),
            )

            def lay_out(a: int, b: int, blocks: Any = self.blocks[first:last], layout: Any = layout) -> None:
                kernels.pack(blocks[ROWS * a : ROWS * b], *(part[a:b] for part in layout))

            def multiply(a: int, b: int, layout: Any = layout, columns: tuple[int, int] = (first, last)) -> None:
                part = codes[a:b], steps[a:b], sums[sub][a:b], out[TOKENS * a : TOKENS * b]
                kernels.multiply(*layout, *part, *columns)

            in_parallel(tiles, lay_out, least=4)
            in_parallel(len(codes), multiply, least=16)


def multiply_one(token: Activations, linears: Sequence[Linear], outs: Sequence[FloatArray]) -> None:
    """Several matrices times one token, each core taking a part of every one; `outs` (n_out,) are filled."""
    for linear, out in zip(linears, outs, strict=True):
        if token.x.shape != (1, linear.n_in) or out.shape != (linear.n_out,) or not _takes(out):
            raise LlamaError(
                f"{linear.name} takes activations of shape (1, {linear.n_in}) and fills a float32 array of shape "
                f"({linear.n_out},), not {token.x.shape} and {out.shape} of {out.dtype}"
            )
        linear.given(token)  # before several threads ask for it
    weights = sum(linear.n_out * linear.n_in for linear in linears)

    def work(first: int, stop: int) -> None:
        for linear, out in zip(linears, outs, strict=True):
            linear.part(token, out, first, stop)

    in_parallel(_SHARES, work, least=_SHARES if weights < _WORTH_WAKING else 1)


def _takes(out: npt.NDArray[Any]) -> bool:
    """Whether a kernel that was compiled for float32 may write into an array."""
    return out.dtype == np.float32 and out.flags.c_contiguous and out.flags.writeable

"""What a block format is, and the tensor that it makes.

A GGML format cuts each row of a tensor into **blocks** of `block_size` weights. Every block becomes the same few
bytes: small integer **codes** plus what is needed to turn them back into weights. For the formats here that is one
formula::

    x = scale · code − min

so a format's file has to say only two things: how a block is filled (`quantize_blocks`) and how its bytes come
apart into codes, scales and mins (`unpack_blocks`). Decoding, figures and matrix products are shared.

Where levels are not evenly spaced, the code is first looked up in the format's `table`: ``scale · table[code] − min``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qviz._arrays import dimensions, real_array, whole_number
from qviz._machine.buffers import empty
from qviz._machine.kernels import f32, kernel, reading, simd, specialise
from qviz._types import FloatArray
from qviz.errors import FormatError, NonFiniteError, NotEncodableError, ShapeError

# Weights decoded at a time: 4 kB of codes.
_DECODED_AT_ONCE = 1 << 12
# Outputs from this size on are stored past the cache.
_STREAM = 1 << 22


@dataclass(frozen=True, eq=False)
class Format:
    """One GGML block format.

    Parameters
    ----------
    name : str
        As ggml prints it, e.g. ``"Q4_0"``.
    type_id : int
        ``enum ggml_type``, the number that a GGUF file stores.
    block_size : int
        Weights in a block.
    dtype : numpy.dtype
        The packed bytes of one block, field by field.
    type_size : int
        Bytes of a block in ggml; checked against ``dtype.itemsize``.
    source : str
        Where the layout and the arithmetic come from.
    quantize_blocks : callable, optional
        ``(x, blocks) -> int``: fill `blocks` (n,) from float32 `x` (n, block_size). Returns the index of the first
        block that holds NaN or infinity, or -1. Float formats get `x` flat.
    quantize_weighted : callable, optional
        ``(x, imatrix, blocks) -> int``: the same with float32 `imatrix` (n,) and `x` in whole rows (rows, n). Formats
        without it ignore an importance matrix, as ggml does.
    unpack_blocks : callable, optional
        ``(blocks, codes, scales, mins)``: write int8 `codes` (n_sub, sub_block_size), float32 `scales` and `mins`
        (n_sub,), sub-blocks in the order of their weights.
    dequantize_blocks : callable, optional
        ``(blocks, out)``: for the float formats, which have no codes: flat float32 `out` (n,).
    sub_block_size : int, optional
        Weights that share one scale; the whole block unless given.
    codes : tuple of int, optional
        Smallest and largest code.
    table : tuple of float, optional
        Sixteen whole numbers, -128 … 127: the level that each code 0 … 15 stands for. Without it a code is its level.
    field_notes : mapping, optional
        What each field of `dtype` holds, in a few words.
    lattice : Encoder, optional
        Where groups of weights are entries of a codebook: how entries, signs and scales are written one by one
        (`qviz.formats.iq.encode.Encoder`).
    search : Search, optional
        How a K-quant looks for the scales of its sub-blocks (`qviz.formats.kquant.search.Search`).

    Notes
    -----
    A format equals its own name: ``tensor.format == "Q4_0"``.
    """

    name: str
    type_id: int
    block_size: int
    dtype: np.dtype[Any]
    type_size: int
    source: str
    quantize_blocks: Callable[..., int] | None = None
    quantize_weighted: Callable[..., int] | None = None
    unpack_blocks: Callable[..., None] | None = None
    dequantize_blocks: Callable[..., None] | None = None
    sub_block_size: int = 0
    codes: tuple[int, int] | None = None
    table: tuple[float, ...] | None = None
    field_notes: Mapping[str, str] = field(default_factory=dict)
    lattice: Any = None
    search: Any = None

    def __post_init__(self) -> None:
        if self.dtype.itemsize != self.type_size:
            raise FormatError(f"{self.name}: dtype holds {self.dtype.itemsize} bytes, ggml's block {self.type_size}")
        if self.field_notes and tuple(self.field_notes) != self.dtype.names:
            raise FormatError(f"{self.name}: notes on {tuple(self.field_notes)}, but the fields are {self.dtype.names}")
        if self.sub_block_size == 0:
            object.__setattr__(self, "sub_block_size", self.block_size)
        if self.block_size % self.sub_block_size:
            raise FormatError(f"{self.name}: {self.block_size} weights do not split into {self.sub_block_size}s")
        if self.table is not None and (
            len(self.table) != 16 or not np.array_equal(np.array(self.table).astype(np.int8), self.table)
        ):
            raise FormatError(f"{self.name}: a table holds sixteen whole numbers within -128 … 127, not {self.table}")

    @property
    def bpw(self) -> float:
        """Bits per weight, everything in the block counted: 8 · type_size / block_size."""
        return 8 * self.type_size / self.block_size

    @property
    def is_float(self) -> bool:
        """True for F32, F16 and BF16: each weight on its own, no shared scale."""
        return self.dequantize_blocks is not None

    @property
    def can_encode(self) -> bool:
        """True if `quantize` can write this format without an importance matrix."""
        return self.quantize_blocks is not None

    @property
    def needs_imatrix(self) -> bool:
        """True if `quantize` can write this format only with an importance matrix."""
        return self.quantize_blocks is None and self.quantize_weighted is not None

    @property
    def can_decode(self) -> bool:
        """True if `QTensor.dequantize` can read this format."""
        return self.unpack_blocks is not None or self.dequantize_blocks is not None

    @cached_property
    def kernel_dtype(self) -> np.dtype[Any]:
        """`dtype` with each float16 field as its bits: numba has no float16 on the CPU."""
        return _half_as_bits(self.dtype)

    def kernel_shape(self, width: int) -> tuple[int, ...]:
        """How kernels see weights: flat for the float formats, else in rows of `width`."""
        return (-1,) if self.is_float else (-1, width)

    @cached_property
    def decoder(self) -> Callable[..., None]:
        """``(blocks, out)``: fill float32 `out` (n_sub, sub_block_size), whichever way this format decodes."""
        if self.dequantize_blocks is not None:
            return self.dequantize_blocks
        return self._unpacking_decoder(f"dequantize_{self}", _decode)

    @cached_property
    def streaming_decoder(self) -> Callable[..., None]:
        """`decoder` for a large `out` that starts on a 64-byte boundary: stored past the cache, twice as fast."""
        name = f"dequantize_{self}_streaming"
        if self.dequantize_blocks is not None:
            return specialise(_dequantize_and_stream, name, _dequantize=self.dequantize_blocks)
        return self._unpacking_decoder(name, simd.decode_streaming)

    def _unpacking_decoder(self, name: str, decode: Callable[..., None]) -> Callable[..., None]:
        names = {"_unpack": self.unpack_blocks, "_levels": self.code_lookup, "_decode": decode}
        return specialise(_unpack_and_decode, name, **names)

    @cached_property
    def code_lookup(self) -> Callable[..., None]:
        """``(codes)``: replace each code by its level, in place; does nothing where a code is its own level."""
        if self.table is None:
            return _keep_codes
        return specialise(_look_up_codes, f"look_up_{self}", _table=np.array(self.table, np.int8))

    def row_size(self, n: int) -> int:
        """Bytes of a row of `n` weights.

        Raises
        ------
        ShapeError
            If `n` is not a whole number of blocks.
        """
        return self.blocks_per_row(n) * self.type_size

    def blocks_per_row(self, n: int) -> int:
        """Blocks of a row of `n` weights; see `row_size`."""
        n = whole_number(n, "a row's size", ShapeError, least=-(1 << 63))
        if n <= 0 or n % self.block_size:
            smaller = "Q8_0 (32) or F16 (1)" if n % 32 == 0 else "F16 (1)"
            raise ShapeError(
                f"row size ({n}) is not a multiple of {self.name} block size ({self.block_size}); "
                f"choose a format whose blocks divide the row, such as {smaller}"
            )
        return n // self.block_size

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return self.name == other
        return self is other

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<Format {self.name}: {self.type_size} bytes for {self.block_size} weights, {self.bpw:g} bpw>"

    def __reduce__(self) -> tuple[Callable[[str], Format], tuple[str]]:
        from qviz.formats import get

        return get, (self.name,)


class Unpacked(NamedTuple):
    """A tensor taken apart: ``scale * code - min`` gives its weights back, with ``table[code]`` where there is one.

    Attributes
    ----------
    codes : int8 array (..., n)
        The integer stored for each weight.
    scales, mins : float32 arrays (..., n / sub_block_size)
        What a sub-block's weights share.
    """

    codes: npt.NDArray[np.int8]
    scales: FloatArray
    mins: FloatArray


class QTensor:
    """A quantized tensor: a format, the blocks, and the shape of the weights.

    Parameters
    ----------
    format : Format, str or int
        The block format.
    blocks : numpy.ndarray of ``format.dtype``
        Shape ``(*shape[:-1], shape[-1] // block_size)``. It may be a read-only memory map; nothing here copies it.
    shape : sequence of int
        Shape of the weights, rows last (NumPy order: the reverse of what a GGUF file stores).

    Examples
    --------
    >>> t = quantize(np.linspace(-1, 1, 64, dtype=np.float32), "Q4_0")
    >>> t
    <QTensor Q4_0 (64,): 36 bytes, 4.5 bpw>
    >>> t.blocks.shape, t.dequantize().dtype
    ((2,), dtype('float32'))
    """

    __slots__ = ("blocks", "format", "shape")

    format: Format
    blocks: npt.NDArray[Any]
    shape: tuple[int, ...]

    def __init__(self, format: Format | str | int, blocks: npt.NDArray[Any], shape: Sequence[int]) -> None:
        from qviz.formats import get

        self.format = get(format)
        self.shape = dimensions(shape, "shape", ShapeError)
        if not self.shape:
            raise ShapeError("a tensor needs at least one dimension; reshape a single number to (1,)")
        # ggml takes tensors of no weights, and so do we; only a row that holds some is cut into blocks
        per_row = self.format.blocks_per_row(self.shape[-1]) if self.shape[-1] else 0
        expected = (*self.shape[:-1], per_row)
        if not isinstance(blocks, np.ndarray):
            raise ShapeError(f"blocks must be an array of {self.format.dtype}, not {type(blocks).__name__}")
        if blocks.dtype != self.format.dtype:
            raise ShapeError(f"blocks of {self.format} have dtype {self.format.dtype}, not {blocks.dtype}")
        if blocks.shape != expected:
            raise ShapeError(
                f"{self.format} weights of shape {self.shape} need blocks of shape {expected}, not {blocks.shape}"
            )
        self.blocks = blocks

    @classmethod
    def from_bytes(cls, format: Format | str | int, raw: Any, shape: Sequence[int]) -> QTensor:
        """Wrap bytes that are already in a format's layout; nothing is copied.

        Parameters
        ----------
        format : Format, str or int
            The block format of `raw`.
        raw : bytes-like
            Exactly as many bytes as `shape` needs.
        shape : sequence of int
            Shape of the weights.

        Raises
        ------
        ShapeError
            If `raw` has another length, or a row is not a whole number of blocks.

        Examples
        --------
        >>> QTensor.from_bytes("F32", np.float32([1, 2]).tobytes(), (2,)).dequantize().tolist()
        [1.0, 2.0]
        """
        from qviz.formats import get

        fmt, dims = get(format), dimensions(shape, "shape", ShapeError)
        if not dims:
            raise ShapeError("a tensor needs at least one dimension; reshape a single number to (1,)")
        try:
            data = raw.reshape(-1).view(np.uint8) if isinstance(raw, np.ndarray) else np.frombuffer(raw, np.uint8)
        except (TypeError, ValueError) as error:  # no buffer, or one of Python objects
            raise ShapeError(f"raw must be bytes, got {type(raw).__name__}: {error}") from None
        per_row = fmt.blocks_per_row(dims[-1])
        expected = math.prod(dims[:-1]) * per_row * fmt.type_size
        if data.nbytes != expected:
            raise ShapeError(f"{fmt} weights of shape {dims} take {expected} bytes, got {data.nbytes}")
        return cls(fmt, data.view(fmt.dtype).reshape(*dims[:-1], per_row), dims)

    @property
    def n_weights(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks."""
        return self.blocks.nbytes

    @property
    def bpw(self) -> float:
        """Bits per weight of the format."""
        return self.format.bpw

    def tobytes(self) -> bytes:
        """The blocks as they stand in a file."""
        return self.blocks.tobytes()

    def rows(self, start: int, stop: int | None = None) -> QTensor:
        """Rows `start` to `stop` of the first axis, without copying.

        Examples
        --------
        >>> quantize(np.ones((8, 32), np.float32), "Q8_0").rows(2, 5).shape
        (3, 32)
        """
        if len(self.shape) < 2:
            raise ShapeError(f"a tensor of shape {self.shape} is one row; rows() needs two dimensions")
        for what, at in (("start", start), ("stop", 0 if stop is None else stop)):
            whole_number(at, what, ShapeError, least=-self.shape[0])
        part = self.blocks[start:stop]
        return QTensor(self.format, part, (part.shape[0], *self.shape[1:]))

    def dequantize(self, out: FloatArray | None = None) -> FloatArray:
        """Turn the blocks back into weights.

        Parameters
        ----------
        out : float32 array of the tensor's shape, optional
            C-contiguous; written in place of a new array.

        Returns
        -------
        float32 array of the tensor's shape

        Raises
        ------
        NotEncodableError
            If the format can only be copied here.
        """
        fmt = self.format
        if not fmt.can_decode:
            raise NotEncodableError(f"{fmt} can be listed and copied, but not decoded here")
        if out is None:
            out = empty(self.shape, np.float32)
        elif not isinstance(out, np.ndarray):
            raise ShapeError(f"out must be a float32 array of shape {self.shape}, got {type(out).__name__}")
        elif out.dtype != np.float32 or out.shape != self.shape or not (out.flags.c_contiguous and out.flags.writeable):
            raise ShapeError(
                f"out must be a writeable C-contiguous float32 array of shape {self.shape}, got {out.dtype} {out.shape}"
            )
        decode = fmt.streaming_decoder if out.nbytes >= _STREAM and out.ctypes.data % 64 == 0 else fmt.decoder
        decode(self._kernel_blocks(), out.reshape(fmt.kernel_shape(fmt.sub_block_size)))
        return out

    def unpack(self) -> Unpacked:
        """Take the blocks apart into codes, scales and mins.

        Examples
        --------
        >>> u = quantize(np.arange(32, dtype=np.float32), "Q8_0").unpack()
        >>> u.codes[:3].tolist(), u.mins.tolist()
        ([0, 4, 8], [0.0])

        Raises
        ------
        NotEncodableError
            For F32, F16 and BF16, which store each weight by itself, and for formats that can only be copied.
        """
        fmt = self.format
        if fmt.unpack_blocks is None:
            raise NotEncodableError(f"{fmt} has no codes and scales to unpack")
        blocks = self._kernel_blocks()
        n = self.n_weights // fmt.sub_block_size
        codes, (scales, mins) = np.empty((n, fmt.sub_block_size), np.int8), np.empty((2, n), np.float32)
        fmt.unpack_blocks(blocks, codes, scales, mins)
        shared = (*self.shape[:-1], self.shape[-1] // fmt.sub_block_size)
        return Unpacked(codes.reshape(self.shape), scales.reshape(shared), mins.reshape(shared))

    def _kernel_blocks(self) -> npt.NDArray[Any]:
        return reading(np.ascontiguousarray(self.blocks).reshape(-1).view(self.format.kernel_dtype))

    def __repr__(self) -> str:
        return f"<QTensor {self.format} {self.shape}: {self.nbytes} bytes, {self.bpw:g} bpw>"


def quantize(x: npt.ArrayLike, format: Format | str | int, imatrix: FloatArray | None = None) -> QTensor:
    """Quantize weights into a GGML format, byte for byte as ``ggml_quantize_chunk`` does.

    Parameters
    ----------
    x : array_like (..., n)
        Weights; rows run along the last axis. Converted to float32.
    format : Format, str or int
        The block format; `n` must be a multiple of its block size.
    imatrix : float32 array (n,), optional
        Importance of each input column (mean x²). Formats whose encoder takes none ignore it, as ggml does.

    Returns
    -------
    QTensor

    Raises
    ------
    NonFiniteError
        NaN or infinity in `x` (F32, F16 and BF16 keep them).
    ShapeError
        A row is not a whole number of blocks, or `imatrix` does not have one value a column.
    NotEncodableError
        The format can be read here but not written, or not without an importance matrix.

    Examples
    --------
    >>> quantize([[0.5, -1.0] * 16], "Q4_0").dequantize()[0, :2].tolist()
    [0.5, -1.0]
    """
    from qviz.formats import get

    fmt = get(format)
    if fmt.needs_imatrix and imatrix is None:
        raise NotEncodableError(
            f"{fmt} needs an importance matrix, without which so few bits a weight leave nothing of a model; "
            f"make one of your model with `qviz imatrix MODEL OUT`, and pass imatrix=..."
        )
    if fmt.quantize_blocks is None and fmt.quantize_weighted is None:
        raise NotEncodableError(f"{fmt} can be read but not written here")
    weights = real_array(x, "weights", FormatError)
    if weights.ndim == 0:
        raise ShapeError("a tensor needs at least one dimension; reshape a single number to (1,)")
    per_row = fmt.blocks_per_row(weights.shape[-1])
    blocks = empty((*weights.shape[:-1], per_row), fmt.dtype)
    rows = reading(weights.reshape(fmt.kernel_shape(fmt.block_size)))
    packed = blocks.reshape(-1).view(fmt.kernel_dtype)
    if fmt.quantize_blocks is not None and (imatrix is None or fmt.quantize_weighted is None):
        bad = fmt.quantize_blocks(rows, packed)
    else:
        assert fmt.quantize_weighted is not None
        assert imatrix is not None
        importance = _importance(imatrix, weights.shape[-1])
        bad = fmt.quantize_weighted(reading(weights.reshape(-1, weights.shape[-1])), reading(importance), packed)
    if bad >= 0:
        _refuse_non_finite(weights, rows, bad, fmt)
    return QTensor(fmt, blocks, weights.shape)


def _importance(imatrix: npt.ArrayLike, n: int) -> FloatArray:
    importance = real_array(imatrix, "imatrix", FormatError)
    if importance.shape != (n,):
        raise ShapeError(f"imatrix has shape {importance.shape}; a row of {n} weights needs one value a column, ({n},)")
    if not np.isfinite(importance).all() or (importance < 0).any():
        raise NonFiniteError("imatrix holds a negative, NaN or infinite value; it must be mean squares of activations")
    return importance


def _refuse_non_finite(weights: FloatArray, rows: FloatArray, bad: int, fmt: Format) -> None:
    where = bad * fmt.block_size + int(np.flatnonzero(~np.isfinite(rows[bad]))[0])
    index = tuple(int(i) for i in np.unravel_index(where, weights.shape))
    raise NonFiniteError(
        f"weight {list(index)} is {weights[index]}; {fmt} blocks share one scale, so every weight must be finite. "
        f"Replace it first, e.g. with numpy.nan_to_num"
    )


def _half_as_bits(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.fields is None:
        base, shape = dtype.subdtype or (dtype, ())
        return np.dtype(("<u2", shape)) if base == np.dtype("<f2") else dtype
    assert dtype.names is not None
    return np.dtype([(name, _half_as_bits(dtype.fields[name][0])) for name in dtype.names])


@kernel
def _decode(codes, scales, mins, out):
    """The one decode formula, in float32: a product, then a difference, never fused."""
    n, width = codes.shape
    for b in range(n):
        scale, low = scales[b], mins[b]
        for j in range(width):
            out[b, j] = f32(codes[b, j]) * scale - low


@kernel
def _keep_codes(codes):
    """What evenly spaced formats do in the place of `_look_up_codes`."""


@kernel
def _look_up_codes(codes):
    """Template: each code 0 … 15 -> the level in the format's table."""
    simd.look_up(codes.reshape(codes.size), _table)


@kernel
def _unpack_and_decode(blocks, out):
    """Template: a tile of blocks at a time, so that codes stay in the first-level cache."""
    width = out.shape[1]
    per_block = out.shape[0] // max(blocks.size, 1)
    step = max(_DECODED_AT_ONCE // (per_block * width), 1)
    codes = np.empty((step * per_block, width), np.int8)
    scales, mins = np.empty(step * per_block, np.float32), np.empty(step * per_block, np.float32)
    for start in range(0, blocks.size, step):
        part = blocks[start : start + step]
        n = part.size * per_block
        _unpack(part, codes[:n], scales[:n], mins[:n])
        _levels(codes[:n])
        _decode(codes[:n], scales[:n], mins[:n], out[start * per_block : start * per_block + n])


@kernel
def _dequantize_and_stream(blocks, out):
    """Template: a tile of float blocks at a time through the first-level cache."""
    tile = np.empty(_DECODED_AT_ONCE // 4, np.float32)
    for start in range(0, blocks.size, tile.size):
        part = blocks[start : start + tile.size]
        _dequantize(part, tile)
        simd.copy_streaming(tile, part.size, out, start)


# What the templates call; `specialise` puts a format's own functions behind these names.
_unpack = _dequantize = _decode
_levels = _keep_codes
_table = np.zeros(16, np.int8)

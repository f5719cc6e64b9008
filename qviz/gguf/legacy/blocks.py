"""The block layouts that ggml had before GGUF, as formats of their own.

Type numbers stayed while the bytes behind them changed, so a file's version decides what a Q4_0 block is:

=============  ====================================================  ==========================================
until          files                                                 Q4_0, Q4_1
=============  ====================================================  ==========================================
March 11 2023  ggml                                                  a row's float32 scales, then all its codes
May 12 2023    ggml, ggmf, ggjt 1; whisper, quantization version 0   float32 scale; neighbours share a byte
May 19 2023    ggjt 2; whisper, quantization version 1               float32 scale; halves, as today
since          ggjt 3; whisper, quantization version 2               as in a GGUF file
=============  ====================================================  ==========================================

(The first differs from the second only in where the pieces of a row stand; `by_row` puts them together.)
Q5_0 and Q5_1 had float16 scales from the start, Q8_0 a float32 one until the last change; Q4_2 and Q4_3, with 16
weights to a block, lived for a month and are in no GGUF file.

Sources: the commits "llama : fix 4-bit quantization" of March 2023 and the pull requests 1405 and 1508 of
ggml-org/llama.cpp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._machine.kernels import f32, half_float, i8, kernel, u8, u32
from qviz.errors import UnknownFormatError, shortened
from qviz.formats import QTensor
from qviz.formats import get as get_format
from qviz.formats._blocks32 import read_word
from qviz.formats.base import Format

# Blocks taken apart at a time when they are packed anew: a few megabytes.
_STEP = 1 << 16


class LegacyFormat(Format):
    """A layout that no GGUF file has; decodes like any other format, and is not in the registry."""

    def __reduce__(self) -> tuple[Callable[[str], Format], tuple[str]]:
        return get, (self.name,)


@kernel
def _neighbours(qs, codes, offset):
    """Byte l -> codes 2l and 2l + 1."""
    for l in range(qs.size):
        codes[2 * l] = i8(qs[l] & u8(15)) - offset
        codes[2 * l + 1] = i8(qs[l] >> u8(4)) - offset


@kernel
def _both_halves(qs, codes, offset):
    """Byte l -> codes l and l + 16, the order of today."""
    for l in range(qs.size):
        codes[l] = i8(qs[l] & u8(15)) - offset
        codes[l + qs.size] = i8(qs[l] >> u8(4)) - offset


@kernel
def _add_fifth_bits(word, codes):
    for l in range(codes.size):
        codes[l] += i8(u32(u32(word >> u32(l)) & u32(1)) << u32(4))


@kernel
def _q4_0_v1(blocks, codes, scales, mins):
    for b in range(blocks.size):
        scales[b], mins[b] = blocks[b].d, f32(0)
        _neighbours(blocks[b].qs, codes[b], i8(8))


@kernel
def _q4_1_v1(blocks, codes, scales, mins):
    for b in range(blocks.size):
        scales[b], mins[b] = blocks[b].d, -blocks[b].m
        _neighbours(blocks[b].qs, codes[b], i8(0))


@kernel
def _q4_2(blocks, codes, scales, mins):
    for b in range(blocks.size):
        scales[b], mins[b] = half_float(blocks[b].d), f32(0)
        _neighbours(blocks[b].qs, codes[b], i8(8))


@kernel
def _q4_3(blocks, codes, scales, mins):
    for b in range(blocks.size):
        scales[b], mins[b] = half_float(blocks[b].d), -half_float(blocks[b].m)
        _neighbours(blocks[b].qs, codes[b], i8(0))


@kernel
def _q5_0_v1(blocks, codes, scales, mins):
    for b in range(blocks.size):
        scales[b], mins[b] = half_float(blocks[b].d), f32(0)
        _neighbours(blocks[b].qs, codes[b], i8(16))
        _add_fifth_bits(read_word(blocks[b].qh), codes[b])


@kernel
def _q5_1_v1(blocks, codes, scales, mins):
    for b in range(blocks.size):
        scales[b], mins[b] = half_float(blocks[b].d), -half_float(blocks[b].m)
        _neighbours(blocks[b].qs, codes[b], i8(0))
        _add_fifth_bits(read_word(blocks[b].qh), codes[b])


@kernel
def _q8_0_v1(blocks, codes, scales, mins):
    for b in range(blocks.size):
        scales[b], mins[b] = blocks[b].d, f32(0)
        codes[b] = blocks[b].qs


@kernel
def _q4_0_v2(blocks, codes, scales, mins):
    for b in range(blocks.size):
        scales[b], mins[b] = blocks[b].d, f32(0)
        _both_halves(blocks[b].qs, codes[b], i8(8))


@kernel
def _q4_1_v2(blocks, codes, scales, mins):
    for b in range(blocks.size):
        scales[b], mins[b] = blocks[b].d, -blocks[b].m
        _both_halves(blocks[b].qs, codes[b], i8(0))


def _format(
    name: str,
    type_id: int,
    type_size: int,
    fields: list[tuple[str, str, tuple[int, ...]]],
    codes: tuple[int, int],
    unpack: Callable[..., None],
    block_size: int = 32,
) -> LegacyFormat:
    return LegacyFormat(
        name=name,
        type_id=type_id,
        block_size=block_size,
        type_size=type_size,
        dtype=np.dtype(fields),
        codes=codes,
        unpack_blocks=unpack,
        source="dequantize_row_* in ggml.c of the spring of 2023",
    )


_D, _M, _QS = ("d", "<f4", ()), ("m", "<f4", ()), ("qs", "u1", (16,))
_D_HALF, _M_HALF, _QH, _QS_8 = ("d", "<f2", ()), ("m", "<f2", ()), ("qh", "u1", (4,)), ("qs", "u1", (8,))

Q4_0_V1 = _format("Q4_0_v1", 2, 20, [_D, _QS], (-8, 7), _q4_0_v1)
Q4_1_V1 = _format("Q4_1_v1", 3, 24, [_D, _M, _QS], (0, 15), _q4_1_v1)
Q4_2 = _format("Q4_2", 4, 10, [_D_HALF, _QS_8], (-8, 7), _q4_2, block_size=16)
Q4_3 = _format("Q4_3", 5, 12, [_D_HALF, _M_HALF, _QS_8], (0, 15), _q4_3, block_size=16)
Q5_0_V1 = _format("Q5_0_v1", 6, 22, [_D_HALF, _QH, _QS], (-16, 15), _q5_0_v1)
Q5_1_V1 = _format("Q5_1_v1", 7, 24, [_D_HALF, _M_HALF, _QH, _QS], (0, 31), _q5_1_v1)
Q8_0_V1 = _format("Q8_0_v1", 8, 36, [_D, ("qs", "i1", (32,))], (-128, 127), _q8_0_v1)
Q4_0_V2 = _format("Q4_0_v2", 2, 20, [_D, _QS], (-8, 7), _q4_0_v2)
Q4_1_V2 = _format("Q4_1_v2", 3, 24, [_D, _M, _QS], (0, 15), _q4_1_v2)

_FLOATS = (get_format("F32"), get_format("F16"))
_TODAY = tuple(get_format(name) for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"))
_K_QUANTS = tuple(get_format(name) for name in ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"))


def _by_id(*formats: Format) -> Mapping[int, Format]:
    return MappingProxyType({fmt.type_id: fmt for fmt in formats})


LAYOUTS: Mapping[int, Mapping[int, Format]] = MappingProxyType(
    {
        1: _by_id(*_FLOATS, Q4_0_V1, Q4_1_V1, Q4_2, Q4_3, Q5_0_V1, Q5_1_V1, Q8_0_V1),
        2: _by_id(*_FLOATS, Q4_0_V2, Q4_1_V2, get_format("Q5_0"), get_format("Q5_1"), Q8_0_V1),
        3: _by_id(*_FLOATS, *_TODAY, *_K_QUANTS),
    }
)
"""Generation of block layouts -> type id in the file -> format."""

_BY_NAME = {fmt.name: fmt for layout in LAYOUTS.values() for fmt in layout.values()}


def get(name: str) -> Format:
    """A format of any generation by name: ``"Q4_0_v1"``, ``"Q4_2"``, ``"Q5_0"``.

    Raises
    ------
    UnknownFormatError
        With the names that exist.
    """
    if name not in _BY_NAME:
        raise UnknownFormatError(f"no format {shortened(name)}; legacy files hold {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


def by_row(fmt: Format, raw: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    """Blocks from the first layout, which kept the parts of a row's blocks apart.

    Parameters
    ----------
    fmt : Format
        `Q4_0_V1` or `Q4_1_V1`.
    raw : uint8 array (rows, bytes of a row)
        The row's mins (Q4_1 only), its scales, its codes.

    Returns
    -------
    array of ``fmt.dtype``, shape (rows, blocks in a row)
        A copy.
    """
    rows, n = raw.shape[0], raw.shape[1] // fmt.type_size
    blocks = np.empty((rows, n), fmt.dtype)
    start = 0
    for field in ("m", "d") if fmt is Q4_1_V1 else ("d",):
        blocks[field] = np.ascontiguousarray(raw[:, start : start + 4 * n]).view("<f4")
        start += 4 * n
    blocks["qs"] = raw[:, start:].reshape(rows, n, -1)
    return blocks


# -- into today's formats

_FITS = {
    Q4_0_V1: "Q4_0",
    Q4_0_V2: "Q4_0",
    Q4_1_V1: "Q4_1",
    Q4_1_V2: "Q4_1",
    Q5_0_V1: "Q5_0",
    Q5_1_V1: "Q5_1",
    Q8_0_V1: "Q8_0",
}
_NEIGHBOURS = (Q4_0_V1, Q4_1_V1, Q5_0_V1, Q5_1_V1)


def equivalent(fmt: Format) -> Format | None:
    """Today's format with the same codes; None for Q4_2 and Q4_3, and `fmt` itself if it is one of today's."""
    if not isinstance(fmt, LegacyFormat):
        return fmt
    return get_format(_FITS[fmt]) if fmt in _FITS else None


def scale_error(tensor: QTensor) -> float:
    """Largest relative change of a scale or min when it is stored as float16; infinity if one does not fit.

    Examples
    --------
    >>> blocks = np.zeros(2, Q8_0_V1.dtype)
    >>> blocks["d"] = [0.5, 0.1]
    >>> f"{scale_error(QTensor(Q8_0_V1, blocks, (64,))):.1e}"
    '2.4e-04'
    """
    worst = 0.0
    for part in _parts(tensor):
        for name in {"d", "m"} & set(part.dtype.names or ()):
            values = part[name].astype(np.float32)
            if not np.isfinite(values).all():
                return np.inf
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                change = np.abs(values.astype(np.float16).astype(np.float32) - values) / np.abs(values)
            worst = max(worst, float(np.nan_to_num(change, nan=0.0, posinf=np.inf).max(initial=0.0)))
    return worst


def repack(tensor: QTensor) -> QTensor:
    """Put a tensor's codes into today's format; float32 scales are rounded to float16, whatever `scale_error` says.

    Parameters
    ----------
    tensor : QTensor
        Its format must have an `equivalent`.
    """
    fmt = equivalent(tensor.format)
    assert fmt is not None, tensor.format
    if fmt is tensor.format:
        return tensor
    blocks = np.empty(tensor.blocks.size, fmt.dtype)
    start = 0
    for part in _parts(tensor):
        target = blocks[start : start + part.size]
        for name in part.dtype.names or ():
            target[name] = part[name]
        if tensor.format in _NEIGHBOURS:
            target["qs"] = _halves(part["qs"])
        start += part.size
    return QTensor(fmt, blocks.reshape(tensor.blocks.shape), tensor.shape)


def _halves(qs: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Bytes with codes 2l and 2l + 1 -> bytes with codes l and l + 16."""
    codes: npt.NDArray[np.uint8] = np.stack([qs & 15, qs >> 4], axis=-1).reshape(len(qs), 32)
    return codes[:, :16] | codes[:, 16:] << np.uint8(4)


def _parts(tensor: QTensor) -> Iterator[npt.NDArray[Any]]:
    blocks = tensor.blocks.reshape(-1)
    return (blocks[start : start + _STEP] for start in range(0, blocks.size, _STEP))

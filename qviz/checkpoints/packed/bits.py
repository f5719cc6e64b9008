"""Codes of 1 to 8 bits as 32-bit words, and the two conventions of GPTQ's zero points.

Codes form one stream of bits, lowest bits first: ``bits`` words hold 32 codes. With 2, 4 or 8 bits no code crosses
from one word into the next; with 3 bits, two of 32 do.

GPTQ v2 stores zero points as they are, v1 stores each less one. For 2, 4 and 8 bits v1 subtracts *whole words*
(``qzeros − 0x11111111``), so a zero point of 0 borrows from its neighbour: a reader that adds one to each field gets
two wrong zero points, one that adds the whole word gets both right. With 3 bits each field wraps by itself.

Examples
--------
Eight 4-bit codes of one output channel fill a word, the first one its lowest nibble:

>>> hex(int(pack_bits(np.arange(8)[:, None], 4)[0, 0].view("u4")))
'0x76543210'
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qviz._arrays import as_array
from qviz._types import ByteArray, IntArray
from qviz.errors import CheckpointError

BITS = (2, 3, 4, 8)


def checked_bits(bits: int) -> int:
    """`bits` if a packed layout can have so many."""
    if isinstance(bits, bool) or not isinstance(bits, int | np.integer) or bits not in BITS:
        raise CheckpointError("no packed layout has that many bits", found=bits, expected="2, 3, 4 or 8")
    return int(bits)


def pack_bits(codes: npt.ArrayLike, bits: int) -> IntArray:
    """Pack unsigned codes along the first axis, lowest bits first.

    Parameters
    ----------
    codes : integer array (n, m)
        0 to 2**bits − 1; n · bits must be a multiple of 32.
    bits : {2, 3, 4, 8}

    Returns
    -------
    int32 array (n · bits / 32, m)

    Raises
    ------
    CheckpointError
        Codes out of range, or a number of them that does not fill words.
    """
    bits, array = checked_bits(bits), as_array(codes, "codes", CheckpointError, "whole numbers")
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise CheckpointError("codes must be a matrix of integers", found=(array.dtype, array.shape))
    if array.size and (array.min() < 0 or array.max() >= 1 << bits):
        raise CheckpointError(
            f"codes do not fit {bits} bits", found=(int(array.min()), int(array.max())), expected=f"0 … {2**bits - 1}"
        )
    if array.shape[0] * bits % 32:
        raise CheckpointError(
            f"{array.shape[0]} codes of {bits} bits do not fill 32-bit words; this layout needs a multiple of 32 codes"
        )
    n, m = array.shape
    runs = np.zeros((-(-n // 32), 32, m), np.uint8)  # of 32 codes, which fill `bits` words
    runs.reshape(-1, m)[:n] = array
    words = np.zeros((len(runs), bits, m), np.uint32)
    for i in range(32):
        word, shift = divmod(i * bits, 32)
        code = runs[:, i].astype(np.uint32)
        words[:, word] |= code << np.uint32(shift)
        if shift + bits > 32:
            words[:, word + 1] |= code >> np.uint32(32 - shift)
    return np.ascontiguousarray(words.reshape(-1, m)[: n * bits // 32]).view(np.int32)


def unpack_bits(words: npt.ArrayLike, bits: int) -> ByteArray:
    """Undo `pack_bits`: int32 (n, m) -> uint8 (n · 32 / bits, m).

    Raises
    ------
    CheckpointError
        Not words of so many bits.

    Examples
    --------
    >>> unpack_bits(pack_bits(np.arange(32)[:, None] % 8, 3), 3)[:9, 0].tolist()
    [0, 1, 2, 3, 4, 5, 6, 7, 0]
    """
    bits, array = checked_bits(bits), as_array(words, "words", CheckpointError, "whole numbers")
    if array.ndim != 2 or array.dtype != np.int32 or array.shape[0] * 32 % bits:
        raise CheckpointError(
            f"not words of {bits}-bit codes", found=(array.dtype, array.shape), expected="an int32 matrix"
        )
    return unpack_stream(array, bits, array.shape[0] * 32 // bits)


def unpack_stream(words: IntArray, bits: int, count: int) -> ByteArray:
    """The first `count` codes of a stream along the first axis: int32 (n, m) -> uint8 (count, m).

    Parameters
    ----------
    words : int32 array (n, m)
        n of at least ``count · bits / 32``, rounded up.
    bits : int
        1 to 8.
    count : int
    """
    n, m = words.shape
    unsigned = words.view(np.uint32)
    if n % bits:  # to whole runs of 32 codes
        unsigned = np.concatenate([unsigned, np.zeros((-n % bits, m), np.uint32)])
    runs = unsigned.reshape(-1, bits, m)
    codes = np.empty((len(runs), 32, m), np.uint8)
    for i in range(32):
        word, shift = divmod(i * bits, 32)
        code = runs[:, word] >> np.uint32(shift)
        if shift + bits > 32:
            code = code | runs[:, word + 1] << np.uint32(32 - shift)
        codes[:, i] = code & np.uint32((1 << bits) - 1)
    return codes.reshape(-1, m)[:count]


def zeros_to_v1(qzeros: IntArray, bits: int) -> IntArray:
    """Packed zero points, GPTQ v2 -> v1: each less one, borrowing as the module's text says.

    Examples
    --------
    Zero points 0 and 7: the zero borrows, and the 7 is stored as 5 instead of 6.

    >>> hex(int(zeros_to_v1(np.int32([[0x70]]), 4)[0, 0].view("u4")))
    '0xeeeeef5f'
    """
    return _shift_zeros(qzeros, bits, -1)


def zeros_from_v1(qzeros: IntArray, bits: int) -> IntArray:
    """Packed zero points, GPTQ v1 -> v2; undoes `zeros_to_v1`.

    Examples
    --------
    >>> v1 = zeros_to_v1(np.int32([[0x70]]), 4)
    >>> hex(int(zeros_from_v1(v1, 4)[0, 0]))
    '0x70'
    """
    return _shift_zeros(qzeros, bits, 1)


def _shift_zeros(qzeros: IntArray, bits: int, by: int) -> IntArray:
    bits, qzeros = checked_bits(bits), as_array(qzeros, "qzeros", CheckpointError, "whole numbers")
    if qzeros.dtype != np.int32 or qzeros.ndim != 2:
        raise CheckpointError("qzeros must be an int32 matrix", found=(qzeros.dtype, qzeros.shape))
    if bits == 3:
        fields = unpack_bits(np.ascontiguousarray(qzeros.T), 3).astype(np.int32)
        return np.ascontiguousarray(pack_bits(fields + by & 7, 3).T)
    ones = np.uint32(sum(1 << i for i in range(0, 32, bits)))
    words = np.ascontiguousarray(qzeros).view(np.uint32)
    return (words + ones if by > 0 else words - ones).view(np.int32)

"""What the 32-weight formats (Q4_0 … Q8_0) share: finding the range of a block.

Float comparisons may meet NaN, so LLVM will not vectorise ``if v > best``. The bits of a float compare like
integers, and integer maxima vectorise: |x| orders as its bits without the sign. Infinity and NaN come out on top,
which makes refusing them free.
"""

from __future__ import annotations

import numpy as np

from qviz._numba import bits_float, f32, float_bits, i8, i32, kernel, u8, u32

INF_BITS = np.uint32(0x7F800000)
ABS_MASK = np.uint32(0x7FFFFFFF)


@kernel
def largest_magnitude_bits(row):  # type: ignore[no-untyped-def]
    """Bits of the largest |x| of a row; `INF_BITS` or more if one is not finite."""
    best = u32(0)
    for j in range(row.size):
        best = max(best, u32(float_bits(row[j]) & ABS_MASK))
    return best


@kernel
def signed_extreme(row, magnitude_bits):  # type: ignore[no-untyped-def]
    """The FIRST weight whose |x| is the largest, with its sign (ties between +a and −a go to the earlier)."""
    first = i32(2 * row.size)
    for j in range(row.size):
        bits = float_bits(row[j])
        key = i32(i32(2 * j) + i32(bits >> u32(31)))
        first = min(first, key if u32(bits & ABS_MASK) == magnitude_bits else first)
    value = bits_float(magnitude_bits)
    return -value if first & 1 else value


@kernel
def smallest_and_largest(row):  # type: ignore[no-untyped-def]
    """Minimum and maximum of a row as ggml's loop finds them, and whether all weights are finite.

    ggml keeps the first of equal values, which shows only in the sign of a zero minimum.
    """
    low, high = i32(0x7FFFFFFF), i32(-0x80000000)
    for j in range(row.size):
        bits = i32(float_bits(row[j]))
        # negative floats order backwards: flip their magnitude bits
        key = i32(bits ^ i32(i32(bits >> i32(31)) & i32(0x7FFFFFFF)))
        low, high = min(low, key), max(high, key)
    finite = low > i32(-0x7F800001) and high < i32(0x7F800000)
    smallest = bits_float(u32(low ^ i32(i32(low >> i32(31)) & i32(0x7FFFFFFF))))
    largest = bits_float(u32(high ^ i32(i32(high >> i32(31)) & i32(0x7FFFFFFF))))
    if smallest == f32(0):
        for j in range(row.size):
            if row[j] == f32(0):
                smallest = row[j]
                break
        if largest == f32(0):
            largest = smallest
    return smallest, largest, finite


@kernel
def pack_five_bits(codes, qh, qs):  # type: ignore[no-untyped-def]
    """Split 5-bit codes: low nibbles of weights l and l + n/2 into `qs`, fifth bits into the word `qh`."""
    half = codes.size // 2
    word = u32(0)
    for j in range(codes.size):
        word = u32(word | u32(u32(u32(codes[j]) >> u32(4)) << u32(j)))
    for j in range(half):
        qs[j] = u8((codes[j] & i32(15)) | ((codes[j + half] & i32(15)) << i32(4)))
    for k in range(qh.size):
        qh[k] = u8(word >> u32(8 * k))


@kernel
def unpack_five_bits(qh, qs, offset, codes):  # type: ignore[no-untyped-def]
    """The reverse of `pack_five_bits`; `offset` is what the format adds to its codes."""
    half = codes.size // 2
    for j in range(half):
        fifth = u8(u8(u8(qh[j // 8] >> u8(j % 8)) & u8(1)) << u8(4))
        codes[j] = i8(u8(qs[j] & u8(15)) | fifth) - offset
        k = j + half
        fifth = u8(u8(u8(qh[k // 8] >> u8(k % 8)) & u8(1)) << u8(4))
        codes[k] = i8(u8(qs[j] >> u8(4)) | fifth) - offset

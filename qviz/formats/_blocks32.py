"""What the 32-weight formats (Q4_0 … Q8_0) share: finding the range of a block.

Float comparisons may meet NaN, so LLVM will not vectorise ``if v > best``. The bits of a float compare like
integers, and integer maxima vectorise: |x| orders as its bits without the sign. Infinity and NaN come out on top,
which makes refusing them free.
"""

from __future__ import annotations

import numpy as np

from qviz._numba import bits_float, f32, float_bits, i32, kernel, u32

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
        bits = float_bits(row[j]).view(np.int32)
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

"""Stage 3, *round*, and how codes and scales stand in the bytes of a super-block."""

from __future__ import annotations

from qviz._machine.kernels import half_float, i8, i32, kernel, simd, u8
from qviz.formats.kquant.search import nearest_level
from qviz.formats.kquant.tiles import TILE, place


@kernel
def round_codes(x, at, width, scale, low, bottom, top, codes, to):
    """Codes of one sub-block under its final `scale` and minimum `low`, counted from `bottom`.

    Positions, not slices: for a slice in a loop numba counts who holds its array, which took a fifth of Q3_K's time.
    """
    for j in range(0, width, simd.LANES):
        simd.store_bytes(codes, to + j, nearest_level((simd.load(x, at + j) + low) / scale, bottom, top) - bottom)


@kernel
def found_codes(found, width, lane, bottom, codes, to):
    """Codes that the search found in one lane: they stay where the final scale is zero."""
    at = place(lane, width)
    for j in range(width):
        codes[to + j] = u8(found[at + j * simd.LANES] - bottom)


@kernel
def put_pairs(codes, field):
    """The low two bits of 256 codes -> 64 bytes: byte l of each half holds its codes l, l + 32, l + 64 and l + 96."""
    for k in range(8):
        simd.put_bits(codes, 32 * k, u8(0), u8(3), u8(2 * (k % 4)), field, 32 * (k // 4))


@kernel
def take_pairs(field, codes, at):
    """The reverse of `put_pairs`, to ``codes[at:at+256]``."""
    for k in range(8):
        simd.take_bits(field, 32 * (k // 4), u8(2 * (k % 4)), u8(3), i8(0), codes, at + 32 * k)


@kernel
def put_nibbles(codes, field):
    """The low four bits of 256 codes -> 128 bytes: byte l of each quarter holds its codes l and l + 32."""
    for k in range(8):
        simd.put_bits(codes, 32 * k, u8(0), u8(15), u8(4 * (k % 2)), field, 32 * (k // 2))


@kernel
def take_nibbles(field, codes, at):
    """The reverse of `put_nibbles`, to ``codes[at:at+256]``."""
    for k in range(8):
        simd.take_bits(field, 32 * (k // 2), u8(4 * (k % 2)), u8(15), i8(0), codes, at + 32 * k)


@kernel
def put_sixes(block, scale_steps, min_steps, lane):
    """Eight 6-bit scales and eight 6-bit minimums of super-block `lane` -> 12 bytes.

    Bytes 0 … 3 are scales 0 … 3 and bytes 4 … 7 minimums 0 … 3, each with two bits to spare. Bytes 8 … 11 hold the low
    four bits of scale and minimum 4 … 7; their upper two bits fill those gaps.
    """
    packed = block.scales
    for j in range(4):
        scale, low = _steps(scale_steps, j, lane), _steps(min_steps, j, lane)
        scale4, low4 = _steps(scale_steps, j + 4, lane), _steps(min_steps, j + 4, lane)
        packed[j] = u8(scale | ((scale4 >> 4) << 6))
        packed[j + 4] = u8(low | ((low4 >> 4) << 6))
        packed[j + 8] = u8((scale4 & 15) | ((low4 & 15) << 4))


@kernel
def _steps(steps, j, lane):
    return i32(steps[j * TILE + lane])


@kernel
def take_sixes(block, scales, mins, at):
    """Eight scales and minimums of a block of Q4_K or Q5_K, as its weights decode, from position `at`."""
    simd.six_bit_pairs(block.scales, half_float(block.d), half_float(block.dmin), scales, mins, at)

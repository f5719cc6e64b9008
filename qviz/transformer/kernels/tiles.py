"""A quantized matrix times many tokens in integers: codes are laid out in tiles once, then met by all tokens.

The same products and sums as for a single token (`qviz.transformer.linear`), up to the order in which floats are added.
A tile is sixteen rows by four tokens: each load of weights serves four tokens, each load of a token sixteen rows.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from qviz._machine.kernels import f32, kernel, simd, specialise, u8
from qviz.formats.base import Format
from qviz.transformer.kernels.rounding import largest, to_scales

ROWS, TOKENS = 16, 4


@kernel
def _pack(blocks, weights, scales, mins):
    """Template: rows of blocks -> tiles.

    Parameters
    ----------
    blocks : array (n_rows, blocks_per_row)
        Whole tiles but for the last one.
    weights : uint8 array (n_tiles, n_in / 4, 16, 4)
    scales, mins : float32 arrays (n_tiles, n_sub, 16)
    """
    n_sub = scales.shape[1]
    levels = np.zeros((n_sub, _SUB), np.int8)
    flat = levels.reshape(n_sub * _SUB)
    row_scales, row_mins = np.zeros(n_sub, np.float32), np.zeros(n_sub, np.float32)
    for r in range(weights.shape[0] * 16):
        tile, lane = r // 16, r % 16
        if r < blocks.shape[0]:
            _unpack(blocks[r], levels, row_scales, row_mins)
            _look_up(levels)
        else:
            row_scales[:], row_mins[:] = f32(0), f32(0)
        for s in range(n_sub):
            scales[tile, s, lane] = row_scales[s]
            mins[tile, s, lane] = row_mins[s] + row_scales[s] * f32(_OFFSET)
        for k in range(weights.shape[1]):
            for j in range(4):
                weights[tile, k, lane, j] = u8(flat[4 * k + j] + _OFFSET)


@kernel
def pack_tokens(x, width, codes, steps, sums16, sums32):
    """Activations (n, n_in) -> groups of four tokens, rounded as by `quantize_activations`.

    Parameters
    ----------
    x : float32 array (n_tokens, n_in)
    width : int
        Activations that share a scale.
    codes : int8 array (n_groups, n_in / 4, 4, 4)
    steps : float32 array (n_groups, n_in / width, 4)
    sums16, sums32 : float32 arrays (n_groups, n_in / 16, 4) and (n_groups, n_in / 32, 4)
        Sums of so many codes, times their scale.
    """
    n_tokens, n = x.shape
    runs = width // 16
    edge = np.zeros(4 * n, np.float32)
    flat, c = x.reshape(n_tokens * n), codes.reshape(codes.size)
    for g in range(codes.shape[0]):
        rows, start = flat, 4 * g * n
        if 4 * g + 4 > n_tokens:  # the last group may be short: tokens of zeros fill it
            for i in range(start, flat.size):
                edge[i - start] = flat[i]
            rows, start = edge, 0
        tops, few, many = steps[g].reshape(n // width * 4), sums16[g].reshape(n // 4), sums32[g].reshape(n // 8)
        for s in range(n // width):
            for t in range(4):
                tops[4 * s + t] = largest(rows, start + n * t + width * s, width)
            for k in range(runs * s, runs * s + runs):
                simd.pack_sixteen(rows, start + 16 * k, n, tops, 4 * s, c, (4 * g * n) + 64 * k, few, 4 * k)
        to_scales(tops, width == 32)
        for s in range(n // width):
            for k in range(4 * runs * s, 4 * runs * (s + 1), 8):
                for t in range(4):
                    d = tops[4 * s + t]
                    few[k + t] *= d
                    few[k + 4 + t] *= d
                    many[k // 2 + t] = few[k + t] + few[k + 4 + t]


@kernel
def _multiply(weights, scales, mins, codes, steps, sums, out, first, last):
    """Template: tiles of weights times groups of tokens -> columns `first` to `last` of out (n_tokens, n_out)."""
    tiles, n_sub, groups = weights.shape[0], scales.shape[1], codes.shape[0]
    n_tokens, n_out = out.shape
    n = n_sub * _SUB
    share = n_sub // steps.shape[1]  # sub-blocks that share the scale of their activations
    w, s, m = weights.reshape(tiles * n * 16), scales.reshape(tiles * n_sub * 16), mins.reshape(tiles * n_sub * 16)
    c, d, both = codes.reshape(groups * n * 4), steps.reshape(groups * (n_sub // share) * 4), sums.reshape(sums.size)
    flat = out.reshape(n_tokens * n_out)
    edge = np.empty(64, np.float32)
    near = max(1, 4096 // n)  # groups whose codes stay in the first-level cache while tiles pass by
    for begin in range(0, groups, near):
        for tile in range(tiles):
            for g in range(begin, min(begin + near, groups)):
                total = simd.no_tile()
                step, until = g * steps.shape[1] * 4, share
                for b in range(n_sub):
                    if b == until:
                        step, until = step + 4, until + share
                    at = (tile * n_sub + b) * 16
                    total = _add(
                        total, w, at * _SUB, s, m, at, c, (g * n_sub + b) * _SUB * 4,
                        d, step, both, (g * n_sub + b) * 4,
                    )  # fmt: skip
                column = first + 16 * tile
                if 4 * g + 4 <= n_tokens and column + 16 <= last:
                    simd.store_tile(total, flat, 4 * g * n_out + column, n_out)
                else:
                    simd.store_tile(total, edge, 0, 16)
                    for t in range(4 * g, min(4 * g + 4, n_tokens)):
                        for r in range(min(16, last - column)):
                            out[t, column + r] = edge[16 * (t - 4 * g) + r]


# what the templates call; `specialise` puts others behind these names
_unpack = _look_up = _add = kernel(lambda: 0)
_SUB, _OFFSET = 32, 0


def unsigned_codes(fmt: Format) -> tuple[int, int] | None:
    """What makes the levels of a format unsigned, and the largest one then; None where tiles do not fit.

    A power of two, since a foreign Q8_0 may hold −128, which no encoder writes.
    """
    if fmt.codes is None or fmt.sub_block_size not in (16, 32):
        return None
    low, high = fmt.codes if fmt.table is None else (int(min(fmt.table)), int(max(fmt.table)))
    offset = 1 << (-low - 1).bit_length() if low < 0 else 0
    return offset, offset + high


class Tiled:
    """The kernels of one format.

    Parameters
    ----------
    fmt : Format
    offset, largest : int
        From `unsigned_codes`.
    """

    def __init__(self, fmt: Format, offset: int, largest: int) -> None:
        self.sub = fmt.sub_block_size
        at_once = next((n for n in (8, 4, 2) if 2 * n * largest * 127 < 1 << 15), 2)
        names = {"_unpack": fmt.unpack_blocks, "_look_up": fmt.code_lookup, "_SUB": self.sub, "_OFFSET": offset}
        self.pack = specialise(_pack, f"pack_{fmt}", **names)
        add = simd.TILE_ADDERS[self.sub, min(at_once, self.sub // 4)]
        self.multiply = specialise(_multiply, f"multiply_tiles_{fmt}", _add=add, _SUB=self.sub)


@cache
def tiled(fmt: Format) -> Tiled | None:
    """The kernels of `fmt`; None where decoding and BLAS are faster: floats, levels of 8 bits on some hosts."""
    layout = unsigned_codes(fmt)
    return Tiled(fmt, *layout) if layout is not None and layout[1] <= simd.largest_code() else None

"""Matrix times vector straight on quantized blocks: what a language model spends its time with.

As in ggml the activations are rounded to 8-bit codes first, so that products are products of small integers; a block's
scale meets their sum. No weight is ever decoded.

Source: ``ggml_vec_dot_*`` in ggml-cpu/quants.c and arch/x86/quants.c.
"""

from __future__ import annotations

from qviz._machine.kernels import Kernel, i32, kernel, simd, specialise, u8


@kernel
def _q4_0(block, k, codes, scales, sums, total):
    products = simd.less(simd.dot_nibbles(block.qs, codes, 32 * k), simd.two_sums(sums, 2 * k), i32(3))
    return simd.add_scaled(total, products, block.d, scales[k])


@kernel
def _q4_1(block, k, codes, scales, sums, total):
    products = simd.dot_nibbles(block.qs, codes, 32 * k)
    return simd.add_two_scaled(total, products, block.d, scales[k], simd.two_sums(sums, 2 * k), block.m, scales[k])


@kernel
def _q5_0(block, k, codes, scales, sums, total):
    products = simd.less(simd.dot_fives(block.qh, block.qs, codes, 32 * k), simd.two_sums(sums, 2 * k), i32(4))
    return simd.add_scaled(total, products, block.d, scales[k])


@kernel
def _q5_1(block, k, codes, scales, sums, total):
    products = simd.dot_fives(block.qh, block.qs, codes, 32 * k)
    return simd.add_two_scaled(total, products, block.d, scales[k], simd.two_sums(sums, 2 * k), block.m, scales[k])


@kernel
def _q8_0(block, k, codes, scales, sums, total):
    return simd.add_scaled(total, simd.dot_bytes(block.qs, codes, 32 * k), block.d, scales[k])


@kernel
def _q4_k(block, k, codes, scales, sums, total):
    steps, mins = simd.six_bit_steps(block.scales), simd.six_bit_mins(block.scales)
    products, lows = simd.dot_nibbles_k(steps, block.qs, codes, 256 * k), simd.dot_steps(mins, sums, 16 * k)
    return simd.add_two_scaled(total, products, block.d, scales[k], lows, block.dmin, -scales[k])


@kernel
def _q5_k(block, k, codes, scales, sums, total):
    steps, mins = simd.six_bit_steps(block.scales), simd.six_bit_mins(block.scales)
    products, lows = simd.dot_fives_k(steps, block.qh, block.qs, codes, 256 * k), simd.dot_steps(mins, sums, 16 * k)
    return simd.add_two_scaled(total, products, block.d, scales[k], lows, block.dmin, -scales[k])


@kernel
def _q2_k(block, k, codes, scales, sums, total):
    steps, mins = simd.nibble_steps(block.scales, u8(0)), simd.nibble_steps(block.scales, u8(4))
    products, lows = simd.dot_twos(steps, block.qs, codes, 256 * k), simd.dot_steps(mins, sums, 16 * k)
    return simd.add_two_scaled(total, products, block.d, scales[k], lows, block.dmin, -scales[k])


@kernel
def _q3_k(block, k, codes, scales, sums, total):
    steps = simd.centred_six_bit_steps(block.scales)
    products = simd.dot_threes(steps, block.hmask, block.qs, codes, 256 * k)
    products = simd.less(products, simd.dot_steps(steps, sums, 16 * k), i32(2))
    return simd.add_scaled(total, products, block.d, scales[k])


@kernel
def _q6_k(block, k, codes, scales, sums, total):
    steps = simd.byte_steps(block.scales)
    products = simd.dot_sixes(steps, block.ql, block.qh, codes, 256 * k)
    products = simd.less(products, simd.dot_steps(steps, sums, 16 * k), i32(5))
    return simd.add_scaled(total, products, block.d, scales[k])


# --- groups of whole numbers, one scale and zero point each; see `qviz.transformer.kernels.groups`


@kernel
def _group(block, k, codes, scales, sums, total):
    """Template: sub-blocks of 32 have activations with scales of their own."""
    per_group = block.qs.size // (4 * _BITS)
    zero = i32(block.zero) - i32(128) if _BITS == 8 else i32(block.zero)
    for j in range(per_group):
        i = k * per_group + j
        if _BITS == 2:
            products = simd.dot_two_bits(block.qs, 8 * j, codes, 32 * i)
        elif _BITS == 3:
            products = simd.dot_three_bits(block.qs, 12 * j, codes, 32 * i)
        elif _BITS == 4:
            products = simd.dot_four_bits(block.qs, 16 * j, codes, 32 * i)
        else:
            products = simd.dot_eight_bits(block.qs, 32 * j, codes, 32 * i)
        products = simd.less_times(products, simd.two_sums(sums, 2 * i), zero)
        total = simd.add_scaled(total, products, block.d, scales[i])
    return total


@kernel
def _dot(blocks, codes, scales, sums, out):
    """Template: each row of `blocks` times the activations. Four rows at a time share what is loaded of those.

    Parameters
    ----------
    blocks : array (n_rows, blocks_per_row) of the format's ``kernel_dtype``
    codes : int8 array (n_in,)
        Activations, rounded.
    scales : float32 array
        What a block's codes share: one for 32 of them, or for 256 with K-quants.
    sums : int32 array (n_in / 16,)
        Sum of every sixteen codes.
    out : float32 array (n_rows,)
    """
    n, width = blocks.shape
    together = n // 4 * 4
    for r in range(0, together, 4):
        a, b, c, d = simd.no_floats(), simd.no_floats(), simd.no_floats(), simd.no_floats()
        for k in range(width):
            simd.fetch_ahead(blocks, r * width + 4 * k)
            a = _step(blocks[r, k], k, codes, scales, sums, a)
            b = _step(blocks[r + 1, k], k, codes, scales, sums, b)
            c = _step(blocks[r + 2, k], k, codes, scales, sums, c)
            d = _step(blocks[r + 3, k], k, codes, scales, sums, d)
        out[r], out[r + 1], out[r + 2], out[r + 3] = simd.total(a), simd.total(b), simd.total(c), simd.total(d)
    for r in range(together, n):
        a = simd.no_floats()
        for k in range(width):
            a = _step(blocks[r, k], k, codes, scales, sums, a)
        out[r] = simd.total(a)


_step = _q4_0  # what the templates call; `specialise` puts others behind these names
_BITS = 4

DOTS: dict[str, Kernel] = {
    name: specialise(_dot, f"dot_{name}", _step=step)
    for name, step in {
        "Q4_0": _q4_0,
        "Q4_1": _q4_1,
        "Q5_0": _q5_0,
        "Q5_1": _q5_1,
        "Q8_0": _q8_0,
        "Q2_K": _q2_k,
        "Q3_K": _q3_k,
        "Q4_K": _q4_k,
        "Q5_K": _q5_k,
        "Q6_K": _q6_k,
    }.items()
}
"""Format -> its kernel ``(blocks, codes, scales, sums, out)``; see `_dot`."""

GROUP_DOTS: dict[int, Kernel] = {
    bits: specialise(_dot, f"dot_group_{bits}", _step=specialise(_group, f"group_{bits}", _BITS=bits))
    for bits in (2, 3, 4, 8)
}
"""Bits of a code -> the kernel for groups of them; see `qviz.transformer.kernels.groups`."""

"""How activations are rounded where they meet weights, as ggml rounds them: to int8 codes, or to float16."""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import (
    bits_float,
    f32,
    half_bits,
    half_float,
    i32,
    kernel,
    simd,
    u32,
)


@kernel
def largest(x, at, width):
    """The largest magnitude of ``x[at:at+width]``, 32 or 256 of them."""
    top = i32(0)
    for j in range(at, at + width, 32):
        top = max(top, simd.largest_bits(x, j))
    return bits_float(u32(top))


@kernel
def to_scales(tops, halved):
    """What becomes code 127 -> the scale of such codes, in place; `halved` if it is kept as float16."""
    if halved:
        for b in range(tops.size):
            tops[b] = half_float(half_bits(tops[b] / f32(127)))
    else:
        for b in range(tops.size):
            tops[b] = f32(1) / (f32(127) / tops[b]) if tops[b] > f32(0) else f32(0)


@kernel
def quantize_activations(x, codes, scales, sums):
    """Activations (n,) -> int8 codes, a scale for every 32 or 256 of them, and the sum of every 16 codes.

    ggml-cpu/arch/x86/quants.c: quantize_row_q8_0 (scales rounded to float16); ggml-quants.c: quantize_row_q8_K_ref,
    whose negative scale and codes are here both turned positive, which changes no product. Rounding is half to even.
    """
    width = x.size // scales.size
    for b in range(scales.size):
        scales[b] = largest(x, width * b, width)
        inverse = f32(127) / scales[b] if scales[b] > f32(0) else f32(0)
        for j in range(width * b, width * b + width, 16):
            simd.round_sixteen(x, j, inverse, codes)
    for k in range(sums.size):
        sums[k] = simd.sixteen(codes, 16 * k)
    to_scales(scales, width == 32)


@kernel
def round_to_codes(x, width, out):
    """Activations (rows, n) after a round trip through the codes of `quantize_activations`."""
    rows, n = x.shape
    scale = np.empty(1, np.float32)
    for t in range(rows):
        for b in range(n // width):
            at = t * n + width * b
            scale[0] = largest(x, at, width)
            inverse = f32(127) / scale[0] if scale[0] > f32(0) else f32(0)
            to_scales(scale, width == 32)
            for j in range(at, at + width, 16):
                simd.store(out, j, simd.nearest(simd.load(x, j) * inverse) * scale[0])


@kernel
def round_to_half(x, out):
    """Float32 (rows, n) after a round trip through float16; `out` may be `x`."""
    rows, n = x.shape
    whole = rows * n // 8 * 8
    for j in range(0, whole, 8):
        simd.through_halves(x, j, out)
    for j in range(whole, rows * n):
        out[j // n, j % n] = half_float(half_bits(x[j // n, j % n]))

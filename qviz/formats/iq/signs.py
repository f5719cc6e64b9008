"""Signs apart from magnitudes, sixteen sub-blocks side by side.

A codebook of magnitudes needs a sign bit for each weight. Formats that store only seven for eight weights make the
number of negative ones even: where it is odd, the weight whose sign matters least changes it. Its *magnitude* then
counts as negative: whatever level it gets, its error grows with that level.
"""

from __future__ import annotations

from qviz._machine.kernels import f32, kernel, simd


@kernel
def part_signs(xs, ws, even, magnitudes, signs):
    """Weights -> magnitudes, and a whole number for eight signs: bit i is set if weight i is negative.

    Parameters
    ----------
    xs, ws : float32 arrays (16 n,)
        Weights side by side, and how much their errors count.
    even : bool
        Make the number of negative weights even, and leave out the eighth bit.
    magnitudes : float32 array (16 n,)
    signs : float32 array (2 n,)
    """
    zero, one, minus = simd.spread(f32(0)), simd.spread(f32(1)), simd.spread(f32(-0.0))
    for group in range(signs.size // simd.LANES):
        start = 8 * group * simd.LANES
        bits, odd = zero, zero
        for i in range(8):
            x = simd.load(xs, start + simd.LANES * i)
            negative = x < f32(0)
            simd.store(magnitudes, start + simd.LANES * i, simd.select(negative, minus - x, x))
            bits = simd.select(negative, bits + f32(1 << i), bits)
            odd = simd.select(negative, one - odd, odd)
        if even:
            least, which = zero, zero
            for i in range(8):
                x, w = simd.load(xs, start + simd.LANES * i), simd.load(ws, start + simd.LANES * i)
                cost = w * x * x
                if i == 0:
                    least = cost
                less = cost < least
                least, which = simd.select(less, cost, least), simd.select(less, simd.spread(f32(i)), which)
            for i in range(8):
                at = start + simd.LANES * i
                flips = simd.select(which == f32(i), odd, zero) > f32(0)
                magnitude, bit = simd.load(magnitudes, at), simd.spread(f32(1 << i))
                bit = simd.select(simd.load(xs, at) < f32(0), minus - bit, bit)
                simd.store(magnitudes, at, simd.select(flips, minus - magnitude, magnitude))
                bits = simd.select(flips, bits + bit, bits)
            bits = simd.select(bits > f32(127), bits - f32(128), bits)
        simd.store(signs, group * simd.LANES, bits)

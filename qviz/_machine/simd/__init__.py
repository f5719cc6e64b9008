"""The few places where numba's loop vectoriser is not enough: explicit, portable LLVM vectors.

LLVM chooses the instructions (dot products name two of x86). Each vector function has beside it a **twin**,
the same thing as a plain loop: students read the twin, tests compare the two. Kernels reach this package through
``qviz._machine.kernels.simd``, which imports it (and numba) only when a kernel is compiled.

================  ==================================================================
`vectors`         what an intrinsic is made of
`ranges`          the range of a block
`codes`           codes of 4, 5 and 8 bits, in and out of the bytes of a block
`bits`            codes of one or two bits, six-bit scales, ternary digits, signs
`decoding`        from codes to weights
`side_by_side`    sixteen float32 at once, with operators
`points`          points of a lattice: digits, and the nearest of a list
`products`        what the dot products are made of
`dots`            32 packed weights times int8 codes
`factors`         the steps of sub-blocks
`super_dots`      256 packed weights times int8 codes
`scaling`         float scales come in
`tiles`           sixteen rows of weights times four tokens
================  ==================================================================

Arrays given to these functions must be C-contiguous; nothing here checks a bound.
"""

from __future__ import annotations

# ruff: noqa: F401  what stands here is what there is: kernels ask for a name of this package when they are compiled
from qviz._machine.simd.bits import (
    add_bits,
    add_bits_twin,
    put_bits,
    put_bits_twin,
    six_bit_pairs,
    six_bit_pairs_twin,
    spread_signs,
    spread_signs_twin,
    take_bits,
    take_bits_twin,
    take_last_trits,
    take_last_trits_twin,
    take_trits,
    take_trits_twin,
)
from qviz._machine.simd.codes import (
    copy32,
    fifth_bits,
    fifth_bits_twin,
    join_nibbles,
    join_nibbles_twin,
    rounded_codes,
    rounded_codes_twin,
    split_fives,
    split_fives_twin,
    split_nibbles,
    split_nibbles_twin,
    truncated_codes,
    truncated_codes_twin,
)
from qviz._machine.simd.decoding import copy_streaming, decode_streaming, look_up, look_up_twin
from qviz._machine.simd.dots import (
    code_in_planes,
    dot_bytes,
    dot_bytes_twin,
    dot_eight_bits,
    dot_fives,
    dot_fives_twin,
    dot_four_bits,
    dot_nibbles,
    dot_nibbles_twin,
    dot_three_bits,
    dot_two_bits,
    fetch_ahead,
    fetch_ahead_twin,
    less,
    less_times,
    less_twin,
    sixteen,
    sixteen_twin,
    two_sums,
    two_sums_twin,
)
from qviz._machine.simd.factors import (
    byte_steps,
    byte_steps_twin,
    centred_six_bit_steps,
    centred_six_bit_steps_twin,
    load_steps,
    nibble_steps,
    nibble_steps_twin,
    six_bit_mins,
    six_bit_mins_twin,
    six_bit_steps,
    six_bit_steps_twin,
    store_steps,
)
from qviz._machine.simd.points import (
    digits,
    nearest_of_eight,
    nearest_of_eight_twin,
    nearest_of_four,
    nearest_of_four_twin,
)
from qviz._machine.simd.products import floats, steps, words
from qviz._machine.simd.ranges import (
    largest_bits,
    largest_bits_twin,
    largest_key,
    largest_key_twin,
    sixteen_ranges,
    sixteen_ranges_twin,
    smallest_key,
    smallest_key_twin,
)
from qviz._machine.simd.scaling import (
    add_scaled,
    add_scaled_twin,
    add_two_scaled,
    add_two_scaled_twin,
    no_floats,
    through_halves,
    through_halves_twin,
    total,
    widen_halves,
    widen_halves_twin,
)
from qviz._machine.simd.side_by_side import (
    LANES,
    lane_mask,
    lanes,
    load,
    low_byte,
    magnitude,
    nearest,
    root,
    select,
    some,
    spread,
    store,
    store_bytes,
    store_nibbles,
    transpose,
)
from qviz._machine.simd.super_dots import (
    dot_fives_k,
    dot_fives_k_twin,
    dot_nibbles_k,
    dot_nibbles_k_twin,
    dot_sixes,
    dot_sixes_twin,
    dot_steps,
    dot_steps_twin,
    dot_threes,
    dot_threes_twin,
    dot_twos,
    dot_twos_twin,
)
from qviz._machine.simd.tiles import (
    TILE_ADDERS,
    add_tile_twin,
    no_tile,
    pack_sixteen,
    pack_sixteen_twin,
    round_sixteen,
    round_sixteen_twin,
    store_tile,
    tile,
)
from qviz._machine.simd.vectors import largest_code

"""Each vector function against its plain loop."""

import numpy as np
import pytest
from rows import adversarial, random_bits

from qviz._machine import simd as _simd
from qviz._machine.kernels import f32, i8, kernel
from qviz.formats import get
from qviz.formats.base import _decode

ROWS = [row[k : k + 32] for row in adversarial().values() for k in (0, 32, 224)] + list(
    random_bits(32 * 64).reshape(64, 32)
)
CODES = np.random.default_rng(1).integers(0, 32, (50, 32), dtype=np.uint8)
RAW = np.random.default_rng(2).integers(0, 256, (50, 16), dtype=np.uint8)


def calls(name, arguments, result=None):
    """Compile ``simd.<name>`` and its twin into callers, since vectors live inside kernels only."""
    source = f"def call({arguments}):\n    return simd.{name}({arguments})\n"
    out = []
    for function in (getattr(_simd, name), getattr(_simd, f"{name}_twin")):
        function = getattr(function, "compiled", function)
        scope = {"simd": type("Scope", (), {})}
        exec(source.replace(f"simd.{name}", "target"), {"target": function}, scope)
        import numba

        out.append(numba.njit(error_model="numpy")(scope["call"]))
    return out


@pytest.mark.parametrize("name", ["smallest_key", "largest_key"])
def test_ranges(name):
    vector, twin = calls(name, "row")
    for row in ROWS:
        assert vector(row) == twin(row)


def test_ranges_of_sixteen():
    vector, twin = calls("sixteen_ranges", "x, start, last, low, high, to")
    x = np.concatenate(ROWS)
    for start, last in ((0, 15), (3, 18), (64, 70), (5, 5), (len(ROWS) - 16, len(ROWS) - 1)):
        found = np.full((4, 20), 7, np.float32)
        vector(x, start, last, found[0], found[1], 2)
        assert twin(x, start, last, found[2], found[3], 2)
        assert np.array_equal(found[:2], found[2:])
        blocks = x.reshape(-1, 32)[np.minimum(np.arange(start, start + 16), last)]
        assert np.array_equal(found[:2, 2:18], [blocks.min(1), blocks.max(1)])
    calm = np.random.default_rng(4).standard_normal((16, 32), np.float32)
    low, high = np.empty((2, 16), np.float32)
    assert vector(calm.ravel(), 0, 15, low, high, 0)
    for strange in (np.inf, -np.inf, np.nan):
        for at in range(512):
            x = calm.ravel().copy()
            x[at] = strange
            assert not vector(x, 0, 15, low, high, 0)
            assert not twin(x, 0, 15, low, high, 0)
    assert not vector(np.full(512, np.inf, np.float32), 0, 15, low, high, 0)


@pytest.mark.parametrize(("half", "top"), [(0.5, 15.0), (8.5, 15.0), (16.5, 31.0)])
def test_truncated_codes(half, top):
    vector, twin = calls("truncated_codes", "row, low, inverse, half, top, codes")
    a, b = np.empty(32, np.uint8), np.empty(32, np.uint8)
    for row in ROWS:
        for inverse in (np.nan, 0.0, -3.0, 1e30):
            for out, call in ((a, vector), (b, twin)):
                call(row, row.min(), f32(inverse), f32(half), f32(top), out)
            assert a.tolist() == b.tolist()


def test_rounded_codes():
    vector, twin = calls("rounded_codes", "row, inverse, codes")
    a, b = np.empty(32, np.int8), np.empty(32, np.int8)
    for row in ROWS:
        largest = np.abs(row).max()
        inverses = [f32(np.nan), f32(0)]
        if largest > 1e-30:
            inverses.append(f32(127) / largest)
        for inverse in inverses:
            vector(row, inverse, a)
            twin(row, inverse, b)
            assert a.tolist() == b.tolist()


def test_nibbles():
    split, split_twin = calls("split_nibbles", "qs, codes, offset")
    join, join_twin = calls("join_nibbles", "codes, qs")
    for qs, codes in zip(RAW, CODES, strict=True):
        a, b = np.empty(32, np.int8), np.empty(32, np.int8)
        split(qs, a, i8(8))
        split_twin(qs, b, i8(8))
        assert a.tolist() == b.tolist()
        c, d = np.empty(16, np.uint8), np.empty(16, np.uint8)
        join(codes, c)
        join_twin(codes, d)
        assert c.tolist() == d.tolist()


def test_fives():
    split, split_twin = calls("split_fives", "word, qs, codes, offset")
    fifth, fifth_twin = calls("fifth_bits", "codes")
    for qs, codes in zip(RAW, CODES, strict=True):
        word = np.uint32(fifth(codes))
        assert word == fifth_twin(codes)
        a, b = np.empty(32, np.int8), np.empty(32, np.int8)
        split(word, qs, a, i8(16))
        split_twin(word, qs, b, i8(16))
        assert a.tolist() == b.tolist()


def test_look_up():
    vector, twin = calls("look_up", "codes, table")
    table = np.random.default_rng(4).integers(-128, 128, 16).astype(np.int8)
    a = np.random.default_rng(5).integers(0, 16, 320).astype(np.int8)
    b = a.copy()
    expected = table[a].tolist()
    vector(a, table)
    twin(b, table)
    assert a.tolist() == b.tolist() == expected


@pytest.mark.parametrize(("shift", "mask", "offset"), [(0, 255, 0), (2, 3, 1), (4, 15, 8), (7, 1, -3)])
def test_bits_of_bytes(shift, mask, offset):
    vector, twin = calls("take_bits", "qs, at, shift, mask, offset, codes, to")
    a, b = np.zeros(160, np.int8), np.zeros(160, np.int8)
    for call, out in ((vector, a), (twin, b)):
        call(RAW.ravel(), 17, np.uint8(shift), np.uint8(mask), i8(offset), out, 96)
    expected = ((RAW.ravel()[17:49] >> shift) & mask).astype(np.int8) - offset
    assert a.tolist() == b.tolist() == [0] * 96 + expected.tolist() + [0] * 32


@pytest.mark.parametrize("power", [1, 3, 9, 27, 81])
def test_trits(power):
    vector, twin = calls("take_trits", "qs, at, power, codes, to")
    qs = np.arange(256, dtype=np.uint8)
    a, b = np.zeros(256, np.int8), np.zeros(256, np.int8)
    for at in range(0, 256, 16):
        vector(qs, at, np.uint8(power), a, at)
        twin(qs, at, np.uint8(power), b, at)
    assert a.tolist() == b.tolist() == [q * power % 256 * 3 // 256 - 1 for q in range(256)]


def test_last_trits():
    vector, twin = calls("take_last_trits", "qh, codes, to")
    for qh in RAW[:, :4]:
        a, b = np.zeros(20, np.int8), np.zeros(20, np.int8)
        vector(qh, a, 3)
        twin(qh, b, 3)
        digits = [int(q) * 3**k % 256 * 3 // 256 - 1 for k in range(4) for q in qh]
        assert a.tolist() == b.tolist() == [0, 0, 0, *digits, 0]


@pytest.mark.parametrize("word", [0, 1, 0x80000000, 0xFFFFFFFF, 0x12345678])
def test_signs(word):
    vector, twin = calls("spread_signs", "word, codes, to")
    a, b = np.zeros(64, np.int8), np.zeros(64, np.int8)
    vector(np.uint32(word), a, 16)
    twin(np.uint32(word), b, 16)
    assert a.tolist() == b.tolist() == [0] * 16 + [2 * (word >> k & 1) - 1 for k in range(32)] + [0] * 16


@pytest.mark.parametrize("width", [16, 32])
def test_streaming_decode(width):
    rng = np.random.default_rng(0)
    codes = rng.integers(-128, 128, (33, width)).astype(np.int8)
    scales, mins = rng.standard_normal((2, 33)).astype(np.float32)
    plain = np.empty((33, width), np.float32)
    raw = np.empty(33 * width * 4 + 64, np.uint8)
    start = -raw.ctypes.data % 64
    streamed = raw[start : start + plain.nbytes].view(np.float32).reshape(plain.shape)
    _decode(codes, scales, mins, plain)
    _simd.decode_streaming(codes, scales, mins, streamed)
    assert np.array_equal(plain, streamed)
    assert kernel is not None


def test_widen_halves():
    """Every float16, NaN and subnormals included, as NumPy widens it."""
    vector, twin = calls("widen_halves", "halves, at, out")
    bits = np.arange(1 << 16, dtype=np.uint16)
    want = bits.view(np.float16).astype(np.float32)
    for function in (vector, twin):
        got = np.empty(1 << 16, np.float32)
        for at in range(0, 1 << 16, 8):
            function(bits, at, got[at : at + 8])
        assert np.array_equal(got, want, equal_nan=True)


def test_through_halves():
    """Every float16, what lies between two of them and just beside that, and bits at random."""
    vector, twin = calls("through_halves", "x, at, out")
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    with np.errstate(invalid="ignore"):
        middles = (halves[:-1] + halves[1:]) / 2
    x = np.concatenate([halves, middles, np.nextafter(middles, f32(0)), np.nextafter(middles, f32(np.inf))])
    x = np.concatenate([x, random_bits(1 << 16)])[: -(3 * ((1 << 16) - 1) % 8) or None]
    a, b = np.empty_like(x), np.empty_like(x)
    for at in range(0, x.size, 8):
        vector(x, at, a)
        twin(x, at, b)
    numbers = ~np.isnan(x)
    assert np.array_equal(a.view(np.uint32)[numbers], b.view(np.uint32)[numbers])
    assert np.isnan(a[~numbers]).all()
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.array_equal(b[numbers], x[numbers].astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("name", ["Q8_0", "Q6_K"])
def test_blocks_are_asked_for_before_they_are_needed(name):
    """Four blocks further on, line by line; nothing is touched there, so they may lie behind the end of an array."""
    vector, _ = calls("fetch_ahead", "blocks, first")
    blocks = np.zeros(4, get(name).kernel_dtype)
    for first in (0, 4, 1 << 30):
        vector(blocks, first)
    assert not blocks.view(np.uint8).any()
    assert "@llvm.prefetch" in next(iter(vector.inspect_llvm().values()))

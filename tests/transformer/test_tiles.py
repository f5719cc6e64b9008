"""Tiles: the vectors against their plain loops, what is laid out, and products with every edge that a tile may have."""

import os
import platform
import subprocess
import sys

import numba
import numpy as np
import pytest
from bounds import U, block_bound, sum_bound
from rows import adversarial

import qviz
from qviz._machine import simd as _simd
from qviz.formats import FORMATS, QTensor
from qviz.transformer.kernels.tiles import pack_tokens, tiled, unsigned_codes
from qviz.transformer.linear import Activations, Linear, plain_integer_product

RNG = np.random.default_rng(11)
TILED = [name for name, fmt in FORMATS.items() if unsigned_codes(fmt)]


def compiled(source, **names):
    scope = {}
    exec(source, {"simd": _simd, **names}, scope)
    return numba.njit(error_model="numpy")(scope["call"])


def test_largest_bits():
    vector = compiled("def call(row, at):\n return simd.largest_bits(row, at)\n")
    for row in adversarial().values():
        for at in (0, 7, 200):
            assert vector(row, at) == _simd.largest_bits_twin(row, at)


def test_sixteen():
    vector = compiled("def call(codes, at):\n return simd.sixteen(codes, at)\n")
    codes = RNG.integers(-128, 128, 64, np.int8)
    codes[:16], codes[16:32] = -128, 127
    for at in range(48):
        assert vector(codes, at) == _simd.sixteen_twin(codes, at) == codes[at : at + 16].astype(int).sum()


def test_round_sixteen():
    vector = compiled("def call(x, at, inverse, codes):\n simd.round_sixteen(x, at, inverse, codes)\n")
    x = np.linspace(-127, 127, 509, dtype=np.float32)  # every half between two codes is met
    x = np.concatenate([x, np.float32([np.nan, -0.0, 1e-40])])
    a, b = np.empty(512, np.int8), np.empty(512, np.int8)
    for at in range(0, 512, 16):
        vector(x, at, np.float32(1), a)
        _simd.round_sixteen_twin(x, at, np.float32(1), b)
    assert a.tolist() == b.tolist()
    assert a[:3].tolist() == [-127, -126, -126]  # -126.5 goes to the even neighbour
    assert a[509] == 0


def test_pack_sixteen():
    vector = compiled(
        "def call(x, at, stride, tops, at_t, codes, to, sums, to_s):\n"
        " simd.pack_sixteen(x, at, stride, tops, at_t, codes, to, sums, to_s)\n"
    )
    x = RNG.standard_normal((4, 40)).astype(np.float32)
    tops = np.float32([9, *np.abs(x).max(1)])
    x[2], tops[3] = 0, 0
    codes, sums = np.full(80, 99, np.int8), np.full(6, 99, np.float32)
    vector(x.reshape(-1), 8, 40, tops, 1, codes, 16, sums, 1)
    want, total = np.empty((4, 4, 4), np.int8), np.empty(4, np.float32)
    _simd.pack_sixteen_twin(np.ascontiguousarray(x[:, 8:24]), tops[1:], want, total)
    assert np.array_equal(codes[16:].reshape(4, 4, 4), want)
    assert sums.tolist() == [99, *total.tolist(), 99]
    assert (codes[:16] == 99).all()


@pytest.mark.parametrize(("width", "at_once"), sorted(_simd.TILE_ADDERS))
def test_add_tile(width, at_once):
    """With the largest codes that 16 bits hold, so that a sum which overflows shows."""
    vector = compiled(
        "def call(w, s, m, c, d, both, out):\n"
        " total = simd.no_tile()\n"
        " for k in range(2):\n"
        "  at, at_c = 64 + k * 16 * width, 16 + k * 4 * width\n"
        "  total = add(total, w, at, s, m, 16 + 16 * k, c, at_c, d, 4, both, 4 + 4 * k)\n"
        " simd.store_tile(total, out, 3, 20)\n",
        add=_simd.TILE_ADDERS[width, at_once],
        width=width,
    )
    largest = min(63, ((1 << 15) - 1) // (2 * 127 * at_once))
    for extreme in (False, True):
        w = RNG.integers(0, largest + 1, (2, width // 4, 16, 4)).astype(np.uint8)
        c = RNG.integers(-127, 128, (2, width // 4, 4, 4)).astype(np.int8)
        if extreme:
            w[:], c[:, :, 1], c[:, :, 2] = largest, 127, -127
        s, m = RNG.uniform(0, 1, (2, 2, 16)).astype(np.float32)
        d, both = RNG.uniform(0, 1, 4).astype(np.float32), RNG.standard_normal((2, 4)).astype(np.float32)
        out = np.full(3 + 80, 7, np.float32)
        vector(
            np.concatenate([np.zeros(64, np.uint8), w.reshape(-1)]),
            *(np.concatenate([np.zeros(16, np.float32), x.reshape(-1)]) for x in (s, m)),
            np.concatenate([np.zeros(16, np.int8), c.reshape(-1)]),
            *(np.concatenate([np.zeros(4, np.float32), x.reshape(-1)]) for x in (d, both)),
            out,
        )
        want = np.zeros((4, 16), np.float32)
        for k in range(2):
            _simd.add_tile_twin(want, w[k], s[k], m[k], c[k], d, both[k])
        found = out[3:].reshape(4, 20)
        # for each row: two sums of codes, which are exact, by a scale of each side, and two minimums; added in float32
        size = np.zeros((4, 16), np.float32)
        for k in range(2):
            _simd.add_tile_twin(size, w[k], s[k], -m[k], np.abs(c[k]), d, np.abs(both[k]))
        assert (np.abs(found[:, :16] - want) <= 2 * (4 + 6) * U * size).all()
        assert (found[:, 16:] == 7).all()
        assert (out[:3] == 7).all()


@pytest.mark.parametrize("width", [32, 256])
@pytest.mark.parametrize("n_tokens", [4, 6, 9])
def test_tokens_stand_four_by_four(width, n_tokens):
    """The codes, scales and sums of one token, in other places; what fills the last group is zero."""
    x = RNG.standard_normal((n_tokens, 512)).astype(np.float32)
    x[1, :256] = 0
    groups = -(-n_tokens // 4)
    codes, steps = np.full((groups, 128, 4, 4), 99, np.int8), np.full((groups, 512 // width, 4), 9, np.float32)
    few, many = np.full((groups, 32, 4), 9, np.float32), np.full((groups, 16, 4), 9, np.float32)
    pack_tokens(x, width, codes, steps, few, many)
    for t in range(4 * groups):
        mine = (
            codes[t // 4, :, t % 4].reshape(-1),
            steps[t // 4, :, t % 4],
            few[t // 4, :, t % 4],
            many[t // 4, :, t % 4],
        )
        if t >= n_tokens:
            assert not any(part.any() for part in mine)
            continue
        want, scales, sums = Activations(x[t : t + 1]).codes(width)
        assert np.array_equal(mine[0], want)
        assert np.array_equal(mine[1], scales)
        each = np.repeat(scales, width // 16) * sums
        assert np.array_equal(mine[2], each.astype(np.float32))
        assert (np.abs(mine[3] - each.reshape(-1, 2).sum(1)) <= sum_bound(each.reshape(-1, 2))).all()


def test_which_formats_use_tiles(monkeypatch):
    for largest, eight_bits, six_bits in ((255, True, True), (63, False, True), (-1, False, False)):
        monkeypatch.setattr(_simd, "largest_code", lambda largest=largest: largest)
        tiled.cache_clear()
        assert (tiled(qviz.formats.get("Q8_0")) is not None) == eight_bits
        assert (tiled(qviz.formats.get("Q6_K")) is not None) == six_bits
        assert (tiled(qviz.formats.get("IQ4_NL")) is not None) == eight_bits, "a table of levels up to ±127"
        assert (tiled(qviz.formats.get("MXFP4")) is not None) == six_bits, "of levels up to ±12"
        assert tiled(qviz.formats.get("F16")) is None
    tiled.cache_clear()


@pytest.mark.parametrize("name", TILED)
@pytest.mark.parametrize(("rows", "n_tokens"), [(16, 8), (5, 5), (35, 30)])
def test_products_are_those_of_one_token(name, rows, n_tokens):
    n = 512
    if FORMATS[name].can_encode:
        tensor = qviz.quantize(RNG.standard_normal((rows, n)).astype(np.float32), name)
    else:
        tensor = random_blocks(name, rows, n)
    x = RNG.standard_normal((n_tokens, n)).astype(np.float32)
    linear = Linear(tensor)
    found, want = linear(x), np.empty((n_tokens, rows), np.float32)
    for t in range(n_tokens):
        plain_integer_product(tensor.format)(linear.blocks, *Activations(x[t : t + 1]).codes(linear.width), want[t])
    assert (np.abs(found - want) <= 2 * block_bound(tensor, x)).all()


PRODUCTS = """
import sys
import numpy as np
import qviz
from qviz._machine import simd as _simd
from qviz.transformer.linear import Activations, Linear, plain_integer_product

rng = np.random.default_rng(1)
for name, raw in np.load(sys.argv[1]).items():  # they are encoded beforehand: encoders need not be compiled here
    linear = Linear(qviz.QTensor.from_bytes(name, raw, (20, 256)))
    x = rng.standard_normal((6, 256)).astype(np.float32)
    want = np.empty((6, 20), np.float32)
    for t in range(6):
        codes = Activations(x[t : t + 1]).codes(linear.width)
        plain_integer_product(linear.weight.format)(linear.blocks, *codes, want[t])
    assert np.allclose(linear(x), want, rtol=1e-5, atol=1e-3), name
print(_simd.largest_code())
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="features of x86")
@pytest.mark.parametrize(
    ("features", "largest"), [("+sse4.2,+ssse3,+sse4.1,+sse3", -1), ("+avx2,+avx,+f16c,+fma,+sse4.2,+ssse3", 63)]
)
def test_older_processors(features, largest, tmp_path):
    """What numba compiles for decides, not what the machine has: a sum in 16 bits cannot take eight-bit codes."""
    settings = {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    weights = RNG.standard_normal((20, 256)).astype(np.float32)
    names = ("Q8_0", "Q6_K", "Q4_0", "IQ4_NL", "MXFP4")
    np.savez(tmp_path / "blocks.npz", **{name: qviz.quantize(weights, name).blocks.view(np.uint8) for name in names})
    command = [sys.executable, "-c", PRODUCTS, str(tmp_path / "blocks.npz")]
    run = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.split() == [str(largest)]


def test_a_matrix_larger_than_what_is_laid_out_at_a_time(monkeypatch):
    tensor = qviz.quantize(RNG.standard_normal((70, 256)).astype(np.float32), "Q4_K")
    x = RNG.standard_normal((9, 256)).astype(np.float32)
    want = Linear(tensor)(x)
    monkeypatch.setattr("qviz.transformer.linear._DECODED_AT_ONCE", 2 * 16 * 256)
    assert np.array_equal(Linear(tensor)(x), want)


def random_blocks(name, rows, n):
    """All bytes random, and finite scales: whatever a file may hold."""
    fmt = qviz.formats.get(name)
    blocks = RNG.integers(0, 256, (rows, fmt.row_size(n)), np.uint8).view(fmt.dtype)
    for field in {"d", "dmin", "m", "s"} & set(fmt.dtype.names):
        if blocks[field].dtype.kind == "f":
            blocks[field] = RNG.uniform(-1, 1, blocks.shape)
    if name == "IQ1_M":  # its scale is spread over the upper nibbles of four words: 0x3C00 is 1
        words = blocks["scales"].view("<u2")
        words[...] = words & 0x0FFF | np.uint16([0, 0, 0xC000, 0x3000])
    return QTensor(fmt, blocks, (rows, n))


@pytest.mark.parametrize("name", TILED)
def test_codes_fit_their_bounds(name):
    """Codes of random blocks, or the levels that they name, are unsigned and no larger than is said."""
    codes, table = random_blocks(name, 50, 2048).unpack().codes.astype(int), FORMATS[name].table
    codes = codes if table is None else np.array(table)[codes]
    offset, largest = unsigned_codes(FORMATS[name])
    assert codes.min() + offset >= 0
    assert largest / 2 < codes.max() + offset <= largest
    assert largest <= 255

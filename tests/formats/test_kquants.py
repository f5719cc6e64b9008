"""K-quants: the importance matrix, the recorded search, and lanes against NumPy."""

import bounds
import ggml
import numpy as np
import pytest
from rows import adversarial, random_bits

from qviz._machine import simd as _simd
from qviz._machine.kernels import f32, i8, kernel, simd, u8
from qviz.errors import FormatError, NonFiniteError, ShapeError
from qviz.formats import FORMATS, QTensor, quantize
from qviz.formats.kquant import record as kquant

K_QUANTS = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]
WITH_MIN = ["Q2_K", "Q4_K", "Q5_K"]
RNG = np.random.default_rng(2)
IMATRICES = {
    "ones": np.ones(256),
    "squares": RNG.standard_normal(256) ** 2,
    "wide": 10.0 ** RNG.uniform(-12, 12, 256),
    "zeros": np.zeros(256),
    "half zero": np.arange(256) % 2,
    "one column": np.arange(256) == 77,
    "one sub-block unimportant": np.arange(256) // 32 != 3,
    "tiny": np.full(256, 1e-38),
    "huge": np.full(256, 1e37),
}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("imatrix", IMATRICES)
@pytest.mark.parametrize("name", K_QUANTS)
def test_adversarial_rows_with_an_imatrix(name, imatrix):
    x, importance = np.stack(list(adversarial().values())), np.asarray(IMATRICES[imatrix], np.float32)
    width = FORMATS[name].type_size
    ours = np.frombuffer(quantize(x, name, importance).tobytes(), np.uint8).reshape(-1, width)
    theirs = np.frombuffer(ggml.quantize(x, name, importance), np.uint8).reshape(-1, width)
    assert [row for row, a, b in zip(adversarial(), ours, theirs, strict=True) if (a != b).any()] == []


@pytest.mark.parametrize("name", K_QUANTS)
def test_an_imatrix_belongs_to_columns(name):
    """Seven blocks a row: tiles of sixteen blocks start in the middle of rows."""
    x, importance = normal(21, 1792), normal(1792, seed=1) ** 2
    assert quantize(x, name, importance).tobytes() == ggml.quantize(x, name, importance)


@pytest.mark.parametrize("name", K_QUANTS)
def test_weights_of_every_exponent_with_an_imatrix(name):
    x, importance = random_bits(32 * 4096).reshape(32, 4096), normal(4096) ** 2
    assert quantize(x, name, importance).tobytes() == ggml.quantize(x, name, importance)


@pytest.mark.parametrize("name", K_QUANTS)
@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 300), (20, 1791)])
def test_non_finite_weights_are_refused_with_an_imatrix(name, row, column):
    x = normal(21, 1792)
    x[row, column] = np.inf
    with pytest.raises(NonFiniteError, match=rf"weight \[{row}, {column}\] is inf"):
        quantize(x, name, np.ones(1792))


@pytest.mark.parametrize("name", K_QUANTS)
def test_importance_lowers_the_error_where_it_matters(name):
    x, importance = normal(64, 256), np.where(np.arange(256) % 16 == 5, 100.0, 1.0)
    plain, weighted = (
        np.square(quantize(x, name, w).dequantize() - x)[:, 5::16].mean() for w in (None, importance.astype(np.float32))
    )
    assert weighted < 0.9 * plain


# --- the recorded search ---------------------------------------------------------------------------------------------


def fit(x, w, codes):
    """Weighted least squares by linear algebra, in float64: scale and minimum, which is not below 0."""
    x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
    design = np.stack([codes, -np.ones(codes.size)], axis=1) * np.sqrt(w)[:, None]
    (scale, low), *_ = np.linalg.lstsq(design, x * np.sqrt(w), rcond=None)
    if low < 0:
        scale, low = np.sum(w * x * codes) / np.sum(w * codes * codes), 0.0
    return scale, low


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", WITH_MIN)
@pytest.mark.parametrize("offset", [0, 3])
def test_every_candidate_is_the_best_fit_to_its_codes(name, weighted, offset):
    x = normal(256, seed=4) + np.float32(offset)
    trace = kquant.search_trace(x, name, 2, normal(256, seed=5) ** 2 if weighted else None)
    top = FORMATS[name].codes[1]
    assert trace.codes[0].tolist() == [
        round(float(v)) for v in (trace.x - min(trace.x.min(), 0)) * top / (trace.x.max() - min(trace.x.min(), 0))
    ]
    power = 1 if name == "Q2_K" and not weighted else 2
    for k, (scale, low, error, codes) in enumerate(
        zip(trace.scales, trace.mins, trace.errors, trace.codes.astype(float), strict=True)
    ):
        if k > 0:
            bound = bounds.line_bound(trace.x, trace.weights, codes)
            bounds.assert_within([scale, low], fit(trace.x, trace.weights, codes), bound)
        parts = [np.float64(scale) * codes, np.float64(low), trace.x.astype(np.float64)]
        off, size = parts[0] - parts[1] - parts[2], sum(np.abs(part) for part in parts)
        bound = bounds.errors_bound(off, size, trace.weights, power=power, roundings=3)
        bounds.assert_within(error, np.sum(trace.weights * np.abs(off) ** power), bound)
    assert trace.best == np.nanargmin(trace.errors)
    assert trace.errors[trace.best] < trace.errors[0]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["Q3_K", "Q6_K"])
def test_centred_candidates_are_the_best_fits_too(name, weighted):
    improved = 0
    for sub_block in range(16):
        trace = kquant.search_trace(
            normal(256, seed=6), name, sub_block, normal(256, seed=7) ** 2 if weighted else None
        )
        w, x = trace.weights.astype(np.float64), trace.x.astype(np.float64)
        for scale, error, codes in zip(trace.scales, trace.errors, trace.codes.astype(float), strict=True):
            top, below = w * x * codes, w * codes * codes
            bound = bounds.ratio_bound(
                top.sum(), bounds.sum_bound(top, roundings=3), below.sum(), bounds.sum_bound(below, roundings=3)
            )
            bounds.assert_within(scale, top.sum() / below.sum(), bound)
            off = scale * codes - x
            bounds.assert_within(
                error, np.sum(w * off**2), bounds.errors_bound(off, np.abs(scale * codes) + np.abs(x), w)
            )
        assert not trace.mins.any()
        # gains are compared in float32, so errors can only be told apart by the digits that a gain has
        assert trace.errors[trace.best] <= trace.errors.min() + 2 * bounds.sum_bound(w * x * x, roundings=8)
        improved += trace.errors[trace.best] < 0.99 * trace.errors[0]
    assert improved >= 2


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", K_QUANTS)
def test_the_search_leads_to_what_ggml_stores(name, weighted):
    """A stored scale is a whole multiple of the factor: within half a step of what the search found."""
    x, importance = normal(256, seed=8), normal(256, seed=9) ** 2 if weighted else None
    stored = QTensor.from_bytes(name, ggml.quantize(x[None], name, importance), (256,))
    u = stored.unpack()
    step = abs(float(stored.blocks["d"][0]))
    for j in range(u.scales.size):
        trace = kquant.search_trace(x, name, j, importance)
        assert abs(u.scales[j] - trace.scales[trace.best]) <= 0.51 * step + 1e-3 * abs(u.scales[j])
        if name in WITH_MIN:
            assert abs(u.mins[j] - trace.mins[trace.best]) <= 0.51 * float(stored.blocks["dmin"][0]) + 1e-3


@pytest.mark.parametrize("name", K_QUANTS)
@pytest.mark.parametrize("value", [0.0, -1.5])
def test_the_search_of_a_constant(name, value):
    trace = kquant.search_trace(np.full(256, value), name)
    decoded = trace.scales[trace.best] * trace.codes[trace.best] - trace.mins[trace.best]
    bounds.assert_within(decoded, value, bounds.size_bound(value, 2 * 32 + 8))  # a line through one point


def test_a_search_that_cannot_be():
    x = np.ones(256)
    for bad in ("Q4_0", "F32", "Q8_0"):
        with pytest.raises(FormatError, match="no scale search"):
            kquant.search_trace(x, bad)
    for bad in (-1, 8):
        with pytest.raises(FormatError, match=f"no sub-block {bad}"):
            kquant.search_trace(x, "Q4_K", bad)
    with pytest.raises(ShapeError, match=r"\(255,\)"):
        kquant.search_trace(x[1:], "Q4_K")
    with pytest.raises(ShapeError, match="imatrix"):
        kquant.search_trace(x, "Q4_K", imatrix=np.ones(3))
    with pytest.raises(NonFiniteError):
        kquant.search_trace(x * np.nan, "Q4_K")


# --- lanes, and bits of bytes ----------------------------------------------------------------------------------------

VALUES = np.concatenate([random_bits(4096), *adversarial().values()])
OTHERS = np.roll(VALUES, 101)


@kernel
def _every_operation(a, b, out):
    for at in range(0, a.size, simd.LANES):
        x, y = simd.load(a, at), simd.load(b, at)
        zero, one = simd.spread(f32(0)), simd.spread(f32(1))
        less = x < y
        alike = simd.select(x != y, simd.magnitude(x), simd.spread(f32(-1))) == simd.magnitude(y)
        simd.store(out[0], at, x + y)
        simd.store(out[1], at, x - y)
        simd.store(out[2], at, x * y)
        simd.store(out[3], at, x / y)
        simd.store(out[4], at, simd.root(simd.magnitude(x)))
        simd.store(out[5], at, simd.select(less, one, zero))
        simd.store(out[6], at, simd.select(x > y, one, zero))
        simd.store(out[7], at, simd.select(alike, one, zero))
        simd.store(out[8], at, f32(3) - x * f32(0.1))
        some = f32(1) if simd.some(less) else f32(0)
        simd.store(out[9], at, simd.spread(some))


def test_lanes_compute_as_numpy_does():
    out = np.empty((10, VALUES.size), np.float32)
    _every_operation(VALUES, OTHERS, out)
    x, y = VALUES, OTHERS
    with np.errstate(all="ignore"):
        expected = [x + y, x - y, x * y, x / y, np.sqrt(np.abs(x)), x < y, x > y, (np.abs(x) == np.abs(y)) & (x != y)]
        expected += [np.float32(3) - x * np.float32(0.1), np.repeat((x < y).reshape(-1, 16).any(axis=1), 16)]
    for ours, theirs in zip(out, expected, strict=True):
        assert np.array_equal(ours, theirs.astype(np.float32), equal_nan=True)
    assert out[7].any()


@kernel
def _whole_numbers(a, nearest, low, stored):
    for at in range(0, a.size, simd.LANES):
        whole = simd.nearest(simd.load(a, at))
        simd.store(nearest, at, whole)
        simd.store(low, at, simd.low_byte(whole))
        simd.store_bytes(stored, at, simd.low_byte(whole))


def test_whole_numbers_are_those_of_c():
    """By the bits: what is left of a float32 sum with 1.5 · 2^23, however large the number was."""
    edges = np.float32(
        [0.5, 1.5, 2.5, -0.5, -1.5, 4194303, -4194303, 4194304, 1e7, -1e7, 1e38, np.inf, -np.inf, np.nan]
    )
    x = np.concatenate([np.resize(edges, 16), np.arange(-600, 600, 0.25, np.float32), VALUES])
    nearest, low, stored = np.empty_like(x), np.empty_like(x), np.empty(x.size, np.uint8)
    _whole_numbers(x, nearest, low, stored)
    with np.errstate(all="ignore"):
        expected = ((x + np.float32(12582912)).view(np.int32) & 0x7FFFFF) - 0x400000
    assert nearest.astype(np.int64).tolist() == expected.tolist()
    small = np.abs(x) < 4e6
    assert np.array_equal(nearest[small], np.rint(x[small]))
    assert low.astype(np.int64).tolist() == (expected & 255).tolist()
    assert stored.tolist() == (expected & 255).tolist()


@kernel
def _two_a_byte(first, second, out):
    for at in range(0, first.size, simd.LANES):
        simd.store_nibbles(out, at, simd.load(first, at), simd.load(second, at))


def test_two_codes_a_byte():
    whole = np.arange(256, dtype=np.uint8)
    for fraction in (0, 0.5, 0.999):
        first, second = ((codes + fraction).astype(np.float32) for codes in (whole & 15, whole >> 4))
        out = np.zeros(256, np.uint8)
        _two_a_byte(first, second, out)
        assert out.tolist() == whole.tolist()


@kernel
def _transpose(source, at, stride, out, to):
    simd.transpose(source, at, stride, out, to)


def test_transpose():
    source, out = normal(16 * 40 + 3), np.zeros(300, np.float32)
    _transpose(source, 3, 40, out, 20)
    assert np.array_equal(out[20:276].reshape(16, 16), source[3:].reshape(16, 40)[:, :16].T)
    assert not out[:20].any()
    assert not out[276:].any()


@kernel
def _bits(raw, shift, mask, up, offset, added, put):
    simd.add_bits(raw, 5, shift, mask, up, offset, added, 3)
    simd.put_bits(raw, 7, shift, mask, up, put, 1)


@kernel
def _bits_twin(raw, shift, mask, up, offset, added, put):
    add_twin(raw, 5, shift, mask, up, offset, added, 3)
    put_twin(raw, 7, shift, mask, up, put, 1)


add_twin, put_twin = _simd.add_bits_twin, _simd.put_bits_twin


@pytest.mark.parametrize(
    ("shift", "mask", "up", "offset"), [(0, 15, 0, 0), (4, 3, 4, 32), (7, 1, 2, 4), (2, 63, 1, 1), (6, 3, 6, 0)]
)
def test_bits(shift, mask, up, offset):
    raw = np.random.default_rng(3).integers(0, 256, 64, dtype=np.uint8)
    results = []
    for call in (_bits, _bits_twin):
        added, put = np.arange(64, dtype=np.int8), np.arange(64, dtype=np.uint8)
        call(raw, u8(shift), u8(mask), u8(up), i8(offset), added, put)
        results.append((added.tolist(), put.tolist()))
    assert results[0] == results[1]
    assert results[0][1] != list(range(64))


@kernel
def _sixes(packed, d, dmin, scales, mins):
    simd.six_bit_pairs(packed, d, dmin, scales, mins, 2)


def test_six_bit_pairs():
    packed = np.random.default_rng(4).integers(0, 256, (50, 12), dtype=np.uint8)
    for row in packed:
        a, b = np.zeros((2, 12), np.float32), np.zeros((2, 12), np.float32)
        _sixes(row, f32(0.3), f32(-0.7), *a)
        _simd.six_bit_pairs_twin(row, f32(0.3), f32(-0.7), *b, 2)
        assert np.array_equal(a, b)
        assert np.any(a[:, 2:10], axis=1).all()
        assert not a[:, :2].any()
        assert not a[:, 10:].any()

"""Quantized matrix times int8 vector: each vector function against its loop, each kernel against exact sums and C."""

import ctypes
import mmap
import sys

import ggml_dots
import numba
import numpy as np
import pytest

from qviz._machine import simd as _simd
from qviz.formats import QTensor, get, quantize
from qviz.transformer.kernels.dots import DOTS


@pytest.fixture(params=["host", "portable"])
def host(request, monkeypatch):
    """With the instructions of this CPU, and without."""
    if request.param == "portable":
        monkeypatch.setattr(_simd.vectors._Vectors, "has", lambda v, feature: False)


def compiled(arguments, expression):
    scope = {"simd": _simd}
    exec(f"def call({arguments}):\n    return {expression}\n", scope)
    return numba.njit(error_model="numpy")(scope["call"])


def of_bytes(n, dtype=np.uint8):
    rng = np.random.default_rng(n)
    edges = [np.full(n, byte, np.uint8) for byte in (0, 255, 0x0F, 0xF0, 0x80, 0x7F)]
    return [row.view(dtype) for row in [*edges, *rng.integers(0, 256, (20, n), dtype=np.uint8)]]


def activations(n, least):
    rng = np.random.default_rng(n)
    edges = [np.full(n, code, np.int8) for code in (least, 127, 0, -1)]
    edges.append(np.where(np.arange(n) % 2, 127, least).astype(np.int8))
    return [*edges, *rng.integers(least, 128, (5, n)).astype(np.int8)]


# name -> dtypes and lengths of the packed fields, before the codes
FLAT = {"dot_bytes": [(np.int8, 32)], "dot_nibbles": [(np.uint8, 16)], "dot_fives": [(np.uint8, 4), (np.uint8, 16)]}
SUPER = {
    "dot_nibbles_k": [(np.uint8, 128)],
    "dot_fives_k": [(np.uint8, 32), (np.uint8, 128)],
    "dot_twos": [(np.uint8, 64)],
    "dot_threes": [(np.uint8, 32), (np.uint8, 64)],
    "dot_sixes": [(np.uint8, 128), (np.uint8, 64)],
}


@pytest.mark.parametrize("name", FLAT)
def test_32_products(name, host):
    packed = list(zip(*(of_bytes(n, dtype) for dtype, n in FLAT[name]), strict=True))
    names = ", ".join("xyz"[: len(FLAT[name])])
    vector = compiled(f"{names}, codes, at", f"simd.total(simd.{name}({names}, codes, at))")
    twin = getattr(_simd, f"{name}_twin")
    # Q8_0 and Q8_1 do not write -128
    for codes in activations(64, -127):
        for fields in packed:
            for at in (0, 32):
                assert vector(*fields, codes, at) == twin(*fields, codes, at)


@pytest.mark.parametrize("name", SUPER)
def test_256_products(name, host):
    packed = list(zip(*(of_bytes(n, dtype) for dtype, n in SUPER[name]), strict=True))
    names = ", ".join("xyz"[: len(SUPER[name])])
    vector = compiled(
        f"steps, {names}, codes, at", f"simd.total(simd.{name}(simd.load_steps(steps), {names}, codes, at))"
    )
    twin = getattr(_simd, f"{name}_twin")
    for codes in activations(512, -128):
        for fields, steps in zip(packed, of_bytes(16, np.int8), strict=True):
            for at in (0, 256):
                arguments = steps.astype(np.int16), *fields, codes, at
                assert vector(*arguments) == twin(*arguments)


def test_products_with_sums(host):
    vector = compiled("steps, sums, at", "simd.total(simd.dot_steps(simd.load_steps(steps), sums, at))")
    for codes in activations(512, -128):
        sums = codes.reshape(-1, 16).sum(1, dtype=np.int32)
        for steps in of_bytes(16, np.int8):
            for at in (0, 16):
                arguments = steps.astype(np.int16), sums, at
                assert vector(*arguments) == _simd.dot_steps_twin(*arguments)


@pytest.mark.parametrize(
    ("name", "dtype", "n", "more"),
    [
        ("six_bit_steps", np.uint8, 12, ()),
        ("six_bit_mins", np.uint8, 12, ()),
        ("centred_six_bit_steps", np.uint8, 12, ()),
        ("byte_steps", np.int8, 16, ()),
        ("nibble_steps", np.uint8, 16, (np.uint8(0),)),
        ("nibble_steps", np.uint8, 16, (np.uint8(4),)),
    ],
)
def test_steps(name, dtype, n, more):
    arguments = "packed, shift" if more else "packed"
    vector = compiled(f"{arguments}, out", f"simd.store_steps(simd.{name}({arguments}), out)")
    a, b = np.empty(16, np.int16), np.empty(16, np.int16)
    for packed in of_bytes(n, dtype):
        vector(packed, *more, a)
        getattr(_simd, f"{name}_twin")(packed, *more, b)
        assert a.tolist() == b.tolist()


def test_offset():
    vector = compiled("a, b, at, shift", "simd.total(simd.less(simd.two_sums(a, at), simd.two_sums(b, at), shift))")
    a, b = np.random.default_rng(0).integers(-4000, 4000, (2, 8)).astype(np.int32)
    for at in range(0, 8, 2):
        x, y = _simd.two_sums_twin(a, at), _simd.two_sums_twin(b, at)
        assert vector(a, b, at, np.int32(5)) == _simd.less_twin(x, y, np.int32(5))


def halves():
    values = np.r_[0.0, -0.0, 1.0, -2.5, 65504, 2.0**-24, 2.0**-14, 0.1, np.random.default_rng(3).standard_normal(50)]
    return values.astype(np.float16)


def test_scaled(host):
    # every product is exact, and with one word that is not zero so is the sum of the eight lanes
    sums, x, y = np.int32([1000, 0, 0, -3]), np.float32(0.25), np.float32(-0.5)
    one = compiled("d, x, sums", "simd.total(simd.add_scaled(simd.no_floats(), simd.two_sums(sums, 0), d, x))")
    two = compiled(
        "d, x, m, y, sums",
        "simd.total(simd.add_two_scaled(simd.no_floats(), simd.two_sums(sums, 0), d, x, simd.two_sums(sums, 2), m, y))",
    )
    zero = np.float32(0)
    for d in halves():
        bits = d.view(np.uint16)
        assert one(bits, x, sums) == _simd.add_scaled_twin(zero, sums[0], bits, x) == np.float32(d) * 250
        for m in halves().view(np.uint16):
            assert two(bits, x, m, y, sums) == _simd.add_two_scaled_twin(zero, sums[0], bits, x, sums[3], m, y)


def blocks_of(name, rows, width, seed=0, exact=False):
    """All bytes random, then scales that are finite: 1 if sums are to be `exact`."""
    fmt, rng = get(name), np.random.default_rng(seed)
    raw = rng.integers(0, 256, (rows, width * fmt.type_size), dtype=np.uint8)
    blocks = raw.view(fmt.dtype)
    for field in {"d", "dmin", "m"} & set(fmt.dtype.names):
        blocks[field] = 1 if exact else rng.standard_normal(blocks.shape)
    return QTensor(fmt, blocks, (rows, width * fmt.block_size))


def per_scale(name):
    return 256 if get(name).block_size == 256 else 32


def run(name, tensor, codes, scales):
    out = np.full(tensor.shape[0], np.nan, np.float32)
    sums = codes.reshape(-1, 16).sum(1, dtype=np.int32)
    DOTS[name](tensor.blocks.view(tensor.format.kernel_dtype), codes, scales, sums, out)
    return out


def reference(name, tensor, codes, scales):
    """The product in float64, and a bound of all that was added up on the way."""
    parts, width = tensor.unpack(), tensor.format.sub_block_size
    x = codes * np.repeat(scales, per_scale(name)).astype(np.float64)
    scale, low = (np.repeat(part, width, axis=1).astype(np.float64) for part in (parts.scales, parts.mins))
    size = 2 * max(abs(code) for code in tensor.format.codes) + 1  # codes meet activations before their offset goes
    return (scale * parts.codes - low) @ x, (np.abs(scale) * size + np.abs(low)) @ np.abs(x)


@pytest.mark.parametrize("rows", [1, 4, 7])
@pytest.mark.parametrize("name", DOTS)
def test_exact(name, rows):
    """Scales of 1 and small activations: float32 holds every sum, so that one wrong product shows."""
    tensor = blocks_of(name, rows, 3, rows, exact=True)
    rng = np.random.default_rng(rows)
    for codes in rng.integers(-3, 4, (5, tensor.shape[1])).astype(np.int8):
        scales = np.ones(codes.size // per_scale(name), np.float32)
        assert run(name, tensor, codes, scales).tolist() == reference(name, tensor, codes, scales)[0].tolist()


@pytest.mark.parametrize("name", DOTS)
def test_large_activations(name):
    n = 5 * get(name).block_size
    scales = np.random.default_rng(4).uniform(0.001, 1, n // per_scale(name)).astype(np.float16).astype(np.float32)
    for seed, codes in enumerate(activations(n, -128 if per_scale(name) == 256 else -127)):
        tensor = blocks_of(name, 6, 5, seed)
        exact, bound = reference(name, tensor, codes, scales)
        # float32: three roundings a term, five terms a lane, three additions of lanes, in all at most 8 half-units
        assert (np.abs(run(name, tensor, codes, scales) - exact) <= bound * 8 * 2.0**-24).all()


@pytest.mark.parametrize("name", DOTS)
def test_as_ggml(name):
    rng, n = np.random.default_rng(5), 1024
    dot = ggml_dots.vec_dot(name)
    # powers of two and sums below 2048: then Q8_1's float16 of scale times sum is exact
    codes = rng.integers(-60, 61, n).astype(np.int8)
    scales = (2.0 ** rng.integers(-8, 1, n // per_scale(name))).astype(np.float32)
    activation = ggml_dots.activation_blocks(name, codes, scales)
    random = blocks_of(name, 5, n // get(name).block_size)
    for tensor in (random, quantize(rng.standard_normal((5, n)), name)):
        raw = np.frombuffer(tensor.tobytes(), np.uint8).reshape(5, -1)
        expected = np.full(5, np.nan, np.float32)
        for r in range(5):
            dot(n, expected[r:].ctypes.data, 0, raw[r:].ctypes.data, 0, activation.ctypes.data, 0, 1)
        # as above on both sides; with up to 32 blocks a lane
        bound = reference(name, tensor, codes, scales)[1] * 2 * 40 * 2.0**-24
        assert (np.abs(run(name, tensor, codes, scales) - expected) <= bound).all()


def test_blocks_may_be_a_read_only_map_at_any_address(tmp_path):
    tensor = quantize(np.random.default_rng(6).standard_normal((3, 512)), "Q6_K")
    codes, scales = np.ones(512, np.int8), np.ones(2, np.float32)
    path = tmp_path / "weights"
    path.write_bytes(b"!" + tensor.tobytes())
    mapped = np.memmap(path, np.uint8, "r", 1).view(tensor.format.dtype).reshape(tensor.blocks.shape)
    again = QTensor("Q6_K", mapped, tensor.shape)
    assert run("Q6_K", again, codes, scales).tolist() == run("Q6_K", tensor, codes, scales).tolist()


@pytest.mark.parametrize("name", DOTS)
def test_nothing_is_read_past_the_last_block(name):
    """Blocks that end where a page without access begins: a wider load would end the process."""
    if sys.platform != "linux":
        pytest.skip("needs mprotect of a Linux C library; the other tests read the same bytes")
    page, protect = mmap.PAGESIZE, ctypes.CDLL(None, use_errno=True)
    tensor = blocks_of(name, 2, 2)
    raw = tensor.tobytes()
    size = -(-len(raw) // page) * page
    memory = mmap.mmap(-1, size + page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert protect.mprotect(ctypes.c_void_p(start + size), ctypes.c_size_t(page), 0) == 0
    at_end = np.frombuffer(memory, np.uint8, len(raw), size - len(raw))
    at_end[:] = np.frombuffer(raw, np.uint8)
    guarded = QTensor(name, at_end.view(tensor.format.dtype).reshape(tensor.blocks.shape), tensor.shape)
    codes = np.ones(tensor.shape[1], np.int8)
    scales = np.ones(codes.size // per_scale(name), np.float32)
    assert run(name, guarded, codes, scales).tolist() == run(name, tensor, codes, scales).tolist()

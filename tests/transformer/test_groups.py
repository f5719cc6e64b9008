"""Groups of whole numbers: vectors against loops, weights and products against scale · (code − zero point)."""

import numba
import numpy as np
import pytest
from bounds import block_bound, dot_bound

from qviz._machine import simd as _simd
from qviz.errors import LlamaError
from qviz.transformer import group_tensor
from qviz.transformer.kernels.groups import group_format
from qviz.transformer.linear import Activations, Linear, integer_product, plain_integer_product

RNG = np.random.default_rng(21)
BITS = {2: "dot_two_bits", 3: "dot_three_bits", 4: "dot_four_bits", 8: "dot_eight_bits"}


@pytest.fixture(params=["host", "portable"])
def host(request, monkeypatch):
    """With the instructions of this CPU, and without."""
    if request.param == "portable":
        monkeypatch.setattr(_simd.vectors._Vectors, "has", lambda v, feature: False)


@pytest.mark.parametrize("bits", BITS)
def test_32_products(bits, host):
    scope = {}
    exec("def call(qs, at_q, codes, at):\n return simd.total(dot(qs, at_q, codes, at))\n",
         {"simd": _simd, "dot": getattr(_simd, BITS[bits])}, scope)  # fmt: skip
    vector, code = numba.njit(error_model="numpy")(scope["call"]), _simd.code_in_planes
    for seed in range(20):
        rng = np.random.default_rng(seed)
        qs, codes = rng.integers(0, 256, 100, np.uint8), rng.integers(-127, 128, 80).astype(np.int8)
        for at_q, at in ((0, 0), (4 * bits, 32), (5, 17)):
            want = sum(int(code(qs, at_q, l, bits)) * int(codes[at + l]) for l in range(32))
            assert vector(qs, at_q, codes, at) == want


def test_less_times(host):
    scope = {}
    exec("def call(a, b, f):\n return simd.total(simd.less_times(simd.two_sums(a, 0), simd.two_sums(b, 0), f))\n",
         {"simd": _simd}, scope)  # fmt: skip
    call = numba.njit(error_model="numpy")(scope["call"])
    a, b = RNG.integers(-2000, 2000, (2, 2)).astype(np.int32)
    for factor in (0, 1, -128, 127, 255):
        assert call(a, b, np.int32(factor)) == a.sum() - factor * b.sum()


def matrix(bits, size, n_in=192, n_out=13, shuffled=False):
    groups = n_in // size
    codes = RNG.integers(0, 1 << bits, (n_out, n_in))
    codes[0], codes[1] = 0, (1 << bits) - 1
    scales = RNG.uniform(0.01, 2, (n_out, groups)).astype(np.float16).astype(np.float32)
    zeros = RNG.integers(0, 1 << bits, (n_out, groups)).astype(np.int32)
    g_idx = np.repeat(np.arange(groups, dtype=np.int32), size)
    if shuffled:
        RNG.shuffle(g_idx)
    weights = scales[:, g_idx] * (codes - zeros[:, g_idx])
    return (codes, scales, zeros, g_idx, bits), weights.astype(np.float64)


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("size", [32, 64, 192])
def test_weights_and_products(bits, size, shuffled):
    given, weights = matrix(bits, size, shuffled=shuffled)
    tensor = group_tensor(*given)
    assert np.array_equal(tensor.dequantize(), weights)
    assert tensor.nbytes == 13 * 192 // size * (3 + size * bits // 8)
    assert (tensor.order is not None) == (shuffled and size < 192)
    for n_tokens in (1, 3, 9):
        x = RNG.standard_normal((n_tokens, 192)).astype(np.float32)
        seen = x if tensor.order is None else x[:, tensor.order]
        rounded = Activations(seen).rounded(32)
        if tensor.order is not None:
            rounded[:, tensor.order] = rounded.copy()
        assert (np.abs(Linear(tensor)(x) - rounded @ weights.T) <= block_bound(tensor, seen)).all()
        assert (np.abs(Linear(tensor, activations="float")(x) - x @ weights.T) <= dot_bound(x, weights)).all()


@pytest.mark.parametrize("bits", BITS)
def test_vectors_and_the_readable_product_agree(bits):
    linear = Linear(group_tensor(*matrix(bits, 32 if bits == 2 else 64)[0]))
    x = RNG.standard_normal((1, 192)).astype(np.float32)
    made = Activations(x).codes(32)
    fast, plain = np.empty(13, np.float32), np.empty(13, np.float32)
    integer_product(linear.weight.format)(linear.blocks, *made, fast)
    plain_integer_product(linear.weight.format)(linear.blocks, *made, plain)
    assert (np.abs(fast - plain) <= 2 * block_bound(linear.weight, x)).all()


def test_a_group_may_be_as_long_as_a_super_block():
    """256 weights, but activations with a scale for every 32."""
    given, weights = matrix(4, 256, 256)
    x = RNG.standard_normal((1, 256)).astype(np.float32)
    linear = Linear(group_tensor(*given))
    assert linear.width == 32
    assert (np.abs(linear(x) - Activations(x).rounded(32) @ weights.T) <= block_bound(linear.weight, x)).all()


def test_what_is_refused():
    codes, scales, zeros, g_idx, bits = matrix(4, 64)[0]
    with pytest.raises(LlamaError, match="reach from 0 to 15; 3 bits hold 0 to 7"):
        group_tensor(codes, scales, zeros, g_idx, 3)
    with pytest.raises(LlamaError, match="zero points reach from -1"):
        group_tensor(codes, scales, zeros - zeros.min() - 1, g_idx, bits)
    with pytest.raises(LlamaError, match="differ in size"):
        group_tensor(codes, scales, zeros, np.where(g_idx == 2, 1, g_idx), bits)
    with pytest.raises(LlamaError, match="groups of 16 codes"):
        group_format(4, 16)
    with pytest.raises(LlamaError, match="of 5 bits"):
        group_format(5, 32)

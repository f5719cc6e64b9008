"""Products on quantized blocks against float64 products of the decoded weights with rounded activations."""

import threading

import numpy as np
import pytest
from bounds import block_bound, dot_bound

import qviz
from qviz.errors import LlamaError
from qviz.formats import FORMATS
from qviz.transformer.linear import (
    Activations,
    Linear,
    integer_product,
    plain_integer_product,
    quantize_activations,
)

RUNNABLE = [f.name for f in FORMATS.values() if f.can_encode]
RNG = np.random.default_rng(5)
N_IN, N_OUT = 512, 40


def weight(name):
    return qviz.quantize(RNG.standard_normal((N_OUT, N_IN)).astype(np.float32), name)


def expected(tensor, x, width):
    """What ggml computes, in float64: activations rounded to int8 by `width` first, worked out in NumPy."""
    rounded = x.astype(np.float64)
    if width == 16:
        rounded = x.astype(np.float16).astype(np.float64)
    elif width:
        parts = x.reshape(len(x), -1, width)
        top = np.abs(parts).max(-1, keepdims=True)
        codes = np.rint(parts * (np.float32(127) / top))
        scale = top / np.float32(127)
        scale = scale.astype(np.float16).astype(np.float64) if width == 32 else scale.astype(np.float64)
        rounded = (codes * scale).reshape(x.shape)
    return rounded @ tensor.dequantize().astype(np.float64).T


def rounding(tensor, x, linear):
    """How far float32 sums may be off."""
    if tensor.format.is_float or not linear.width:
        return dot_bound(x, tensor.dequantize())
    return block_bound(tensor, x)


@pytest.mark.parametrize("name", RUNNABLE)
@pytest.mark.parametrize("tokens", [1, 3, 9])
def test_every_format_multiplies(name, tokens):
    tensor, x = weight(name), RNG.standard_normal((tokens, N_IN)).astype(np.float32)
    linear = Linear(tensor)
    want = expected(tensor, x, linear.width)
    assert (np.abs(linear(x) - want) <= rounding(tensor, x, linear)).all()


@pytest.mark.parametrize("name", RUNNABLE)
def test_float_activations_are_left_alone(name):
    tensor, x = weight(name), RNG.standard_normal((5, N_IN)).astype(np.float32)
    for part in (x[:1], x):
        want = part.astype(np.float64) @ tensor.dequantize().astype(np.float64).T
        bound = dot_bound(part, tensor.dequantize())
        if name == "F16":  # activations in F16, as ggml has them: 11 bits
            bound = bound + 2.0**-11 * (np.abs(part) @ np.abs(tensor.dequantize()).T)
        got = Linear(tensor, activations="float")(part)
        assert (np.abs(got - want) <= bound).all()


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"])
def test_vectors_and_the_readable_product_agree(name):
    tensor = weight(name)
    linear = Linear(tensor)
    x = RNG.standard_normal(N_IN).astype(np.float32)
    made = Activations(x[None]).codes(linear.width)
    fast, plain = np.empty(N_OUT, np.float32), np.empty(N_OUT, np.float32)
    assert integer_product(tensor.format) is not plain_integer_product(tensor.format)
    integer_product(tensor.format)(linear.blocks, *made, fast)
    plain_integer_product(tensor.format)(linear.blocks, *made, plain)
    assert (np.abs(fast - plain) <= 2 * block_bound(tensor, x)).all()


@pytest.mark.parametrize("width", [32, 256])
def test_codes_of_activations(width):
    x = np.zeros(512, np.float32)
    x[:4], x[300] = [254, 1, -3, -254], -7
    codes, scales, sums = np.empty(512, np.int8), np.empty(512 // width, np.float32), np.empty(32, np.int32)
    quantize_activations(x, codes, scales, sums)
    assert codes[:4].tolist() == [127, 0, -2, -127]  # 0.5 and -1.5 go to the even neighbour
    assert scales[0] == 2
    assert codes[300] == -127
    assert sums.tolist() == [int(codes[k : k + 16].astype(int).sum()) for k in range(0, 512, 16)]
    if width == 32:
        assert scales[300 // 32] == np.float32(np.float16(np.float32(7) / 127))
        assert scales[3] == 0  # nothing there


def test_what_is_refused():
    with pytest.raises(LlamaError, match=r"shape \(32,\)"):
        Linear(qviz.quantize(np.ones(32, np.float32), "Q8_0"))
    with pytest.raises(LlamaError, match="'int4'"):
        Linear(weight("Q8_0"), activations="int4")


def test_many_callers_share_the_helpers(monkeypatch):
    """Whoever finds them busy works alone: a product is whole all the same."""
    monkeypatch.setattr("qviz.transformer.linear._WORTH_WAKING", 0)
    linear = Linear(qviz.quantize(RNG.standard_normal((2048, N_IN)).astype(np.float32), "Q4_0"))
    x = RNG.standard_normal((1, N_IN)).astype(np.float32)
    want, got = linear(x), []

    def many():
        got.extend(np.array_equal(linear(x), want) for _ in range(200))

    callers = [threading.Thread(target=many) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(got) == 800
    assert all(got)


def test_two_prompts_at_once_keep_their_weights_apart():
    """Each thread decodes into a tile of its own."""
    x = RNG.standard_normal((512, N_IN)).astype(np.float32)
    linears = [Linear(qviz.quantize(RNG.standard_normal((512, N_IN)).astype(np.float32), "Q4_0")) for _ in range(2)]
    want = [linear(x) for linear in linears]
    bounds = [2 * dot_bound(x, linear.weight.dequantize()) for linear in linears]
    same: list[bool] = []

    def many(which: int) -> None:
        same.extend((np.abs(linears[which](x) - want[which]) <= bounds[which]).all() for _ in range(60))

    callers = [threading.Thread(target=many, args=(i % 2,)) for i in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(same) == 240
    assert all(same)

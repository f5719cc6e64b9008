"""GPTQ on GGML formats: explicit OBQ in float64 on the same levels, the format's own bytes, tokens not seen before."""

import numpy as np
import pytest

import qviz
from qviz.calibration import ActivationStats
from qviz.errors import MethodError, ShapeError
from qviz.methods.block_bits import bits_of
from qviz.methods.gptq_format import gptq_format

FREE = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4"]


def layer(n_in=512, n_out=12, tokens=3000):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2 * tokens, 40)) @ rng.standard_normal((40, n_in)) / 6
    x = (x + 0.3 * rng.standard_normal(x.shape)).astype(np.float32)
    return rng.standard_normal((n_out, n_in)).astype(np.float32), x[:tokens], x[tokens:]


def loss(w, tensor, x):
    return np.square(x @ (w - tensor.dequantize()).T).sum(dtype=np.float64)


@pytest.mark.parametrize("name", [*FREE, "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"])
def test_better_than_the_formats_own_encoder(name):
    w, x, held_out = layer()
    stats = ActivationStats.from_inputs(x)
    ours, plain = gptq_format(w, stats, name), qviz.quantize(w, name, imatrix=stats.mean_sq)
    assert ours.blocks.dtype == plain.blocks.dtype
    assert ours.nbytes == plain.nbytes
    assert loss(w, ours, held_out) < 0.7 * loss(w, plain, held_out)


@pytest.mark.parametrize("name", FREE)
def test_any_codes_can_be_put_in(name):
    fmt = qviz.formats.get(name)
    t = qviz.quantize(np.random.default_rng(0).standard_normal((9, fmt.block_size)), name)
    low, high = fmt.codes or (0, 15)
    codes = np.random.default_rng(1).integers(low, high + 1, (9, fmt.block_size)).astype(np.int8)
    blocks = bits_of(fmt).put_codes(t.blocks[:, 0], codes)
    after = qviz.formats.QTensor(fmt, blocks[:, None], t.shape).unpack()
    assert np.array_equal(after.codes, codes)
    assert np.array_equal(after.scales, t.unpack().scales)
    assert np.array_equal(after.mins, t.unpack().mins)
    assert np.array_equal(bits_of(fmt).put_codes(t.blocks[:, 0], t.unpack().codes), t.blocks[:, 0])


@pytest.mark.parametrize("name", ["Q8_0", "Q6_K"])
def test_inputs_that_have_nothing_in_common_change_nothing(name):
    w = layer(256)[0]
    ours = gptq_format(w, ActivationStats.from_inputs(np.eye(256)), name)
    plain = qviz.quantize(w, name, imatrix=np.ones(256, np.float32))
    # the encoder divides by the scale before that is rounded to float16
    assert np.mean(ours.unpack().codes != plain.unpack().codes) < 0.02
    assert np.square(w - ours.dequantize()).sum() <= np.square(w - plain.dequantize()).sum()
    assert np.array_equal(ours.unpack().scales, plain.unpack().scales)


@pytest.mark.parametrize("name", ["Q4_0", "Q5_1", "IQ4_NL"])
def test_against_explicit_elimination(name):
    w, x, _ = layer(96)
    stats, fmt = ActivationStats.from_inputs(x), qviz.formats.get(name)
    ours = gptq_format(w, stats, name, damp_percent=0.05)
    H = stats.hessian.astype(np.float64)
    inverse = np.linalg.inv(H + 0.05 * np.diagonal(H).mean() * np.eye(96))
    importance = (np.diagonal(np.linalg.cholesky(inverse).T) ** -2).astype(np.float32)
    levels = np.array(fmt.table) if fmt.table else np.arange(fmt.codes[0], fmt.codes[1] + 1)
    W, expected = w.astype(np.float64), np.empty(w.shape)
    for i in range(96):
        if i % 32 == 0:
            u = qviz.quantize(W[:, i : i + 32], name, imatrix=importance[i : i + 32]).unpack()
        reach = u.scales.astype(float) * levels - u.mins
        expected[:, i] = reach[np.arange(len(w)), np.abs(reach - W[:, i : i + 1]).argmin(1)]
        e = (W[:, i] - expected[:, i]) / inverse[i, i]
        W -= np.outer(e, inverse[i])
        inverse -= np.outer(inverse[:, i], inverse[i]) / inverse[i, i]
    assert np.mean(np.abs(ours.dequantize() - expected) > 1e-4) < 0.02


def test_what_is_refused():
    w, x, _ = layer(64)
    stats = ActivationStats.from_inputs(x)
    for name in ("F16", "IQ1_S", "TQ1_0"):
        with pytest.raises(MethodError, match="Q4_K"):
            gptq_format(np.zeros((2, 256)), ActivationStats.from_inputs(np.ones((3, 256))), name)
    with pytest.raises(ShapeError):
        gptq_format(w, stats, "Q4_K")
    with pytest.raises(MethodError, match="damp_percent"):
        gptq_format(w, stats, "Q4_0", damp_percent="some")
    zeros = gptq_format(np.zeros((2, 64)), stats, "Q4_0")
    assert not zeros.dequantize().any()

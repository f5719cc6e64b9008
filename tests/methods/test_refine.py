"""Descent on rounded matrices: never uphill, and downhill on tokens not seen before; bits of blocks one by one."""

import numpy as np
import pytest
from bounds import U

import qviz
from qviz.calibration import ActivationStats
from qviz.errors import MethodError
from qviz.formats import QTensor, get
from qviz.methods.block_bits import bits_of
from qviz.methods.gptq_format import gptq_format
from qviz.methods.refine import damage, refine

SCALED = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"]
LATTICES = ["IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"]


def layer(n_in=512, n_out=9, tokens=2000):
    rng = np.random.default_rng(2)
    x = rng.standard_normal((2 * tokens, 60)) @ rng.standard_normal((60, n_in)) / 8
    x = (x + 0.3 * rng.standard_normal(x.shape)).astype(np.float32)
    return rng.standard_normal((n_out, n_in)).astype(np.float32), x[:tokens], x[tokens:]


def most_rounding(w, tensor, H, O):
    """Float32 sums of n terms decide each step: n · U of what the terms of the damage amount to without signs."""
    E = np.abs(w - tensor.dequantize()).astype(np.float64)
    return 4 * w.shape[1] * U * float(np.sum((np.abs(O) @ E @ np.abs(H)) * E))


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("name", [*SCALED, *LATTICES])
def test_never_uphill(name, coupled):
    w, x, _ = layer(n_in=256, n_out=5)
    H = (x.T @ x / len(x) + 0.01 * np.eye(256)).astype(np.float32)
    mix = np.random.default_rng(3).standard_normal((5, 5))
    O = (mix @ mix.T + np.eye(5)).astype(np.float32) if coupled else np.eye(5, dtype=np.float32)
    tensor = plain = qviz.quantize(w, name, imatrix=np.diagonal(H).copy())
    before = damage(w, tensor, H, O)
    for _ in range(3):
        tensor = refine(w, tensor, H, sweeps=1, outputs=O if coupled else None)
        after = damage(w, tensor, H, O)
        assert after <= before + most_rounding(w, tensor, H, O)
        before = after
    assert before < 0.7 * damage(w, plain, H, O)


def test_outputs_in_groups_are_matrices_of_their_own():
    w, x, _ = layer(n_in=256, n_out=6)
    H = (x.T @ x / len(x) + 0.01 * np.eye(256)).astype(np.float32)
    mix = np.random.default_rng(3).standard_normal((2, 3, 3)).astype(np.float32)
    O, plain = mix @ mix.swapaxes(1, 2) + np.eye(3, dtype=np.float32), qviz.quantize(w, "Q3_K")
    both = refine(w, plain, H, outputs=O)
    for k in range(2):
        rows = slice(3 * k, 3 * k + 3)
        alone = refine(w[rows], QTensor(plain.format, plain.blocks[rows], (3, 256)), H, outputs=O[k])
        assert alone.tobytes() == QTensor(plain.format, both.blocks[rows], (3, 256)).tobytes()


@pytest.mark.parametrize("name", ["Q2_K", "Q4_K", "IQ4_XS", "IQ2_XXS", "IQ3_S"])
def test_better_than_gptq_on_tokens_not_seen(name):
    w, x, held_out = layer()
    stats = ActivationStats.from_inputs(x)

    def loss(tensor):
        return np.square(held_out @ (w - tensor.dequantize()).T).sum(dtype=np.float64)

    assert loss(gptq_format(w, stats, name, sweeps=3)) < 0.9 * loss(gptq_format(w, stats, name))


def test_inputs_that_have_nothing_in_common_leave_the_nearest_codes():
    w = layer(n_in=256)[0]
    found = refine(w, gptq_format(w, ActivationStats.from_inputs(np.eye(256)), "Q6_K"), np.eye(256, dtype=np.float32))
    parts = found.unpack()
    steps = w.reshape(len(w), -1, 16) / parts.scales[:, :, None]
    nearest = np.clip(np.rint(steps), -32, 31).reshape(w.shape)
    between = np.abs(np.abs(steps - np.trunc(steps)) - 0.5).reshape(w.shape) < 1e-5
    assert np.array_equal(parts.codes[~between], nearest[~between])


@pytest.mark.parametrize("name", [*SCALED, *LATTICES, "MXFP4"])
def test_no_sweep_changes_no_byte(name):
    w, x, _ = layer(n_in=256)
    tensor = qviz.quantize(w, name, imatrix=np.ones(256, np.float32))
    assert refine(w, tensor, x.T @ x, sweeps=0).tobytes() == tensor.tobytes()


@pytest.mark.parametrize("name", SCALED)
def test_any_numbers_can_be_put_into_a_block(name):
    fmt, known, rng = get(name), bits_of(get(name)), np.random.default_rng(5)
    values = {"factor": np.float16([0.5, 2, 8])}
    places = {"codes": known.codes, "scales": known.scales, "mins": known.mins}
    for part, field in places.items():
        if field is not None:
            values[part] = rng.integers(field.lowest, field.highest + 1, (3, len(field.at)))
    if known.min_factor:
        values["min_factor"] = np.float16([1, 4, 0.25])
    blocks = known.put(np.zeros(3, fmt.dtype), values)
    parts = QTensor(fmt, blocks[:, None], (3, fmt.block_size)).unpack()
    assert np.array_equal(parts.codes, values["codes"] if fmt.table is None else parts.codes)
    assert np.array_equal(parts.scales, values["factor"][:, None] * values.get("scales", np.ones((3, 1))))
    if known.min_factor:
        assert np.array_equal(
            parts.mins, values["min_factor"][:, None] * values.get("mins", known.min_sign * np.ones((3, 1)))
        )


def test_what_does_not_fit_is_refused():
    w, x, _ = layer(n_in=256)
    tensor, H = qviz.quantize(w, "Q4_K"), x.T @ x
    with pytest.raises(MethodError, match="do not fit together"):
        refine(w[:3], tensor, H)
    with pytest.raises(MethodError, match=r"a matrix of 9 outputs is \(9, 9\), got \(3, 3\)"):
        refine(w, tensor, H, outputs=np.eye(3, dtype=np.float32))
    with pytest.raises(MethodError, match=r"a matrix of 9 outputs is \(9, 9\), got \(2, 4, 4\)"):
        refine(w, tensor, H, outputs=np.ones((2, 4, 4), np.float32))
    with pytest.raises(MethodError, match="not positive definite"):
        refine(w, tensor, -H)

"""Q4_0, Q4_1, Q5_0 and Q5_1 with an importance matrix: 0 bytes differ from libggml."""

import ggml
import numpy as np
import pytest
from rows import N, adversarial, random_bits

from qviz.errors import NonFiniteError, ShapeError
from qviz.formats import quantize

NAMES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1"]
SQUARES = np.random.default_rng(9).standard_normal(4096).astype(np.float32) ** 2
IMPORTANCES = {
    "squares": SQUARES[:N],
    "ones": np.ones(N, np.float32),
    "zeros": np.zeros(N, np.float32),
    "one column": np.where(np.arange(N) == 77, np.float32(3), np.float32(0)),
    "huge": SQUARES[:N] * np.float32(1e30),
    "tiny": SQUARES[:N] * np.float32(1e-35),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", IMPORTANCES)
def test_adversarial_rows(name, kind):
    imatrix = IMPORTANCES[kind]
    for row, x in adversarial().items():
        assert quantize(x[None], name, imatrix).tobytes() == ggml.quantize(x[None], name, imatrix), row


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [32, 96, 256, 576, 4096])
def test_rows_of_any_length(name, n):
    """Sixteen blocks are searched at a time: rows shorter than that, and rows that end in between."""
    x = (np.random.default_rng(n).standard_t(3, (37, n)) * 0.02).astype(np.float32)
    assert quantize(x, name, SQUARES[:n]).tobytes() == ggml.quantize(x, name, SQUARES[:n])


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_every_exponent(name):
    x = random_bits(16 * 4096).reshape(16, 4096)
    assert quantize(x, name, SQUARES).tobytes() == ggml.quantize(x, name, SQUARES)


@pytest.mark.parametrize("name", NAMES)
def test_zero_minimums_keep_their_sign(name):
    """Rows without negative weights: the minimum is +0 or −0, which the float16 shows."""
    rng = np.random.default_rng(2)
    x = np.abs(rng.standard_normal((64, 64))).astype(np.float32)
    x[rng.random(x.shape) < 0.3] = 0
    x[rng.random(x.shape) < 0.2] = -0.0
    assert quantize(x, name, SQUARES[:64]).tobytes() == ggml.quantize(x, name, SQUARES[:64])


@pytest.mark.parametrize("name", NAMES)
def test_ones_are_not_no_importance(name):
    """The search and its weights, √(mean square + x²), come with any matrix."""
    x = np.random.default_rng(0).standard_normal((4, 256)).astype(np.float32)
    assert quantize(x, name, np.ones(256, np.float32)).tobytes() != quantize(x, name).tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_important_columns_come_out_better(name):
    x = np.random.default_rng(1).standard_normal((256, 256)).astype(np.float32)
    imatrix = np.where(np.arange(256) % 8 == 0, np.float32(100), np.float32(1))
    plain, weighted = (np.square(quantize(x, name, m).dequantize() - x).mean(axis=0) for m in (None, imatrix))
    assert weighted[::8].mean() < 0.8 * plain[::8].mean()
    assert (weighted * imatrix).sum() < (plain * imatrix).sum()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("index", [(0, 0), (1, 37), (66, 255)])
def test_non_finite_weights_are_refused(name, index):
    x = np.ones((67, 256), np.float32)
    x[index] = -np.inf
    with pytest.raises(NonFiniteError, match=rf"\[{index[0]}, {index[1]}\] is -inf"):
        quantize(x, name, SQUARES[:256])


@pytest.mark.parametrize("name", NAMES)
def test_a_matrix_of_another_length_is_refused(name):
    with pytest.raises(ShapeError, match=r"needs one value a column, \(64,\)"):
        quantize(np.ones((2, 64)), name, SQUARES[:32])

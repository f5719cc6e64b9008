"""0 bytes differ from libggml: every format, both directions, real and adversarial weights."""

import ggml
import numpy as np
import pytest
from rows import adversarial, random_bits

from qviz.formats import FORMATS, QTensor, quantize

ENCODED = [fmt.name for fmt in FORMATS.values() if fmt.can_encode and ggml.survives(fmt.name)]
BLOCKED = [name for name in ENCODED if not FORMATS[name].is_float]
ROWS = adversarial()


@pytest.mark.parametrize("name", ENCODED)
def test_adversarial_rows(name):
    for row, weights in ROWS.items():
        x = weights[None]
        ours, theirs = quantize(x, name), ggml.quantize(x, name)
        assert ours.tobytes() == theirs, row
        assert_same_floats(ours.dequantize().ravel(), ggml.dequantize(theirs, name, x.size))


@pytest.mark.parametrize("name", ENCODED)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_random_weights(name, scale):
    x = (np.random.default_rng(3).standard_normal((64, 4096)) * scale).astype(np.float32)
    ours, theirs = quantize(x, name), ggml.quantize(x, name)
    assert ours.tobytes() == theirs
    assert_same_floats(ours.dequantize().ravel(), ggml.dequantize(theirs, name, x.size))


@pytest.mark.parametrize("name", ENCODED)
def test_weights_of_every_exponent(name):
    x = random_bits(64 * 4096).reshape(64, 4096)
    assert quantize(x, name).tobytes() == ggml.quantize(x, name)


@pytest.mark.parametrize("name", ["F16", "BF16"])
def test_every_upper_half_of_a_float(name):
    """All 65536 upper halves, at the exact tie and on both sides of it; NaN and infinity included."""
    upper = np.arange(1 << 16, dtype=np.uint32) << 16
    for lower in (0, 1, 0x0FFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001, 0xFFFF):
        x = (upper | lower).view(np.float32)[None]
        assert quantize(x, name).tobytes() == ggml.quantize(x, name)


@pytest.mark.parametrize("name", ["F16", "BF16"])
def test_every_half_decodes(name):
    raw = np.arange(1 << 16, dtype=np.uint16).tobytes()
    ours = QTensor.from_bytes(name, raw, (1 << 16,)).dequantize()
    assert_same_floats(ours, ggml.dequantize(raw, name, 1 << 16), nan_bits=True)


@pytest.mark.parametrize("name", BLOCKED)
def test_any_bytes_decode_as_in_ggml(name):
    """Files from elsewhere hold blocks that no encoder writes."""
    fmt = FORMATS[name]
    raw = np.random.default_rng(5).integers(0, 256, 4096 * fmt.type_size, dtype=np.uint8).tobytes()
    n = 4096 * fmt.block_size
    assert_same_floats(QTensor.from_bytes(name, raw, (n,)).dequantize(), ggml.dequantize(raw, name, n))


def assert_same_floats(ours, theirs, *, nan_bits=False):
    """Equal bit for bit; NaN payloads count only where the format stores them."""
    if not nan_bits:
        assert np.array_equal(np.isnan(ours), np.isnan(theirs))
        ours, theirs = np.nan_to_num(ours, nan=0.0), np.nan_to_num(theirs, nan=0.0)
    assert np.array_equal(ours.view(np.uint32), theirs.view(np.uint32))

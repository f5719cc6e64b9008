"""The same bytes as libggml wrote once; this file needs no library of theirs."""

from pathlib import Path

import numpy as np
import pytest

from qviz.formats import FORMATS, QTensor, quantize

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "formats.npz")
NAMES = [key.removesuffix(" weights") for key in GOLDEN if key.endswith(" weights")]
PLAIN = [name for name in NAMES if f"{name} bytes" in GOLDEN]
WEIGHTED = [name for name in NAMES if f"{name} weighted" in GOLDEN]


def rows(name):
    """All rows, but for some formats those that libggml survives."""
    return GOLDEN["x"][GOLDEN[f"{name} rows"]] if f"{name} rows" in GOLDEN else GOLDEN["x"]


def test_every_encodable_format_has_golden_bytes():
    assert sorted(PLAIN) == sorted(name for name, fmt in FORMATS.items() if fmt.can_encode)
    assert sorted(WEIGHTED) == sorted(name for name, fmt in FORMATS.items() if fmt.quantize_weighted is not None)


@pytest.mark.parametrize("name", PLAIN)
def test_encodes_to_golden_bytes(name):
    assert quantize(rows(name), name).tobytes() == GOLDEN[f"{name} bytes"].tobytes()


@pytest.mark.parametrize("name", WEIGHTED)
def test_encodes_to_golden_bytes_with_an_importance_matrix(name):
    expected = GOLDEN[f"{name} weighted"].tobytes()
    assert quantize(rows(name), name, GOLDEN["imatrix"]).tobytes() == expected
    assert name not in PLAIN or expected != GOLDEN[f"{name} bytes"].tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_golden_bytes_decode(name):
    weights = GOLDEN[f"{name} weights"]
    ours = QTensor.from_bytes(
        name, GOLDEN[f"{name} {'bytes' if name in PLAIN else 'weighted'}"], weights.shape
    ).dequantize()
    assert np.array_equal(np.isnan(ours), np.isnan(weights))
    same = ~np.isnan(weights)
    assert np.array_equal(ours.view(np.uint32)[same], weights.view(np.uint32)[same])

"""The same bytes as libggml wrote once; this file needs no library of theirs."""

from pathlib import Path

import numpy as np
import pytest

from qviz.formats import FORMATS, QTensor, quantize

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "formats.npz")
NAMES = [key.removesuffix(" bytes") for key in GOLDEN if key.endswith(" bytes")]


def test_every_encodable_format_has_golden_bytes():
    assert sorted(NAMES) == sorted(name for name, fmt in FORMATS.items() if fmt.can_encode)


@pytest.mark.parametrize("name", NAMES)
def test_encodes_to_golden_bytes(name):
    assert quantize(GOLDEN["x"], name).tobytes() == GOLDEN[f"{name} bytes"].tobytes()


@pytest.mark.parametrize("name", [name for name in NAMES if FORMATS[name].quantize_weighted is not None])
def test_encodes_to_golden_bytes_with_an_importance_matrix(name):
    expected = GOLDEN[f"{name} weighted"].tobytes()
    assert quantize(GOLDEN["x"], name, GOLDEN["imatrix"]).tobytes() == expected
    assert expected != GOLDEN[f"{name} bytes"].tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_golden_bytes_decode(name):
    weights = GOLDEN[f"{name} weights"]
    ours = QTensor.from_bytes(name, GOLDEN[f"{name} bytes"], weights.shape).dequantize()
    assert np.array_equal(np.isnan(ours), np.isnan(weights))
    same = ~np.isnan(weights)
    assert np.array_equal(ours.view(np.uint32)[same], weights.view(np.uint32)[same])

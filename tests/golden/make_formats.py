"""Write ``formats.npz``: what libggml makes of the adversarial rows, so that tests mean something without it.

Run ``python tests/golden/make_formats.py`` where the wheel ``pywhispercpp`` installs, after a format or a row is added.
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import ggml  # noqa: E402
from rows import adversarial  # noqa: E402

from qviz.formats import FORMATS  # noqa: E402


def main() -> None:
    """Encode and decode with libggml only."""
    x = np.stack(list(adversarial().values()))
    imatrix = np.random.default_rng(9).standard_normal(x.shape[1]).astype(np.float32) ** 2
    arrays = {"x": x, "imatrix": imatrix}
    for name, fmt in FORMATS.items():
        if fmt.can_encode:
            raw = ggml.quantize(x, name)
            arrays[f"{name} bytes"] = np.frombuffer(raw, np.uint8)
            if fmt.quantize_weighted is not None:
                arrays[f"{name} weighted"] = np.frombuffer(ggml.quantize(x, name, imatrix), np.uint8)
            arrays[f"{name} weights"] = ggml.dequantize(raw, name, x.size).reshape(x.shape)
    np.savez_compressed(HERE / "formats.npz", **arrays)


if __name__ == "__main__":
    main()

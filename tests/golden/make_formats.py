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
    arrays = {"x": x}
    for name, fmt in FORMATS.items():
        if fmt.can_encode:
            raw = ggml.quantize(x, name)
            arrays[f"{name} bytes"] = np.frombuffer(raw, np.uint8)
            arrays[f"{name} weights"] = ggml.dequantize(raw, name, x.size).reshape(x.shape)
    np.savez_compressed(HERE / "formats.npz", **arrays)


if __name__ == "__main__":
    main()

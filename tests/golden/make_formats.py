"""Write ``formats.npz``: what libggml makes of the adversarial rows, so that tests mean something without it.

Run ``QVIZ_LIBGGML=path/to/libggml-base.so python tests/golden/make_formats.py`` after a format or a row is added, with
a build of today: it was made with ggml 0.25.3, compiled without FMA from the sources in llama-cpp-python 0.3.36.
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
        if not (fmt.can_encode or fmt.needs_imatrix):
            continue
        plain = ggml.quantize_each(list(x), name) if fmt.can_encode else []
        weighted = ggml.quantize_each(list(x), name, imatrix) if fmt.quantize_weighted is not None else []
        lasts = [row for row in range(len(x)) if all(found[row] is not None for found in (plain, weighted) if found)]
        if len(lasts) < len(x):  # some formats end the process if sums overflow
            arrays[f"{name} rows"] = np.array(lasts)
        for kind, found in (("bytes", plain), ("weighted", weighted)):
            if found:
                arrays[f"{name} {kind}"] = np.frombuffer(b"".join(found[row] for row in lasts), np.uint8)
        raw = arrays[f"{name} bytes" if plain else f"{name} weighted"].tobytes()
        arrays[f"{name} weights"] = ggml.dequantize(raw, name, len(lasts) * x.shape[1]).reshape(-1, x.shape[1])
    np.savez_compressed(HERE / "formats.npz", **arrays)


if __name__ == "__main__":
    main()

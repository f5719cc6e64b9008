"""Write ``qviz/formats/iq/codebooks.npy`` from the tables in ggml's own header.

Run ``python tests/golden/make_codebooks.py path/to/ggml/src/ggml-common.h``; ``tests/formats/test_codebook_formats.py``
compares the result with the tables of gguf-py.
"""

import re
import sys
from pathlib import Path

import numpy as np

TABLES = ("iq2xxs", "iq2xs", "iq2s", "iq3xxs", "iq3s", "iq1s")
OUT = Path(__file__).parents[2] / "qviz" / "formats" / "iq" / "codebooks.npy"


def main(header: str) -> None:
    """Each entry of a table is one word that holds the levels of eight or four weights, a byte each."""
    text = Path(header).read_text(encoding="utf-8")
    found = {}
    for name in TABLES:
        table = rf"GGML_TABLE_BEGIN\(uint(\d+)_t, {name}_grid,.*?\)(.*?)GGML_TABLE_END"
        bits, body = re.search(table, text, re.S).groups()
        words = np.array([int(word, 16) for word in re.findall(r"0x[0-9a-f]+", body)], f"<u{int(bits) // 8}")
        found[name] = words.view(np.int8).reshape(len(words), -1)
    record = np.zeros((), [(name, "i1", grid.shape) for name, grid in found.items()])
    for name, grid in found.items():
        record[name] = grid
    np.save(OUT, record)


if __name__ == "__main__":
    main(sys.argv[1])

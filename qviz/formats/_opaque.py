"""The ggml types that hold no quantized weights: enough to list and copy any GGUF, not to decode them.

Their values are described nevertheless, because a big-endian file swaps the bytes of every value.
"""

from __future__ import annotations

import numpy as np

from qviz.formats.base import Format

REMOVED = {
    4: "Q4_2",
    5: "Q4_3",
    31: "Q4_0_4_4",
    32: "Q4_0_4_8",
    33: "Q4_0_8_8",
    36: "IQ4_NL_4_4",
    37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
}
"""Type ids that ggml once gave out and took back: a file that holds one cannot be read by anybody today."""

OPAQUE = tuple(
    Format(
        name=name,
        type_id=type_id,
        block_size=1,
        type_size=np.dtype(kind).itemsize,
        dtype=np.dtype([("x", kind)]),
        source=f"ggml.h: GGML_TYPE_{name}",
    )
    for name, type_id, kind in (
        ("I8", 24, "<i1"),
        ("I16", 25, "<i2"),
        ("I32", 26, "<i4"),
        ("I64", 27, "<i8"),
        ("F64", 28, "<f8"),
    )
)

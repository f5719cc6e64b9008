"""The ggml types that have no file of their own yet: enough to list and copy any GGUF, not to decode it.

Each row below says how a block's bytes split into fields, because a big-endian file swaps the bytes of every
field that is wider than one. A format that gets its own file leaves this table; the registry refuses it in
both places.
"""

from __future__ import annotations

import numpy as np

from qviz.formats.base import Format

# name, type id, weights in a block, bytes of a block, its fields: "d:f2" is one float16, "qs:16u1" sixteen
# bytes
_TABLE = """
I8         24    1    1  x:i1
I16        25    1    2  x:i2
I32        26    1    4  x:i4
I64        27    1    8  x:i8
F64        28    1    8  x:f8
IQ1_S      19  256   50  d:f2 qs:32u1 qh:8u2
IQ1_M      29  256   56  qs:32u1 qh:16u1 scales:8u1
IQ2_XXS    16  256   66  d:f2 qs:32u2
IQ2_XS     17  256   74  d:f2 qs:32u2 scales:8u1
IQ2_S      22  256   82  d:f2 qs:64u1 qh:8u1 scales:8u1
IQ3_XXS    18  256   98  d:f2 qs:96u1
IQ3_S      21  256  110  d:f2 qs:64u1 qh:8u1 signs:32u1 scales:4u1
"""

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


def _fields(text: str) -> np.dtype[np.void]:
    pairs = (part.split(":") for part in text.split())
    # a plain "f2" is one number; "16u1" becomes a subarray of sixteen
    return np.dtype(
        [(name, f"<{kind}" if kind[0].isalpha() else f"({kind[:-2]},)<{kind[-2:]}") for name, kind in pairs]
    )


def _format(row: str) -> Format:
    name, type_id, block_size, type_size, fields = row.split(maxsplit=4)
    return Format(
        name=name,
        type_id=int(type_id),
        block_size=int(block_size),
        type_size=int(type_size),
        dtype=_fields(fields),
        source=f"ggml-common.h: block_{name.lower()}" if int(block_size) > 1 else f"ggml.h: GGML_TYPE_{name}",
    )


OPAQUE = tuple(_format(row) for row in _TABLE.strip().splitlines())

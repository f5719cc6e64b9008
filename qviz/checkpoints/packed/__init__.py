"""Packed integer weights as GPTQ, AWQ, AutoRound and compressed-tensors checkpoints hold them, written and read.

`bits` packs codes into words, `linear` holds one matrix, `dialects` knows who lays out words and spells settings how,
`settings` finds what a folder says of itself, `reader` and `writer` do the rest. Layouts are checked against bytes
that the packages of their makers wrote.
"""

from __future__ import annotations

from qviz.checkpoints.packed.bits import BITS, pack_bits, unpack_bits, zeros_from_v1, zeros_to_v1
from qviz.checkpoints.packed.floats import pack_floats
from qviz.checkpoints.packed.linear import LAYOUTS, PackedLinear, pack
from qviz.checkpoints.packed.reader import StoredLayer, read_packed, refuse_unsaid, stored_layers
from qviz.checkpoints.packed.settings import find_dialect, find_settings
from qviz.checkpoints.packed.writer import Packing, packed_parts, packing, write_packed

__all__ = [
    "BITS",
    "LAYOUTS",
    "PackedLinear",
    "Packing",
    "StoredLayer",
    "find_dialect",
    "find_settings",
    "pack",
    "pack_bits",
    "pack_floats",
    "packed_parts",
    "packing",
    "read_packed",
    "refuse_unsaid",
    "stored_layers",
    "unpack_bits",
    "write_packed",
    "zeros_from_v1",
    "zeros_to_v1",
]

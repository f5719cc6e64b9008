"""The table of ggml types, against libggml and the gguf package."""

from __future__ import annotations

import ctypes

import ggml
import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from qviz.formats import FORMATS, get
from qviz.formats._opaque import OPAQUE, REMOVED

Q8_1_IN_GGUF_PY = 40  # float32 d and s, as in 2023; ggml stores float16 since, 36 bytes


@pytest.mark.parametrize("type_", GGML_QUANT_SIZES, ids=lambda t: t.name)
def test_sizes_as_in_the_gguf_package(type_):
    fmt = get(int(type_))
    block_size, type_size = GGML_QUANT_SIZES[type_]
    if type_ is GGMLQuantizationType.Q8_1:
        assert type_size in (Q8_1_IN_GGUF_PY, 36)
        type_size = 36
    assert (fmt.name, fmt.block_size, fmt.type_size) == (type_.name, block_size, type_size)


def test_sizes_and_names_as_in_libggml():
    lib = ggml.library()
    lib.ggml_type_name.restype = ctypes.c_char_p
    lib.ggml_type_size.restype = ctypes.c_size_t
    lib.ggml_blck_size.restype = ctypes.c_int64
    known = [fmt for fmt in FORMATS.values() if fmt.name != "Q2_0"]  # newer than the library
    for fmt in known:
        theirs = (
            lib.ggml_type_name(fmt.type_id).decode(),
            lib.ggml_blck_size(fmt.type_id),
            lib.ggml_type_size(fmt.type_id),
        )
        assert (theirs[0].upper(), *theirs[1:]) == (fmt.name, fmt.block_size, fmt.type_size)
    for type_id in REMOVED:
        assert lib.ggml_type_size(type_id) == 0


def test_every_id_is_a_format_or_was_removed():
    assert sorted([*REMOVED, *(fmt.type_id for fmt in FORMATS.values())]) == list(range(43))


def test_opaque_formats_cover_their_block_with_fields():
    for fmt in OPAQUE:
        assert sum(fmt.dtype[name].itemsize for name in fmt.dtype.names) == fmt.type_size
        assert not fmt.can_decode
        assert not fmt.can_encode

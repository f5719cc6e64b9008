"""The anatomy of a file: every byte has one field, and readers notice what the header's own tests say they notice."""

from __future__ import annotations

import struct

import numpy as np
import pytest

import qviz
from qviz import gguf
from qviz.errors import GGUFError
from qviz.gguf import anatomy

METADATA = {
    "general.architecture": "llama",
    "a.flag": True,
    "a.number": 7,
    "a.float": 0.5,
    "some.numbers": gguf.Array([1, 2, 3], "u16"),
    "some.texts": ["one", "", "three"],
    "empty": gguf.Array([], "f32"),
    "nested": gguf.Array([gguf.Array([1, 2], "i32"), gguf.Array([3], "i32")], "arr"),
}


@pytest.fixture(params=["little", "big"])
def part(request, tmp_path):
    tensors = {"w": qviz.quantize(np.linspace(-1, 1, 96), "Q8_0"), "norm": np.float32([1.0, 2.0, 3.0])}
    path = tmp_path / "model.gguf"
    gguf.write(path, METADATA, tensors, endian=request.param)
    with gguf.read(path) as file:
        yield file.parts[0]


def whole(part):
    return anatomy.fields_of(part, 0, part.size)


def test_every_byte_has_one_field(part):
    at = 0
    for field in whole(part):
        assert field.start == at
        assert field.stop > at
        at = field.stop
    assert at == part.size


def test_values_by_hand(part):
    told = [(f.name, f.value) for f in whole(part) if f.region.name == "some.numbers"]
    assert told == [
        ("length of the key", "12"),
        ("the key", "some.numbers"),
        ("type of the value", "9 = arr"),
        ("type of the items", "2 = u16"),
        ("number of items", "3"),
        ("item 0", "1"),
        ("item 1", "2"),
        ("item 2", "3"),
    ]
    info = {f.name: f.value for f in whole(part) if f.region.kind == "tensor info" and f.region.name == "w"}
    assert info["dimension 0"] == "96"
    assert info["type of the weights"] == "8 = Q8_0"


def test_a_page_is_a_part_of_the_whole(part):
    fields = whole(part)
    for first, last in [
        (0, 1),
        (3, 9),
        (40, 200),
        (part.size - 5, part.size),
        (part.data_offset - 1, part.data_offset + 40),
    ]:
        page = anatomy.fields_of(part, first, last)
        assert page[0].start <= first
        assert page[-1].stop >= last
        inside = {(f.start, f.stop) for f in fields if f.start < last and f.stop > first}
        assert {(f.start, f.stop) for f in page} == inside


@pytest.mark.parametrize(("first", "last"), [(-1, 5), (5, 5), (0, 10**9)])
def test_no_such_bytes(part, first, last):
    with pytest.raises(GGUFError, match="the file has no bytes"):
        anatomy.fields_of(part, first, last)


def test_a_changed_file_is_read_as_if_it_were_on_disk(part, tmp_path):
    """Every byte of the header, each changed by one bit: the same error, or the same metadata, as from a real copy."""
    raw = part.path.read_bytes()
    copy = tmp_path / "copy" / part.path.name
    copy.parent.mkdir()
    for position in range(0, part.data_offset, 7):
        changed = bytearray(raw)
        changed[position] ^= 1 << position % 8
        copy.write_bytes(changed)
        header = anatomy.read_changed(part, {position: changed[position]})
        if isinstance(header, GGUFError):
            with pytest.raises(GGUFError) as caught:
                gguf.read(copy)
            assert str(header).replace(str(part.path), "") == str(caught.value).replace(str(copy), "")
            continue
        with gguf.read(copy) as file:
            assert repr(dict(file.metadata)) == repr(dict(header.metadata))
            assert {n: (i.shape, i.format, i.offset) for n, i in file.tensor_info.items()} == {
                n: (i.shape, i.format, i.offset) for n, i in header.tensor_info.items()
            }


def test_consequences_are_said(part):
    value = next(f for f in whole(part) if f.region.name == "a.number" and f.name == "the value")
    low = value.start if part.layout.endian == "little" else value.stop - 1
    assert anatomy.consequences(part, {low: 9}) == ["a.number: was 7, is 9."]
    block = next(f for f in whole(part) if f.name == "block 1" and f.region.name == "w")
    assert anatomy.consequences(part, {}) == []
    (said,) = anatomy.consequences(part, {block.start + 2: 0})
    assert said.startswith(f"w, block at byte {block.start:,}: 1 of 32 weights change")
    assert "no checksum" in said
    (said,) = anatomy.consequences(part, {block.start: 0xFF, block.start + 1: 0x7F})  # a scale that is no number
    assert "32 of 32 weights change, by up to inf" in said
    with pytest.raises(GGUFError, match="unknown GGUF version"):
        anatomy.consequences(part, {4: 99, 7: 99})


def test_oracle_for_the_first_bytes(part):
    raw = part.path.read_bytes()
    order = "<" if part.layout.endian == "little" else ">"
    magic, version, tensors, keys = struct.unpack(f"{order}4sIQQ", raw[:24])
    assert [f.value for f in whole(part)[:4]] == [magic.decode(), str(version), str(tensors), str(keys)]

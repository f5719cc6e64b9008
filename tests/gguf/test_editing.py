"""Metadata changed, tensors untouched."""

from __future__ import annotations

import numpy as np
import pytest
from gguf import GGUFReader

from qviz import gguf
from qviz.errors import GGUFError
from qviz.gguf import U8, Array, MissingKeyError
from qviz.gguf.editing import parse
from qviz.gguf.metadata import Metadata

METADATA = {
    "general.architecture": "llama",
    "general.name": "before",
    "a.u8": U8(3),
    "a.f32": 1.5,
    "a.bool": True,
    "a.i16s": Array([1, 2], "i16"),
    "a.texts": ["x", "y"],
}
TENSORS = {"w": np.arange(33, dtype=np.float32), "v": np.ones((2, 3), np.float16), "none": np.zeros(0, np.float32)}


@pytest.fixture
def path(tmp_path):
    return gguf.write(tmp_path / "m.gguf", METADATA, TENSORS)


@pytest.mark.parametrize(("version", "endian"), [(3, "little"), (1, "little"), (3, "big")])
@pytest.mark.parametrize("alignment", [8, 32, 4096])
def test_a_file_as_if_written_so(tmp_path, version, endian, alignment):
    how = {"version": version, "endian": endian, "alignment": alignment}
    path = gguf.write(tmp_path / "m.gguf", METADATA, TENSORS, **how)
    changes = gguf.edit(path, set={"general.name": "after" * 50, "a.u8": 4, "new": [1, 2]}, remove=["a.bool"])
    assert [change.key for change in changes] == ["a.bool", "general.name", "a.u8", "new"]
    expected = Metadata(METADATA).without("a.bool") | {"general.name": "after" * 50, "a.u8": U8(4)}
    if alignment != 32:
        expected |= {"general.alignment": alignment}
    expected |= {"new": Array([1, 2], "i32")}
    assert path.read_bytes() == gguf.write(tmp_path / "new.gguf", expected, TENSORS, **how).read_bytes()


def test_others_read_it(path):
    gguf.edit(path, set={"general.name": "after", "a.texts": ["z"]})
    reader = GGUFReader(path)
    assert bytes(reader.fields["general.name"].parts[-1]) == b"after"
    assert [tensor.name for tensor in reader.tensors][:2] == ["w", "v"]
    assert np.array_equal(reader.tensors[0].data, TENSORS["w"])


def test_gaps_and_foreign_types_stay(tmp_path, path):
    raw = bytearray(path.read_bytes())
    at = raw.index(b"v", raw.index(b"w" + bytes([1, 0, 0, 0]))) + 1 + 4 + 16
    raw[at : at + 4] = (139).to_bytes(4, "little")
    path.write_bytes(raw + b"what others left")
    with gguf.read(path) as before:
        tail = path.read_bytes()[before.data_offset :]
    gguf.edit(path, set={"general.name": "a much longer name than the one before"})
    with gguf.read(path) as after:
        assert after.tensor_info["v"].format.name == "IQ4_K"
        assert path.read_bytes()[after.data_offset :] == tail


def test_a_copy_leaves_the_file(path, tmp_path):
    before = path.read_bytes()
    assert gguf.edit(path, set={"general.name": "after"}, out=tmp_path / "copy.gguf")
    assert path.read_bytes() == before
    assert gguf.read(tmp_path / "copy.gguf").metadata["general.name"] == "after"
    assert gguf.edit(path, set={"general.name": "before", "a.u8": 3}) == []
    assert gguf.edit(path, out=tmp_path / "same.gguf") == []
    assert (tmp_path / "same.gguf").read_bytes() == before


def test_types_stay_or_are_given(path):
    gguf.edit(path, set={"a.f32": 2, "a.i16s": [7], "a.bool": False, "general.name": U8(9)})
    types = gguf.read(path).metadata.types
    assert [types[key] for key in ("a.f32", "a.i16s", "a.bool", "general.name")] == ["f32", "arr[i16]", "bool", "u8"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"set": {"a.u8": 300}}, "300 is not a u8"),
        ({"set": {"a.u8": "3"}}, "a.u8' is a u8 and stays one"),
        ({"set": {"a.bool": 1}}, "a.bool' is a bool and stays one"),
        ({"set": {"a.i16s": [1, 70000]}}, r"a.i16s'\[1\] is not a i16"),
        ({"set": {"a.i16s": "12"}}, "stays one"),
        ({"set": {"a.new": None}}, "cannot be stored"),
        ({"set": {"": 1}}, "not empty"),
        ({"set": {"general.alignment": 64}}, "cannot be edited"),
        ({"remove": ["general.alignment"]}, "cannot be edited"),
        ({"set": {"split.count": 2}}, "cannot be edited"),
        ({"set": {"a.u8": 1}, "remove": ["a.u8"]}, "to be set and to be removed"),
    ],
)
def test_wrong_changes(path, change, said):
    before = path.read_bytes()
    with pytest.raises(GGUFError, match=said):
        gguf.edit(path, **change)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_key_that_is_not_there(path):
    with pytest.raises(MissingKeyError, match=r"'general\.nam' to remove; close: 'general\.name'"):
        gguf.edit(path, remove=["general.nam"])


def test_parts_of_a_split_model(path, tmp_path):
    parts = gguf.split(path, tmp_path / "part", max_tensors=1)
    gguf.edit(parts[0], set={"general.name": "after"})
    assert gguf.read(parts[1]).metadata["general.name"] == "after"
    with pytest.raises(GGUFError, match="metadata stand in the first"):
        gguf.edit(parts[1], set={"x": 1})
    with pytest.raises(GGUFError, match="cannot be edited"):
        gguf.edit(parts[0], remove=["split.count"])
    merged = gguf.merge(parts[0], tmp_path / "merged.gguf", keep_split_keys=True)
    gguf.edit(merged, remove=["split.no", "split.count", "split.tensors.count"])
    assert gguf.read(merged).metadata == gguf.read(parts[0]).metadata


@pytest.mark.parametrize(
    ("text", "type_", "value", "got"),
    [
        ("true", None, True, "bool"),
        ("True", None, "True", "str"),
        ("12", None, 12, "u32"),
        ("-12", None, -12, "i32"),
        ("5000000000", None, 5_000_000_000, "u64"),
        ("1e-5", None, np.float32(1e-5), "f32"),
        ("2.", None, 2.0, "f32"),
        ("2.0.1", None, "2.0.1", "str"),
        ("nan", None, "nan", "str"),
        ("[1, 2]", None, [1, 2], "arr[i32]"),
        ('["a"]', None, ["a"], "arr[str]"),
        ("[]", None, "[]", "str"),
        ("[x]", None, "[x]", "str"),
        ("", None, "", "str"),
        ("12", "str", "12", "str"),
        ("12", "u8", 12, "u8"),
        ("1", "f64", 1.0, "f64"),
        ("false", "bool", False, "bool"),
        ("[]", "arr[u8]", [], "arr[u8]"),
    ],
)
def test_values_from_text(text, type_, value, got):
    parsed = parse(text, type_)
    assert parsed == value
    assert Metadata({"x": parsed}).types == {"x": got}


@pytest.mark.parametrize(
    ("text", "type_", "said"),
    [
        ("300", "u8", "300 is not a u8"),
        ("1.5", "u32", "1.5 is not a u32"),
        ("x", "i64", "this is not a i64: found 'x'"),
        ("1", "bool", "this is not a bool"),
        ("1", "u9", "no such type: found 'u9', expected u8, i8"),
        ("1", "arr[u8]", "not an array of u8"),
        ("[1]", "arr[arr]", "no such type"),
        ("9" * 30, "u64", "is not a u64"),
    ],
)
def test_texts_that_are_no_value(text, type_, said):
    with pytest.raises(GGUFError) as caught:
        parse(text, type_)
    assert said in str(caught.value)

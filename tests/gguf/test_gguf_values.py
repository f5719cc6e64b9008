"""Metadata values: the types that plain values get, and what cannot be stored."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from qviz import gguf
from qviz.errors import GGUFError
from qviz.gguf import F32, F64, I8, I32, U8, U16, U32, Array, Metadata, ValueType


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (True, "bool"),
        (0, "u32"),
        (2**32 - 1, "u32"),
        (-1, "i32"),
        (-(2**31), "i32"),
        (2**32, "u64"),
        (2**64 - 1, "u64"),
        (-(2**31) - 1, "i64"),
        (0.5, "f32"),
        (float("nan"), "f32"),
        (float("inf"), "f32"),
        ("", "str"),
        ([1, 2], "arr[i32]"),
        ((1, 2), "arr[i32]"),
        ([0, 2**31], "arr[u32]"),
        ([-1, 2**31], "arr[i64]"),
        ([0, 2**63], "arr[u64]"),
        ([0.5], "arr[f32]"),
        ([False], "arr[bool]"),
        (["a"], "arr[str]"),
        ([[1], ["a"]], "arr[arr]"),
        ([U8(1), U8(2)], "arr[u8]"),
        (Array([], "f64"), "arr[f64]"),
        (U16(3), "u16"),
        (F64(0.1), "f64"),
        (np.uint8(3), "u8"),
        (np.float64(3), "f64"),
        (np.bool_(True), "bool"),
        (np.str_("a"), "str"),
        (np.arange(3, dtype=">i2"), "arr[i16]"),
        (np.zeros(0, np.float32), "arr[f32]"),
    ],
)
def test_types_of_plain_values(tmp_path, value, type_):
    f = gguf.read(gguf.write(tmp_path / "t.gguf", {"k": value}, {}))
    assert f.metadata.types == {"k": type_}
    expected = value.tolist() if isinstance(value, np.ndarray) else value
    expected = list(expected) if isinstance(expected, tuple) else expected
    assert f.metadata["k"] == expected or value != value


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "metadata 'the.key' cannot be stored as GGUF metadata: found 'NoneType None'"),
        (b"raw", "found \"bytes b'raw'\""),
        ({"a": 1}, "cannot be stored as GGUF metadata"),
        (1j, "cannot be stored"),
        (2**64, "does not fit 64 bits: found '18446744073709551616'"),
        (-(2**63) - 1, "does not fit 64 bits"),
        pytest.param(10**5000, "does not fit 64 bits: found 'a whole number of 16610 bits'", id="5001 digits"),
        (Array([10**5000], "u64"), "metadata 'the.key'[0] is not a u64: found 'a whole number of 16610 bits'"),
        (1e39, "too large for a f32: found 1e+39, expected a smaller number, or F64(...)"),
        ([], 'is empty, so the type of its items is unknown: expected e.g. Array([], "i32")'),
        ([1, "a"], "has items that do not share a type: found ['int', 'str']"),
        ([1, 2.5], "do not share a type"),
        ([True, 2], "do not share a type"),
        ([None], "do not share a type"),
        ([2**63, -1], "does not fit 64 bits"),
        ([[1], []], "metadata 'the.key'[1] is empty"),
        (["\ud800"], "metadata 'the.key'[0] is not Unicode text"),
        ("a\ud800", "metadata 'the.key' is not Unicode text"),
        (Array([1, 300], "u8"), "metadata 'the.key'[1] is not a u8: found '300'"),
        (Array([1.5], "i32"), "metadata 'the.key'[0] is not a i32: found '1.5'"),
        (Array([1e39], "f32"), "metadata 'the.key'[0] is not a f32"),
        (Array(["a"], "f32"), "metadata 'the.key'[0] is not a f32: found \"'a'\""),
        (Array([1], "bool"), "metadata 'the.key'[0] is not a bool: found '1'"),
        (Array([1], "str"), "metadata 'the.key'[0] is not a str: found '1'"),
        (Array(["a"], "arr"), "metadata 'the.key'[0] is not a arr: found \"'a'\""),
        (np.zeros((2, 2)), "found 'a NumPy value of float64 and shape (2, 2)'"),
        (np.array(["a"]), "NumPy value of <U1"),
        (np.complex64(1), "NumPy value of complex64"),
        (np.float16(1), "NumPy value of float16"),
    ],
)
def test_values_that_cannot_be_stored(tmp_path, value, problem):
    with pytest.raises(GGUFError) as caught:
        gguf.write(tmp_path / "t.gguf", {"the.key": value}, {})
    assert problem in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_list_that_holds_itself_ends(tmp_path):
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(GGUFError, match="nested too deeply: expected at most 32 levels"):
        gguf.write(tmp_path / "t.gguf", {"k": endless}, {})


@pytest.mark.parametrize("key", ["", 3, None, "k" * 65536, "\ud800"])
def test_keys_that_cannot_be_stored(tmp_path, key):
    with pytest.raises(GGUFError, match="metadata"):
        gguf.write(tmp_path / "t.gguf", {key: 1}, {})


@pytest.mark.parametrize(
    ("make", "bad"),
    [
        *((U8, bad) for bad in (256, -1, 1.5, "x", None, float("nan"), float("inf"))),
        *((I8, bad) for bad in (128, -129)),
        *((F32, bad) for bad in ("x", None, 1e39, 10**400)),
        *((F64, bad) for bad in ("x", None)),
        *((lambda type_: Array([], type_), bad) for bad in ("u128", 99, None)),
        (lambda items: Array(items, "u8"), 3),
    ],
)
def test_typed_values_check_themselves(make, bad):
    with pytest.raises(GGUFError) as caught:
        make(bad)
    assert str(bad)[:20] in str(caught.value)


def test_typed_values_are_plain_values():
    assert U32(2048) == 2048
    assert repr(U32(2048)) == "2048"
    assert json.dumps({"a": U32(7), "b": Array([1, 2], "u8"), "c": F64(0.1)}) == '{"a": 7, "b": [1, 2], "c": 0.1}'
    assert F32(0.1) == float(np.float32(0.1))
    assert repr(F32(0.1)) == "0.1"
    for value in (U8(3), I32(-3), F32(0.1), F64(0.1), Array([1], "i16")):
        again = pickle.loads(pickle.dumps(value))
        assert (again, type(again)) == (value, type(value))
    assert pickle.loads(pickle.dumps(Array([1], "i16"))).item_type is ValueType.I16


def test_metadata_is_combined_without_losing_types(tmp_path):
    first = {"general.name": "one", "split.no": U16(0), "layers": U8(3), "tokens": Array(["a"], "str")}
    metadata = gguf.read(gguf.write(tmp_path / "t.gguf", first, {})).metadata
    types = metadata.types
    changed = metadata | {"general.name": "two", "new": 1.5}
    assert dict(changed) == {"general.name": "two", "split.no": 0, "layers": 3, "tokens": ["a"], "new": 1.5}
    assert changed.types == {**types, "new": "f32"}
    assert list(changed) == [*metadata, "new"]
    assert metadata["general.name"] == "one"
    assert Metadata({**metadata, "x": 1}).types == {**types, "x": "u32"}
    assert list(metadata.without("split.no", "absent")) == ["general.name", "layers", "tokens"]
    again = gguf.read(gguf.write(tmp_path / "u.gguf", changed, {})).metadata
    assert dict(again) == dict(changed)
    assert again.types == changed.types
    with pytest.raises(TypeError):
        metadata["general.name"] = "three"

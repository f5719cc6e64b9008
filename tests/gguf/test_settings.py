"""Settings that a file gives: what each kind takes, and that an error names key, wish and find."""

import math

import numpy as np
import pytest

from qviz import gguf
from qviz.errors import GGUFError, LlamaError
from qviz.gguf.settings import Settings, shown


def read(kind, value, **options):
    return getattr(Settings({"m.key": value}, "m.", LlamaError), kind)("key", **options)


def short(value):
    return shown(value, 20)


FLOATS = [2.0, np.float32(2), gguf.F32(2), 0.5, math.nan, math.inf, -math.inf]
TEXTS = ["2", "", "true", "\udcff"]
ARRAYS = [[], [2], (2,), np.array([2]), gguf.Array([2], "u32"), [[2]], np.zeros((2, 2), np.int64)]
ODD = [None, b"2", {}, object(), 2j]


@pytest.mark.parametrize("value", [2, gguf.U8(2), gguf.I64(2), np.int16(2), np.uint64(2), np.array(2)])
def test_whole_numbers(value):
    found = read("count", value)
    assert (found, type(found)) == (2, int)
    assert read("counts", value, length=3) == (2, 2, 2)
    number = read("number", value)
    assert (number, type(number)) == (2.0, float)


@pytest.mark.parametrize(
    "value", [True, np.bool_(1), *FLOATS, *TEXTS, *ARRAYS, *ODD, 0, -1, 2**31, 10**12, 1 << 5000], ids=short
)
def test_what_is_no_count(value):
    with pytest.raises(LlamaError, match=r"^m\.key is .*; a whole number from 1 to 2,147,483,647 is wanted$"):
        read("count", value)


def test_limits_of_a_count():
    assert read("count", 0, least=0) == 0
    assert read("count", 512, most=512) == 512
    with pytest.raises(LlamaError, match=r"m\.key is 513; a whole number from 1 to 512 is wanted"):
        read("count", 513, most=512)


@pytest.mark.parametrize("value", [[1, 2], (1, 2), np.array([1, 2], np.uint8), gguf.Array([1, 2], "u32")])
def test_one_number_a_layer(value):
    assert read("counts", value, length=2) == (1, 2)
    for length in (1, 3):
        with pytest.raises(LlamaError, match=rf"m\.key has 2 values; .*, or an array of {length} is wanted"):
            read("counts", value, length=length)


@pytest.mark.parametrize("value", [[1, 2.0], [1, True], [1, "2"], [1, -1], [1, [2]], [1, None], np.array([1.0, 2.0])])
def test_what_is_no_number_of_a_layer(value):
    with pytest.raises(LlamaError, match=r"m\.key\[[01]\] is .*a whole number"):
        read("counts", value, length=2)


@pytest.mark.parametrize(
    "value", [True, math.nan, math.inf, -math.inf, np.float32("nan"), *TEXTS, *ARRAYS, *ODD, 10**400], ids=short
)
def test_what_is_no_finite_number(value):
    with pytest.raises(LlamaError, match=r"^m\.key is .*; a finite number is wanted$"):
        read("number", value)


@pytest.mark.parametrize("value", [0, 0.0, -0.0, -1e-5, gguf.F32(0)])
def test_a_number_that_must_be_positive(value):
    assert read("number", gguf.F32(0.5), above=0) == 0.5
    with pytest.raises(LlamaError, match="a finite number above 0 is wanted"):
        read("number", value, above=0)
    assert read("number", value, least=-1) == value
    with pytest.raises(LlamaError, match="at least 1 and at most 2"):
        read("number", value, least=1, most=2)


@pytest.mark.parametrize("value", [0, 1, gguf.U8(1), 1.0, *TEXTS, *ARRAYS, *ODD])
def test_a_flag_is_a_flag(value):
    assert read("flag", True) is read("flag", np.bool_(True)) is True
    with pytest.raises(LlamaError, match=r"^m\.key is .*; true or false is wanted$"):
        read("flag", value)


@pytest.mark.parametrize("value", [True, 2, *FLOATS, *ARRAYS, *ODD])
def test_a_text_is_a_text(value):
    assert read("text", "\udcff") == "\udcff"
    with pytest.raises(LlamaError, match=r"^m\.key is .*; a text is wanted$"):
        read("text", value)


def test_a_text_out_of_a_few():
    assert read("text", "gpt2", choices=("llama", "gpt2")) == "gpt2"
    with pytest.raises(LlamaError, match=r"m\.key is 'bert'; one of 'llama', 'gpt2' is wanted"):
        read("text", "bert", choices=("llama", "gpt2"))


@pytest.mark.parametrize("value", [True, 2, "ab", *FLOATS, *ODD, np.array(["a", "b"]).reshape(1, 2)])
@pytest.mark.parametrize("kind", ["texts", "integers", "numbers"])
def test_a_single_value_is_no_array(kind, value):
    with pytest.raises(LlamaError, match=r"^m\.key is .*; an array of .* is wanted$"):
        read(kind, value)


def test_arrays():
    assert read("texts", gguf.Array(["a", "\udcff"], "str")) == ["a", "\udcff"]
    assert read("texts", [], length=0) == []
    integers = read("integers", gguf.Array([1, -2], "i8"))
    assert integers.dtype == np.int64
    assert integers.tolist() == [1, -2]
    numbers = read("numbers", [1, 0.5, np.float64(3)])
    assert numbers.dtype == np.float32
    assert numbers.tolist() == [1, 0.5, 3]
    for kind in ("texts", "integers", "numbers"):
        with pytest.raises(LlamaError, match=r"m\.key has 2 values; an array of 3 .* is wanted"):
            read(kind, ["a", "b"], length=3)


@pytest.mark.parametrize(
    ("kind", "items"),
    [
        ("texts", ["a", 1]), ("texts", ["a", b"b"]), ("texts", ["a", ["b"]]), ("texts", ["a", None]),
        ("integers", [1, 2.0]), ("integers", [1, True]), ("integers", [1, 2**63]), ("integers", [1, "2"]),
        ("numbers", [1, math.nan]), ("numbers", [1, math.inf]), ("numbers", [1, 1e39]), ("numbers", [1, True]),
        ("numbers", [1, "2"]), ("numbers", [1, 10**400]), ("numbers", [1, [2]]),
    ],
)  # fmt: skip
def test_an_item_of_another_kind(kind, items):
    with pytest.raises(LlamaError, match=r"m\.key\[1\] is .* is wanted"):
        read(kind, items)


@pytest.mark.parametrize("kind", ["count", "number", "flag", "text", "texts", "integers", "numbers"])
def test_what_is_not_there(kind):
    settings = Settings({}, "m.")
    assert getattr(settings, kind)("key", None) is None
    with pytest.raises(GGUFError, match=r"there is no m\.key; .* is wanted"):
        getattr(settings, kind)("key")


def test_what_nobody_asked_for_is_known():
    settings = Settings({"a": 1, "m.b": 2, "m.c": 3, "m.d": "x", "mm.e": 1}, "m.")
    assert settings.count("c") == 3
    assert settings.number("missing", 1.5) == 1.5
    assert "d" in settings
    assert settings.left() == ["m.b", "m.d"]
    assert settings.used == {"m.c", "m.missing"}


def test_metadata_of_another_kind():
    with pytest.raises(LlamaError, match="must be a mapping"):
        Settings(None, "m.", LlamaError)


def test_what_is_shown_is_short():
    for value in (
        "x" * 10**6,
        ["x" * 10**5] * 1000,
        10**5000,
        np.zeros(10**6),
        [[[1] * 1000] * 1000],
        gguf.Array([1] * 10**5, "u8"),
    ):
        assert len(shown(value)) < 130

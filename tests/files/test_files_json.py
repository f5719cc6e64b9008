"""JSON from anywhere: what would take for ever or all memory is refused before it is parsed."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qviz import _files
from qviz.errors import CheckpointError

TEXT = st.text(alphabet=string.printable + '"\\[]{},é漢😀', max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_it_reads_what_the_standard_library_writes(value, ascii_only):
    assert _files.parse_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


def count(value):
    """Values as the limit counts them: brackets, and commas between items."""
    if isinstance(value, dict):
        return 1 + max(len(value) - 1, 0) + sum(count(item) for item in value.values())
    if isinstance(value, list):
        return 1 + max(len(value) - 1, 0) + sum(map(count, value))
    return 0


@given(VALUES)
def test_values_are_counted_outside_of_strings(value):
    raw, n = json.dumps(value).encode(), 1 + count(value)
    assert _files.parse_json(raw, n) == value
    with pytest.raises(_files.NotJSONError, match="more values than are accepted"):
        _files.parse_json(raw, n - 1)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"[" * 1_000_000, "nested more than 64 levels"),
        (b'{"a":' * 100_000, "nested more than 64 levels"),
        (b'{"a": [' + b"[]," * 5_000_000 + b"[]]}", "more values than are accepted"),
        (b'{"a": ' + b"9" * 5_000_000 + b"}", "a number of 5,000,000 digits"),
        (b'{"a": 0.' + b"9" * 5_000_000 + b"}", "a number of 5,000,002 digits"),
        (b'{"a": 1e' + b"9" * 5_000_000 + b"}", "a number of"),
        (b'{"a": 1, "b": 2, "a": 3}', "'a' appears twice"),
        (b'{"a": {"b": 1, "b": 1}}', "'b' appears twice"),
        (b'{"a": "\\ud800"}', "half of a character"),
        (b'{"\\udfff": 1}', "half of a character"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b'{"a": 1', "Expecting"),
        (b"", "Expecting value"),
        (b"\x00\x00", "Expecting value"),
    ],
)
def test_what_cannot_be_taken_says_why(raw, message):
    with pytest.raises(_files.NotJSONError, match=message):
        _files.parse_json(raw)


def test_a_name_is_found_twice_among_many():
    raw = b"{" + b", ".join(b'"t%d": 0' % i for i in range(60_000)) + b', "t59999": 0}'
    with pytest.raises(_files.NotJSONError, match="'t59999' appears twice"):  # quadratic once: a minute
        _files.parse_json(raw)


def test_whole_characters_may_be_written_in_halves():
    assert _files.parse_json(rb'"\ud83d\ude00 \\ud800"') == "😀 \\ud800"


def test_files(tmp_path):
    path = tmp_path / "config.json"
    assert _files.read_json(path, required=False) == {}
    with pytest.raises(CheckpointError, match=r"there is no config\.json"):
        _files.read_json(path)
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert _files.read_json(path) == {"a": 1}
    path.write_text("[1]")
    with pytest.raises(CheckpointError, match="is not a JSON object: it is a list"):
        _files.read_json(path)
    with pytest.raises(CheckpointError, match="too large"):
        _files.read_json(path, max_bytes=2)

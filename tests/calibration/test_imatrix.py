"""Importance matrices: files built by hand to llama.cpp's layouts, both ways, and every way to be broken."""

import struct

import numpy as np
import pytest
from gguf import GGUFReader
from hypothesis import given
from hypothesis import strategies as st

from qviz import gguf
from qviz.calibration import imatrix
from qviz.calibration.imatrix import Entry, Imatrix
from qviz.errors import ImatrixError, ModelNotFoundError, QvizError
from qviz.gguf import MissingKeyError


def legacy(*entries, tail=b""):
    """A .dat file, by the layout in llama.cpp's imatrix-loader.cpp."""
    raw = struct.pack("<i", len(entries))
    for name, calls, values in entries:
        raw += struct.pack("<i", len(name)) + name + struct.pack("<ii", calls, len(values))
        raw += np.array(values, "<f4").tobytes()
    return raw + tail


TAIL = struct.pack("<ii", 9, 8) + b"wiki.raw"


@pytest.fixture
def dat(tmp_path):
    def write(raw):
        path = tmp_path / "some.dat"
        path.write_bytes(raw)
        return path

    return write


def matrix():
    return Imatrix(
        {
            "blk.0.ffn_up.weight": Entry(np.float32([[3, 6, 9]]), np.array([3])),
            "blk.0.ffn_down_exps.weight": Entry(np.float32([[1, 2], [5, 6]]), np.array([4, 0])),
        },
        datasets=["a.txt", "b.txt"],
        chunk_count=2,
        chunk_size=2,
    )


def test_legacy_means_are_sums_over_calls(dat):
    m = imatrix.read(dat(legacy((b"b.weight", 4, [4, 8]), (b"a.weight", 0, [7, 9]), tail=TAIL)))
    assert list(m) == ["a.weight", "b.weight"]
    assert m["b.weight"].tolist() == [1, 2]
    assert m["a.weight"].tolist() == [7, 9]  # no calls: as they are
    assert (m.chunk_count, m.datasets, m.legacy) == (9, ("wiki.raw",), True)
    assert m["b.weight"].dtype == np.float32


@pytest.mark.parametrize("tail", [b"", struct.pack("<i", 5), struct.pack("<ii", 5, 0)])
def test_the_oldest_files_end_early(dat, tail):
    m = imatrix.read(dat(legacy((b"w", 1, [1]), tail=tail)))
    assert m.chunk_count == (5 if tail else 0)
    assert m.datasets == ()


def test_a_file_called_dat_may_be_gguf(tmp_path):
    path = imatrix.write(tmp_path / "m.dat", matrix(), format="gguf")
    assert not imatrix.read(path).legacy


def test_means_of_experts_and_of_those_that_never_ran():
    m = matrix()
    assert m["blk.0.ffn_up.weight"].tolist() == [1, 2, 3]
    assert m["blk.0.ffn_down_exps.weight"].tolist() == [[0.25, 0.5], [1, 1]]


def test_gguf_file_as_gguf_py_reads_it(tmp_path):
    reader = GGUFReader(imatrix.write(tmp_path / "m.gguf", matrix()))
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert fields == {
        "general.type": "imatrix",
        "imatrix.datasets": ["a.txt", "b.txt"],
        "imatrix.chunk_count": 2,
        "imatrix.chunk_size": 2,
    }
    # sorted by name, each with sums then counts; ggml drops a last dimension of one
    assert [(t.name, t.shape.tolist(), t.data.reshape(-1).tolist()) for t in reader.tensors] == [
        ("blk.0.ffn_down_exps.weight.in_sum2", [2, 2], [1, 2, 5, 6]),
        ("blk.0.ffn_down_exps.weight.counts", [1, 2], [4, 0]),
        ("blk.0.ffn_up.weight.in_sum2", [3], [3, 6, 9]),
        ("blk.0.ffn_up.weight.counts", [1], [3]),
    ]


def test_gguf_round_trip_is_byte_identical(tmp_path):
    original = matrix()
    entry = original.entries["blk.0.ffn_up.weight"]
    with_inputs = Entry(entry.sums, entry.counts, inputs=np.float32([[1, -2, 3]]))
    original = Imatrix({**original.entries, "x.weight": with_inputs}, datasets=["t"], chunk_count=1, chunk_size=512)
    first = imatrix.write(tmp_path / "a.gguf", original)
    second = imatrix.write(tmp_path / "b.gguf", imatrix.read(first))
    assert first.read_bytes() == second.read_bytes()
    assert imatrix.read(second).entries["x.weight"].inputs.tolist() == [[1, -2, 3]]


def test_legacy_round_trip_is_byte_identical(dat, tmp_path):
    raw = legacy((b"a", 3, [0.1, 0.7]), (b"b", 7, [1e-30, 1e30]), tail=TAIL)
    assert imatrix.write(tmp_path / "again.dat", imatrix.read(dat(raw))).read_bytes() == raw


def test_legacy_from_gguf_as_llama_cpp_converts(tmp_path):
    path = imatrix.write(tmp_path / "m.dat", matrix())
    # counts of tokens become calls of chunk_size, rounded up: 4 / 2 = 2, 3 / 2 -> 2; values are mean × calls
    expected = legacy(
        (b"blk.0.ffn_down_exps.weight", 2, [0.5, 1, 2, 2]),
        (b"blk.0.ffn_up.weight", 2, [2, 4, 6]),
        tail=struct.pack("<ii", 2, 5) + b"b.txt",
    )
    assert path.read_bytes() == expected


def test_entries_without_data_are_left_out_of_legacy_files(tmp_path):
    m = Imatrix({**matrix().entries, "idle": Entry(np.zeros((1, 2), np.float32), np.array([0]))}, chunk_size=2)
    assert "idle" not in imatrix.read(imatrix.write(tmp_path / "m.dat", m))


def test_from_means():
    m = Imatrix.from_means({"w": [1.0, 4.0], "e": np.ones((2, 3))}, tokens=1000, chunk_size=300, datasets=["t"])
    assert m["w"].tolist() == [1, 4]
    assert m["e"].shape == (2, 3)
    assert m.chunk_count == 4
    assert repr(m) == "<Imatrix: 2 tensors, 4 chunks, from t>"
    for means, tokens in (({"w": [-1.0]}, 1), ({"w": [np.nan]}, 1), ({"w": []}, 1), ({"w": ["x"]}, 1), ({"w": [1]}, 0)):
        with pytest.raises(ImatrixError):
            Imatrix.from_means(means, tokens=tokens)


def test_a_missing_name_suggests_another():
    with pytest.raises(MissingKeyError, match=r"no importance of 'blk\.0\.ffn_up'; close: 'blk\.0\.ffn_up\.weight'"):
        matrix()["blk.0.ffn_up"]
    assert matrix().get("nothing") is None


GOOD = legacy((b"a.weight", 3, [1, 2]), (b"b.weight", 3, [1, 2]), tail=TAIL)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "the file ends inside the number of entries at byte 0"),
        (struct.pack("<i", 0), "the number of entries makes no sense at byte 0: found 0"),
        (struct.pack("<i", -5) + bytes(20), "found -5"),
        (struct.pack("<i", 2**31 - 1) + bytes(64), "the number of entries makes no sense"),
        (struct.pack("<ii", 1, 2**31 - 1) + bytes(64), "the length of the name of entry 0 makes no sense at byte 4"),
        (struct.pack("<ii", 1, -1) + bytes(64), "the length of the name of entry 0 makes no sense"),
        (legacy((b"", 1, [1])), "the name of entry 0 is empty at byte 4"),
        (legacy((b"a", 1, [1]), (b"a", 1, [1])), "the name of entry 1 is used twice"),
        (legacy((b"a", -1, [1])), "the number of calls of 'a' makes no sense"),
        (legacy((b"a", 1, [])) + bytes(8), "the number of values of 'a' makes no sense"),
        (struct.pack("<ii", 1, 1) + b"a" + struct.pack("<ii", 1, 2**30) + bytes(32), "the number of values of 'a'"),
        (legacy((b"a", 1, [1, np.nan])), "'a' holds a sum of squares that cannot be one: found nan"),
        (legacy((b"a", 1, [-2.0])), "found -2.0"),
        (GOOD + b"x", "the file goes on after its end"),
    ],
)
def test_broken_legacy_files(dat, raw, message):
    with pytest.raises(ImatrixError) as caught:
        imatrix.read(dat(raw))
    assert message in str(caught.value)
    assert "some.dat" in str(caught.value)


def test_a_legacy_file_cut_anywhere(dat):
    whole_without = {len(legacy((b"a.weight", 3, [1, 2]), (b"b.weight", 3, [1, 2])) + TAIL[:n]) for n in (0, 4)}
    for length in range(len(GOOD)):
        path = dat(GOOD[:length])
        if length in whole_without:
            imatrix.read(path)
            continue
        with pytest.raises(ImatrixError):
            imatrix.read(path)


@given(st.binary(max_size=200), st.integers(0, len(GOOD)))
def test_rubbish_never_ends_in_anything_else(tmp_path_factory, rubbish, at):
    path = tmp_path_factory.getbasetemp() / "rubbish.dat"
    path.write_bytes(GOOD[:at] + rubbish)
    try:
        m = imatrix.read(path)
    except QvizError:
        return
    assert all(np.isfinite(m[name]).all() for name in m)


def broken_gguf(change):
    tensors = {"w.in_sum2": np.float32([1, 2]), "w.counts": np.float32([3])}
    change(tensors)
    return tensors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("w.counts"), "'w.in_sum2' has no 'w.counts' beside it"),
        (lambda t: t.pop("w.in_sum2"), "holds no importance matrices: found \"tensors 'w.counts'\""),
        (
            lambda t: t.update({"w.counts": np.float16([3])}),
            "'w.counts' has the wrong format: found 'F16', expected F32",
        ),
        (lambda t: t.update({"w.counts": np.float32([3, 3, 3])}), "do not fit together"),
        (lambda t: t.update({"w.counts": np.zeros(0, np.float32)}), "2 sums, 0 counts"),
        (lambda t: t.update({"w.in_sum2": np.zeros(0, np.float32)}), "0 sums, 1 counts"),
        (lambda t: t.update({"w.in_sum": np.float32([3])}), "do not fit together"),
        (lambda t: t.update({"w.counts": np.float32([-1])}), "'w.counts' holds what is no count: found [-1.0]"),
        (lambda t: t.update({"w.counts": np.float32([np.nan])}), "holds what is no count"),
        (lambda t: t.update({"w.in_sum2": np.float32([1, np.inf])}), "cannot be one: found inf"),
    ],
)
def test_broken_gguf_files(tmp_path, change, message):
    path = gguf.write(tmp_path / "m.gguf", {}, broken_gguf(change))
    with pytest.raises(ImatrixError) as caught:
        imatrix.read(path)
    assert message in str(caught.value)


def test_broken_gguf_metadata(tmp_path):
    path = gguf.write(tmp_path / "m.gguf", {"imatrix.chunk_count": "many"}, broken_gguf(lambda t: None))
    with pytest.raises(ImatrixError, match=r"'imatrix.chunk_count' is not a count: found 'many'"):
        imatrix.read(path)


def test_files_that_are_not_there_and_things_that_cannot_be_written(tmp_path):
    with pytest.raises(ModelNotFoundError, match="nowhere"):
        imatrix.read(tmp_path / "nowhere.dat")
    with pytest.raises(ImatrixError, match="nothing to write"):
        imatrix.write(tmp_path / "m.dat", Imatrix({}))
    with pytest.raises(ImatrixError, match="found 'npz'"):
        imatrix.write(tmp_path / "m.npz", matrix(), format="npz")
    for name in ("no/m.dat", "no/m.gguf"):
        with pytest.raises(QvizError, match="folder does not exist"):
            imatrix.write(tmp_path / name, matrix())

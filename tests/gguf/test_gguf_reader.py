"""Reading: values, views, the memory map and its life."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import struct
import sys
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from raw import ARR, BOOL, F32, STR, U8, U32, Raw, pad, small

from qviz import gguf
from qviz.errors import GGUFError, ModelNotFoundError, NotEncodableError, QvizError

VARIANTS = [Raw(version, endian) for version in (1, 2, 3) for endian in ("little", "big")]
variants = pytest.mark.parametrize("raw", VARIANTS, ids=lambda raw: f"v{raw.version}-{raw.endian}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def opened(path: Path, data: bytes) -> gguf.GGUFFile:
    path.write_bytes(data)
    return gguf.read(path)


@variants
def test_everything_in_the_small_file(path, raw):
    f = opened(path, small(raw))
    assert (f.version, f.endian, f.alignment, f.path) == (raw.version, raw.endian, 32, path)
    assert dict(f.metadata) == {
        "general.architecture": "llama",
        "a.u8": 200,
        "a.i8": -100,
        "a.u16": 60000,
        "a.i16": -30000,
        "a.u32": 4_000_000_000,
        "a.i32": -2_000_000_000,
        "a.f32": float(np.float32(1e-5)),
        "a.bool": True,
        "a.u64": 2**64 - 1,
        "a.i64": -(2**63),
        "a.f64": 0.1,
        "a.empty": "",
        "tokens": ["<s>", "Ġt", "\udcff\udcfe", ""],
        "scores": [0.5, -1.25, float("inf")],
        "flags": [True, False],
        "none": [],
        "nested": [[1, -2], ["x"], [[7]]],
    }
    assert f.metadata.types == {
        "general.architecture": "str",
        **{f"a.{name}": name for name in ("u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "u64", "i64", "f64")},
        "a.empty": "str",
        "tokens": "arr[str]",
        "scores": "arr[f32]",
        "flags": "arr[bool]",
        "none": "arr[i16]",
        "nested": "arr[arr]",
    }
    assert list(f) == ["norm.weight", "w.weight", "ids"]
    assert f["norm.weight"].dequantize().tolist() == list(range(-4, 4))
    # row 0: scales 0.5 and 1.5; byte i of qs holds code i − 8 (low) and −8 (high)
    w = f["w.weight"]
    assert w.shape == (2, 64)
    assert w.format == "Q4_0"
    codes = [*range(-8, 8), *[-8] * 16]
    np.testing.assert_array_equal(
        w.dequantize(), np.float32([[c * s for s in row for c in codes] for row in ((0.5, 1.5), (2.5, 3.5))])
    )
    assert f["ids"].shape == (1, 1, 3)
    assert f["ids"].blocks["x"].reshape(-1).tolist() == [1, -2, 300]


def test_dims_are_reversed_and_offsets_absolute(path):
    data = small()
    f = opened(path, data)
    info = f.tensor_info["w.weight"]
    assert (info.dims, info.shape, info.nbytes, info.n_weights) == ((64, 2), (2, 64), 72, 128)
    assert info.offset == f.data_offset + 32
    # weight [1, 40] lies in the fourth block: its scale is 3.5
    at = info.block_offset(1, 40)
    assert struct.unpack_from("<e", data, at) == (3.5,)
    assert data[at : at + 18] == f["w.weight"].blocks[1, 1].tobytes()
    with pytest.raises(GGUFError, match=r"has no weight \[2, 0\]; its shape is \(2, 64\)"):
        info.block_offset(2, 0)


def test_little_endian_tensors_are_views_of_the_read_only_map(path):
    f = opened(path, small())
    first, second = f["w.weight"].blocks, f["w.weight"].blocks
    assert np.shares_memory(first, second)
    assert not first.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        first["d"] = 1
    base = first
    while isinstance(base, np.ndarray):
        base = base.base
    assert type(getattr(base, "obj", base)).__name__ == "mmap"


def test_big_endian_tensors_are_read_only_copies(path):
    f = opened(path, small(Raw(endian="big")))
    first, second = f["w.weight"].blocks, f["w.weight"].blocks
    assert not np.shares_memory(first, second)
    assert not first.flags.writeable
    assert first.dtype == f.tensor_info["w.weight"].format.dtype
    assert first["d"].tolist() == [[0.5, 1.5], [2.5, 3.5]]


def test_opening_and_taking_a_tensor_allocates_nothing_of_its_size(path):
    raw = Raw()
    path.write_bytes(raw.file([], [raw.info("w", [1 << 20, 16], 0, 0)]))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + (64 << 20))
    tracemalloc.start()
    tensor = gguf.read(path)["w"]
    assert tensor.nbytes == 64 << 20
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def open_files() -> set[str]:
    """What this process has open; names of files that were deleted too."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            found.add(str(link.readlink()))
    return found


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc/self/fd")


@linux
def test_tensors_outlive_the_file_and_let_it_go(path):
    with opened(path, small()) as f:
        w = f["w.weight"]
        assert str(path) in open_files()
    assert f.closed
    assert w.dequantize()[0, 0] == -4
    assert f.metadata["tokens"][0] == "<s>"  # was not read before
    with pytest.raises(GGUFError, match="closed; open it again"):
        f["w.weight"]
    f.close()
    del w
    gc.collect()
    assert str(path) not in open_files()


@linux
def test_dropping_a_file_closes_it_without_garbage_collection(path):
    path.write_bytes(small())
    gc.disable()
    try:
        f = gguf.read(path)
        f["w.weight"].dequantize()
        list(f.metadata.items())
        del f
        assert str(path) not in open_files()
    finally:
        gc.enable()


@linux
def test_a_refused_file_is_not_left_open(path):
    path.write_bytes(small()[:-40])
    with pytest.raises(GGUFError) as caught:
        gguf.read(path)
    assert caught.value.__traceback__ is not None  # as a notebook keeps it in sys.last_value
    assert str(path) not in open_files()


@linux
def test_many_opens_need_no_more_files_than_are_open(path):
    path.write_bytes(small())
    resource = pytest.importorskip("resource")
    limit, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())  # the limit is on numbers, not on files
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 20, hard))
    try:
        for _ in range(60):
            assert len(gguf.read(path)) == 3
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def test_a_file_that_shrank_is_noticed_before_it_kills_the_process(path):
    f = opened(path, small())
    os.truncate(path, 100)
    with pytest.raises(GGUFError, match="the file shrank while it was open") as caught:
        f["ids"]
    assert caught.value.found == "100 bytes"
    for closed in (False, True):
        assert f.metadata.types["tokens"] == "arr[str]"  # needs no file
        for use in (lambda: f.metadata["tokens"], lambda: f.metadata.peek("tokens", 1)):
            with pytest.raises(GGUFError, match="the file shrank while it was open"):
                use()
        if not closed:
            f.close()


def test_unknown_names_suggest_close_ones(path):
    f = opened(path, small())
    with pytest.raises(KeyError, match=r"no tensor 'w\.wieght'; close: 'w\.weight'"):
        f["w.wieght"]
    with pytest.raises(QvizError, match=r"no metadata key 'general\.architektur'; close: 'general\.architecture'"):
        f.metadata["general.architektur"]
    assert f.get("nope") is None
    assert f.metadata.get("nope", 1) == 1
    assert 3 not in f
    assert 3 not in f.metadata
    with pytest.raises(KeyError):
        f[["unhashable"]]


def test_regions_tile_the_file(path):
    data = small()
    regions = opened(path, data).parts[0].regions
    assert regions[0].start == 0
    assert regions[-1].stop == len(data)
    assert all(a.stop == b.start for a, b in pairwise(regions))
    by_name = {(r.kind, r.name): data[r.start : r.stop] for r in regions}
    assert by_name["metadata", "a.u8"] == Raw().pair("a.u8", U8, 200)
    assert by_name["tensor info", "ids"] == Raw().info("ids", [3, 1, 1], 25, 128)
    assert by_name["tensor", "ids"] == struct.pack("<3h", 1, -2, 300)
    assert {r.kind for r in regions} == {"header", "metadata", "tensor info", "padding", "tensor"}
    longer = opened(path, data + bytes(7)).parts[0].regions
    assert longer[-1] == (len(data), len(data) + 7, "unused", "")


def test_layouts_that_ggml_would_not_write_but_the_specification_allows(path):
    raw = Raw()
    infos = [raw.info("late", [8], 0, 64), raw.info("early", [8], 0, 0)]  # out of order, a gap, no last padding
    data = np.arange(24, dtype="<f4").tobytes()
    f = opened(path, raw.file([], infos, data))
    assert f["late"].dequantize().tolist() == list(range(16, 24))
    assert f["early"].dequantize().tolist() == list(range(8))
    assert list(f) == ["late", "early"]


def test_the_last_tensor_needs_no_padding(path):
    raw = Raw()
    f = opened(path, raw.file([], [raw.info("w", [3], 0, 0)], np.float32([1, 2, 3]).tobytes()))
    assert f["w"].dequantize().tolist() == [1, 2, 3]


@pytest.mark.parametrize("alignment", [1, 4, 64, 4096])
def test_alignment_of_the_file(path, alignment):
    raw = Raw()
    pairs = [raw.pair("general.alignment", U32, alignment)]
    infos = [raw.info("a", [1], 0, 0), raw.info("b", [2], 0, max(alignment, 4))]
    one, two = np.float32([5]).tobytes(), np.float32([6, 7]).tobytes()
    data = pad(one, alignment) + pad(two, alignment)
    f = opened(path, raw.file(pairs, infos, data, alignment=alignment))
    assert f.alignment == alignment
    assert f["a"].dequantize().tolist() == [5]
    assert f["b"].dequantize().tolist() == [6, 7]


def test_every_ggml_type_opens_and_lists(path):
    from qviz.formats import FORMATS

    raw, infos, offset = Raw(), [], 0
    for fmt in FORMATS.values():
        infos.append(raw.info(fmt.name, [fmt.block_size, 2], fmt.type_id, offset))
        offset += -(-2 * fmt.type_size // 32) * 32
    f = opened(path, raw.file([], infos, os.urandom(offset)))
    assert [f[name].format.name for name in f] == list(FORMATS)
    for name, tensor in f.items():
        assert tensor.tobytes() == path.read_bytes()[f.tensor_info[name].offset :][: tensor.nbytes]
        if not tensor.format.can_decode:
            with pytest.raises(NotEncodableError, match=f"{name} can be listed and copied, but not decoded"):
                tensor.dequantize()


@pytest.mark.parametrize("value", [2, 255])
def test_a_bool_that_is_not_one_is_true_and_survives(path, value):
    raw = Raw()
    data = raw.file([raw.pair("k", U8, value).replace(bytes([0, 0, 0, 0, value]), bytes([BOOL, 0, 0, 0, value]))])
    f = opened(path, data)
    assert f.metadata["k"] is True
    gguf.write(path, f.metadata, f)
    assert path.read_bytes() == data


def test_long_arrays_can_be_looked_at_in_part(path):
    raw = Raw()
    f = opened(path, raw.file([raw.pair("t", ARR, (STR, [f"token {i}" for i in range(1000)])), raw.pair("n", F32, 1)]))
    assert f.metadata.peek("t", 2) == (["token 0", "token 1"], 1000)
    assert f.metadata.peek("n", 2) == (1.0, None)
    assert f.metadata["t"][999] == "token 999"
    assert f.metadata.peek("t", 1) == (["token 0"], 1000)


def test_pickles_as_a_path_and_as_plain_values(path):
    f = opened(path, small())
    again = pickle.loads(pickle.dumps(f))
    assert again["w.weight"].tobytes() == f["w.weight"].tobytes()
    metadata = pickle.loads(pickle.dumps(f.metadata))
    assert dict(metadata) == dict(f.metadata)
    assert metadata.types == f.metadata.types


def test_reprs_are_short(path):
    f = opened(path, small())
    assert repr(f) == f"<GGUFFile 'model.gguf': version 3, 3 tensors, {f.nbytes} bytes>"
    assert repr(f.metadata) == "<Metadata: 18 keys>"


def test_a_file_equals_itself_only(path):
    f = opened(path, small())
    assert f == f
    assert {f: 1}[f] == 1
    assert f != gguf.read(path)


# -- what is not a GGUF file at all


def test_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(
        ModelNotFoundError, match=r"no file '.*nope\.gguf'; check the path, or run `qviz fetch smollm2`"
    ):
        gguf.read(tmp_path / "nope.gguf")
    with pytest.raises(ModelNotFoundError):
        gguf.read(tmp_path / "nope.gguf" / "below")


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"lmgg" + bytes(60), "a GGML file from before GGUF"),
        (b"fmgg\1\0\0\0" + bytes(60), "a GGMF file from before GGUF"),
        (b"tjgg\3\0\0\0" + bytes(60), "a GGJT file from before GGUF"),
        (b"algg" + bytes(60), "a GGLA file"),
        (b"FUGG" + bytes(60), "its magic number reversed"),
        (struct.pack("<Q", 40) + b'{"w":{"dtype":"F32","shape":[1]}}       ', "safetensors"),
        (b"PK\x03\x04" + bytes(60), "a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "run `git lfs pull`"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"<html>", "a web page"),
        (b"\x80\x02}q\x00", "a Python pickle"),
        (b"\x1f\x8b\x08" + bytes(60), "gzip"),
        (bytes(4096), "zeros: an unfinished download"),
        (b"nothing in particular", "not a GGUF file at byte 0"),
    ],
)
def test_other_files_are_recognised(path, content, hint):
    path.write_bytes(content)
    with pytest.raises(GGUFError) as caught:
        gguf.read(path)
    assert hint in str(caught.value)
    assert caught.value.offset == 0
    assert caught.value.found == content[:4]
    assert caught.value.expected == b"GGUF"
    assert caught.value.path == str(path)


def test_folders_pipes_and_devices(tmp_path):
    with pytest.raises(GGUFError, match=r"this is a folder; name the \.gguf file in it"):
        gguf.read(tmp_path)
    os.mkfifo(tmp_path / "pipe.gguf")
    for special in (tmp_path / "pipe.gguf", "/dev/zero"):
        with pytest.raises(GGUFError, match="not a regular file"):
            gguf.read(special)


def test_empty_and_unreadable_files(path, monkeypatch):
    path.write_bytes(b"")
    with pytest.raises(GGUFError, match="the file is empty"):
        gguf.read(path)
    path.write_bytes(small())

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # root may read anything
    with pytest.raises(GGUFError, match="cannot be opened: Permission denied"):
        gguf.read(path)


@pytest.mark.parametrize("bad", [3, None, "a\0b", b"a\0b", "x" * 5000, ["a"]])
def test_what_is_not_a_path(bad):
    with pytest.raises(QvizError):
        gguf.read(bad)


def test_paths_of_every_kind(path, monkeypatch):
    path.write_bytes(small())
    monkeypatch.setenv("HOME", str(path.parent))
    for spelled in (str(path), os.fsencode(path), path, "~/model.gguf"):
        assert len(gguf.read(spelled)) == 3

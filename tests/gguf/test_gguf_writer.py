"""Writing: read back by ourselves, by gguf-py and by libggml; whole files or none."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Mapping
from pathlib import Path

import libggml_opens
import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFEndian, GGUFReader, GGUFValueType, GGUFWriter
from hypothesis import given, settings
from hypothesis import strategies as st
from raw import Raw, small

from qviz import gguf
from qviz.errors import GGUFError
from qviz.formats import FORMATS, QTensor, quantize

VARIANTS = [Raw(version, endian) for version in (1, 2, 3) for endian in ("little", "big")]
variants = pytest.mark.parametrize("raw", VARIANTS, ids=lambda raw: f"v{raw.version}-{raw.endian}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.gguf"


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name.startswith(".qviz"))


# -- the same bytes again


@variants
@pytest.mark.parametrize("how", [lambda m: m, dict], ids=["metadata", "a plain dict"])
def test_read_then_write_is_byte_identical(path, raw, how):
    data = small(raw)
    path.write_bytes(data)
    f = gguf.read(path)
    copy = gguf.write(path.with_name("copy.gguf"), how(f.metadata), f, version=f.version, endian=f.endian)
    assert copy.read_bytes() == data


@variants
@pytest.mark.parametrize("target", VARIANTS, ids=lambda raw: f"to-v{raw.version}-{raw.endian}")
def test_every_version_and_byte_order_converts_to_every_other(path, raw, target):
    path.write_bytes(small(raw))
    f = gguf.read(path)
    gguf.write(path, f.metadata, f, version=target.version, endian=target.endian)
    assert path.read_bytes() == small(target)


def test_a_not_a_number_keeps_its_bits(path):
    signalling = struct.pack("<I", 0x7F800001)
    raw = Raw()
    array = raw.text("a") + raw.number("I", 9) + raw.number("I", 6) + raw.length(1) + signalling
    data = raw.file([raw.text("k") + raw.number("I", 6) + signalling, array])
    path.write_bytes(data)
    f = gguf.read(path)
    assert np.isnan(f.metadata["k"])
    gguf.write(path, f.metadata, f)
    assert path.read_bytes() == data


def test_an_edited_list_is_written_as_edited(path):
    path.write_bytes(small())
    f = gguf.read(path)
    f.metadata["tokens"].append("new")
    f.metadata["scores"]
    gguf.write(path, f.metadata, f)
    again = gguf.read(path).metadata
    assert again["tokens"] == ["<s>", "Ġt", "\udcff\udcfe", "", "new"]
    assert again["scores"] == [0.5, -1.25, float("inf")]


# -- what others write, and what they read

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=15)
KEYS = st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=20).filter(
    lambda key: not key.startswith(("general.alignment", "split.", "GGUF."))
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
FLOATS32 = st.floats(width=32, allow_nan=False)
SCALARS = {
    "u8": (st.integers(0, 2**8 - 1), gguf.U8),
    "i8": (st.integers(-(2**7), 2**7 - 1), gguf.I8),
    "u16": (st.integers(0, 2**16 - 1), gguf.U16),
    "i16": (st.integers(-(2**15), 2**15 - 1), gguf.I16),
    "u32": (st.integers(0, 2**32 - 1), gguf.U32),
    "i32": (st.integers(-(2**31), 2**31 - 1), gguf.I32),
    "u64": (st.integers(0, 2**64 - 1), gguf.U64),
    "i64": (st.integers(-(2**63), 2**63 - 1), gguf.I64),
    "f32": (FLOATS32, gguf.F32),
    "f64": (st.floats(allow_nan=False), gguf.F64),
    "bool": (st.booleans(), bool),
    "str": (TEXTS, str),
}
SCALAR_VALUES = st.one_of([values.map(make) for values, make in SCALARS.values()])
FLAT_ARRAYS = st.one_of(
    [
        st.lists(values, max_size=5).map(lambda items, name=name: gguf.Array(items, name))
        for name, (values, _) in SCALARS.items()
    ]
)
ARRAYS = st.recursive(
    FLAT_ARRAYS, lambda inner: st.lists(inner, max_size=3).map(lambda items: gguf.Array(items, "arr")), max_leaves=6
)
METADATA = st.dictionaries(KEYS, SCALAR_VALUES | ARRAYS, max_size=6)


EVERY_FORMAT = tuple(FORMATS.values())


@st.composite
def tensors(draw, formats=EVERY_FORMAT, least: int = 0) -> dict[str, QTensor]:
    result = {}
    for name in draw(st.lists(NAMES, unique=True, min_size=least, max_size=4)):
        fmt = draw(st.sampled_from(formats))
        rows = draw(st.lists(st.integers(1, 3), max_size=3))
        shape = (*rows, fmt.block_size * draw(st.integers(1, 2)))
        nbytes = int(np.prod(rows, dtype=int)) * fmt.row_size(shape[-1])
        result[name] = QTensor.from_bytes(fmt, draw(st.binary(min_size=nbytes, max_size=nbytes)), shape)
    return result


@settings(max_examples=60, deadline=None)
@given(
    metadata=METADATA,
    model=tensors(),
    version=st.sampled_from((1, 2, 3)),
    endian=st.sampled_from(("little", "big")),
    alignment=st.sampled_from((None, 1, 8, 32, 256)),
)
def test_round_trip(tmp_path_factory, metadata, model, version, endian, alignment):
    path = tmp_path_factory.mktemp("round") / "t.gguf"
    gguf.write(path, metadata, model, version=version, endian=endian, alignment=alignment)
    f = gguf.read(path)
    expected = gguf.Metadata(metadata)
    if alignment not in (None, 32):
        expected = expected | {"general.alignment": alignment}
    assert f.metadata.types == expected.types
    assert dict(f.metadata) == dict(expected)
    assert list(f) == list(model)
    for name, tensor in model.items():
        assert f[name].shape == tensor.shape
        assert f[name].format is tensor.format
        assert f[name].tobytes() == tensor.tobytes()
        assert f.tensor_info[name].offset % (alignment or 32) == 0
    again = path.with_name("again.gguf")
    gguf.write(again, f.metadata, f, version=version, endian=endian)
    assert again.read_bytes() == path.read_bytes()


# the gguf package knows 40 bytes a block of Q8_1 where ggml has 36, and no Q2_0
KNOWN_TO_GGUF_PY = tuple(
    fmt for fmt in FORMATS.values() if fmt.name != "Q8_1" and fmt.name in GGMLQuantizationType.__members__
)


@settings(max_examples=40, deadline=None)
@given(metadata=st.dictionaries(KEYS, SCALAR_VALUES | FLAT_ARRAYS, max_size=6), model=tensors(KNOWN_TO_GGUF_PY, 1))
def test_gguf_py_reads_what_we_write(tmp_path_factory, metadata, model):
    path = tmp_path_factory.mktemp("ours") / "t.gguf"
    gguf.write(path, metadata, model)
    reader = GGUFReader(path)
    own = {"GGUF.version", "GGUF.tensor_count", "GGUF.kv_count"}
    assert [key for key in reader.fields if key not in own] == list(metadata)
    for key, value in metadata.items():
        field = reader.fields[key]
        if isinstance(value, list):
            assert field.types[0] == GGUFValueType.ARRAY
            if value:  # of an empty one it keeps no item type, and cannot tell its contents
                assert field.types[1] == int(value.item_type)
                assert list(field.contents()) == list(value)
        else:
            assert field.contents() == value
    assert [t.name for t in reader.tensors] == list(model)
    for theirs, ours in zip(reader.tensors, model.values(), strict=True):
        assert tuple(reversed(theirs.shape.tolist())) == ours.shape
        assert theirs.tensor_type.name == ours.format.name
        assert theirs.data.tobytes() == ours.tobytes()


GGUF_PY_TYPES = {name: GGUFValueType[long] for name, long in zip(
    ("u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "str", "u64", "i64", "f64"),
    ("UINT8", "INT8", "UINT16", "INT16", "UINT32", "INT32", "FLOAT32", "BOOL", "STRING", "UINT64", "INT64", "FLOAT64"),
    strict=True,
)}  # fmt: skip


def gguf_py_file(path: Path, endian: GGUFEndian, alignment: int | None = None, **options: int) -> GGUFWriter:
    """A file as the gguf package writes it: each value type, each array type, a nested array, tensors of 7 types."""
    rng = np.random.default_rng(0)
    writer = GGUFWriter(path, "llama", endianess=endian, **options)
    if alignment:
        writer.add_custom_alignment(alignment)
    for name, type_ in GGUF_PY_TYPES.items():
        value = {"f32": 0.1, "f64": 0.1, "bool": True, "str": "grüße\n"}.get(name, 100)
        writer.add_key_value(f"one.{name}", value, type_)
        writer.add_key_value(f"many.{name}", [value] * 3, GGUFValueType.ARRAY, sub_type=type_)
    writer.add_key_value("nested", [[1, 2], [3]], GGUFValueType.ARRAY)
    writer.add_key_value("tokens", [b"\xff", "a"], GGUFValueType.ARRAY, sub_type=GGUFValueType.STRING)
    for dtype in (np.float32, np.float16, np.float64, np.int8, np.int16, np.int32, np.int64):
        writer.add_tensor(f"t.{np.dtype(dtype).name}", (rng.standard_normal((3, 5)) * 50).astype(dtype))
    if endian == GGUFEndian.LITTLE:
        raw = np.frombuffer(quantize(rng.standard_normal((2, 64)), "Q8_0").tobytes(), np.uint8).reshape(2, -1)
        writer.add_tensor("t.q8_0", raw, raw_dtype=GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return writer


@pytest.mark.parametrize("endian", [GGUFEndian.LITTLE, GGUFEndian.BIG])
@pytest.mark.parametrize("alignment", [None, 64, 8])
def test_we_read_and_rewrite_what_gguf_py_writes(path, endian, alignment):
    gguf_py_file(path, endian, alignment)
    f = gguf.read(path)
    assert f.endian == endian.name.lower()
    assert f.alignment == (alignment or 32)
    for name in GGUF_PY_TYPES:
        value = {"f32": float(np.float32(0.1)), "f64": 0.1, "bool": True, "str": "grüße\n"}.get(name, 100)
        assert f.metadata[f"one.{name}"] == value
        assert f.metadata[f"many.{name}"] == [value] * 3
        assert f.metadata.types[f"one.{name}"] == name
        assert f.metadata.types[f"many.{name}"] == f"arr[{name}]"
    assert f.metadata["nested"] == [[1, 2], [3]]
    assert f.metadata["tokens"] == ["\udcff", "a"]
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float16, np.float64, np.int8, np.int16, np.int32, np.int64):
        expected = (rng.standard_normal((3, 5)) * 50).astype(dtype)
        np.testing.assert_array_equal(f[f"t.{np.dtype(dtype).name}"].blocks["x"].reshape(3, 5), expected)
    again = path.with_name("again.gguf")
    gguf.write(again, f.metadata, f, endian=f.endian)
    assert again.read_bytes() == path.read_bytes()


def test_libggml_opens_what_we_write(tmp_path):
    files = []
    for alignment in (None, 8, 256):
        for version in (2, 3):
            path = tmp_path / f"{alignment}-{version}.gguf"
            rng = np.random.default_rng(1)
            model = {
                fmt.name: QTensor.from_bytes(fmt, rng.bytes(3 * 2 * fmt.type_size), (3, 2 * fmt.block_size))
                for fmt in FORMATS.values()
                if fmt.name != "Q2_0"  # newer than the library that the tests have
            }
            metadata = {"general.architecture": "llama", "n": 3, "words": ["a", ""], "x": [1.5], "flag": True}
            files.append(gguf.write(path, metadata, model, alignment=alignment, version=version))
    files.append(gguf.write(tmp_path / "empty.gguf", {}, {}))
    assert libggml_opens.ask(files) == ["opens"] * 7


# -- arrays


def test_arrays_are_stored_as_they_are(path):
    rng = np.random.default_rng(2)
    arrays = {
        np.dtype(dtype).name: (rng.standard_normal((2, 3, 4)) * 50).astype(dtype)
        for dtype in ("f4", "f2", "f8", "i1", "i2", "i4", "i8")
    }
    arrays["transposed"] = arrays["float32"].T
    arrays["big-endian"] = arrays["float32"].astype(">f4")
    arrays["every other"] = arrays["int16"][:, ::2]
    reader = GGUFReader(gguf.write(path, {}, arrays))
    for theirs in reader.tensors:
        np.testing.assert_array_equal(theirs.data, arrays[theirs.name])
    types = [t.tensor_type.name for t in reader.tensors]
    assert types == ["F32", "F16", "F64", "I8", "I16", "I32", "I64", "F32", "F32", "I16"]


@pytest.mark.parametrize("endian", ["little", "big"])
def test_slices_and_odd_strides_of_quantized_tensors(path, endian):
    whole = quantize(np.random.default_rng(3).standard_normal((6, 64)), "Q4_0")
    odd = QTensor("Q4_0", whole.blocks[::2, ::-1], (3, 64))
    gguf.write(path, {}, {"rows": whole.rows(1, 4), "odd": odd}, endian=endian)
    f = gguf.read(path)
    assert f["rows"].tobytes() == whole.rows(1, 4).tobytes()
    assert f["odd"].tobytes() == odd.tobytes()


@pytest.mark.parametrize(
    ("tensor", "problem"),
    [
        (np.zeros((2, 2), np.uint8), "has a dtype that GGUF cannot hold: found 'uint8'"),
        (np.zeros(2, bool), "found 'bool'"),
        (np.zeros(2, complex), "found 'complex128'"),
        (np.array([object()]), "found 'object'"),
        (np.float32(1), "neither a QTensor nor a NumPy array"),
        (np.zeros((1, 1, 1, 1, 1)), "expected at most 4 dimensions"),
        ([1.0, 2.0], "neither a QTensor nor a NumPy array: found 'list'"),
        (None, "found 'NoneType'"),
    ],
)
def test_tensors_that_cannot_be_stored(path, tensor, problem):
    with pytest.raises(GGUFError) as caught:
        gguf.write(path, {}, {"the name": tensor})
    assert problem in str(caught.value)
    assert "'the name'" in str(caught.value)
    assert not path.exists()


@pytest.mark.parametrize("name", ["x" * 64, "é" * 32, "a\0b", 3, None, "\ud800"])
def test_names_that_cannot_be_stored(path, name):
    with pytest.raises(GGUFError, match="tensor"):
        gguf.write(path, {}, {name: np.zeros(1)})
    assert not path.exists()


def test_names_at_the_limit(path):
    names = ["", "x" * 63, "é" * 31, "../../etc/passwd"]
    gguf.write(path, {}, {name: np.zeros(1, np.float32) for name in names})
    assert list(gguf.read(path)) == names
    assert libggml_opens.ask([path]) == ["opens"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"version": 4}, "no such GGUF version: found 4"),
        ({"version": None}, "no such GGUF version"),
        ({"endian": "middle"}, "no such byte order: found 'middle'"),
        ({"alignment": 0}, "the alignment is not positive: found 0"),
        ({"alignment": -32}, "the alignment is not positive"),
        ({"alignment": 24}, "the alignment is not a power of two"),
        ({"alignment": 1 << 30}, "the alignment is huge"),
        ({"alignment": "32"}, "found '32'"),
        ({"alignment": 32.0}, "32.0"),
    ],
)
def test_options_that_make_no_sense(path, options, problem):
    with pytest.raises(GGUFError) as caught:
        gguf.write(path, {}, {}, **options)
    assert problem in str(caught.value)
    assert not path.exists()


@pytest.mark.parametrize("bad", [[], None, {"a": 1}.items(), np.zeros(3), "text"])
def test_arguments_of_the_wrong_kind(path, bad):
    with pytest.raises(GGUFError, match="must be a mapping"):
        gguf.write(path, {}, bad)
    with pytest.raises(GGUFError, match="must be a mapping"):
        gguf.write(path, bad, {})


def test_alignment_comes_from_the_metadata_or_goes_into_it(path):
    one = {"a": np.zeros(1, np.float32), "b": np.zeros(1, np.float32)}
    f = gguf.read(gguf.write(path, {"general.alignment": 128, "z": 1}, one))
    assert (f.alignment, f.data_offset % 128, f.tensor_info["b"].offset - f.data_offset) == (128, 0, 128)
    assert f.nbytes == f.data_offset + 256
    f = gguf.read(gguf.write(path, f.metadata, f, alignment=64))
    assert (f.alignment, f.metadata["general.alignment"], list(f.metadata)) == (64, 64, ["general.alignment", "z"])
    f = gguf.read(gguf.write(path, {}, one, alignment=64))
    assert f.metadata.types == {"general.alignment": "u32"}
    f = gguf.read(gguf.write(path, {}, one, alignment=32))
    assert dict(f.metadata) == {}
    with pytest.raises(GGUFError, match="must be a whole number, a u32"):
        gguf.write(path, {"general.alignment": gguf.U64(32)}, one)


# -- the file system


def test_a_file_can_be_rewritten_while_its_tensors_are_in_use(path):
    path.write_bytes(small())
    f = gguf.read(path)
    w = f["w.weight"]
    before = w.tobytes()
    gguf.write(path, f.metadata, {"w.weight": w, "more": np.ones(4, np.float32)})
    assert w.tobytes() == before
    assert f["ids"].blocks["x"].reshape(-1).tolist() == [1, -2, 300]  # the old bytes live on
    assert gguf.read(path)["w.weight"].tobytes() == before


class FailsAfterOne(Mapping):
    """Describes two tensors, then cannot deliver the second."""

    def __init__(self, error: BaseException):
        self.error = error
        self.tensor_info = {name: quantize(np.ones(32), "Q4_0") for name in "ab"}

    def __getitem__(self, name):
        if name == "b":
            raise self.error
        return self.tensor_info[name]

    def __iter__(self):
        return iter("ab")

    def __len__(self):
        return 2


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("no")], ids=type)
def test_an_interrupted_write_leaves_nothing(path, existing, error):
    if existing:
        path.write_bytes(b"precious")
    with pytest.raises(type(error)):
        gguf.write(path, {}, FailsAfterOne(error))
    assert list(path.parent.iterdir()) == ([path] if existing else [])
    if existing:
        assert path.read_bytes() == b"precious"


def test_a_full_disk_is_an_error_that_leaves_nothing(path, monkeypatch):
    path.write_bytes(b"precious")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GGUFError, match=r"out\.gguf: cannot be written: No space left on device"):
        gguf.write(path, {}, {"w": np.zeros(8, np.float32)})
    assert path.read_bytes() == b"precious"
    assert list(path.parent.iterdir()) == [path]


def test_a_mapping_that_breaks_its_word_is_caught(path):
    class Liar(FailsAfterOne):
        def __getitem__(self, name):
            return quantize(np.ones(64), "Q4_0")

    with pytest.raises(GGUFError, match="'a' is not what tensor_info said"):
        gguf.write(path, {}, Liar(RuntimeError()))
    assert list(path.parent.iterdir()) == []


def test_tensors_are_asked_for_once_and_in_order(path):
    asked = []

    class Lazy(FailsAfterOne):
        def __getitem__(self, name):
            asked.append(name)
            return self.tensor_info[name]

    gguf.write(path, {}, Lazy(RuntimeError()))
    assert asked == ["a", "b"]


def test_folders_devices_and_missing_folders(tmp_path):
    with pytest.raises(GGUFError, match="not a regular file"):
        gguf.write(tmp_path, {}, {})
    with pytest.raises(GGUFError, match="not a regular file"):
        gguf.write("/dev/null", {}, {})
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    with pytest.raises(GGUFError, match="its folder does not exist; create it first"):
        gguf.write(tmp_path / "no" / "such.gguf", {}, {})
    with pytest.raises(GGUFError, match="not the path of a file"):
        gguf.write(3, {}, {})
    for odd, problem in (
        ("a\0b.gguf", "not the path of a file"),
        ("x" * 300, "too long for a file.*at most 255 bytes"),
    ):
        with pytest.raises(GGUFError, match=problem):
            gguf.write(tmp_path / odd, {}, {})
    assert list(tmp_path.iterdir()) == []


def test_permissions_and_links_stay_as_they_were(tmp_path):
    real, link = tmp_path / "real.gguf", tmp_path / "link.gguf"
    umask = os.umask(0o027)
    try:
        gguf.write(real, {}, {})
    finally:
        os.umask(umask)
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    real.chmod(0o604)
    link.symlink_to(real)
    gguf.write(link, {"k": 1}, {})
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o604
    assert gguf.read(real).metadata["k"] == 1

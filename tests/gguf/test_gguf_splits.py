"""Models split over several files."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter
from raw import I32, STR, U16, U32, Raw

from qviz import gguf
from qviz.errors import GGUFError, ModelNotFoundError

R = Raw()
ARRAYS = {f"t{i}": np.arange(i, i + 40, dtype=np.float32).reshape(4, 10) for i in range(5)}


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    """Five tensors in three files, as the gguf package writes them."""
    writer = GGUFWriter(tmp_path / "model.gguf", "llama", split_max_tensors=2)
    writer.add_uint32("llama.block_count", 5)
    for name, array in ARRAYS.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    paths = sorted(tmp_path.glob("*.gguf"))
    assert [p.name for p in paths] == [f"model-{i:05d}-of-00003.gguf" for i in (1, 2, 3)]
    return paths


def part(
    path: Path, number: int, count: int, tensors: int, names: str, *, number_type: int = U16, raw: Raw = R
) -> None:
    """One part by hand: a tensor of one number for each letter of `names`."""
    pairs = [raw.pair("split.no", number_type, number), raw.pair("split.count", U16, count)]
    pairs.append(raw.pair("split.tensors.count", I32, tensors))
    infos = [raw.info(name, [1], 0, 32 * i) for i, name in enumerate(names)]
    path.write_bytes(raw.file(pairs, infos, bytes(32 * len(names))))


@pytest.mark.parametrize("which", [0, 1, 2])
def test_any_part_opens_the_whole(parts, which):
    f = gguf.read(parts[which])
    assert list(f) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(f[name].dequantize(), array)
    assert f.path == parts[0]
    assert [p.path for p in f.parts] == parts
    assert f.nbytes == sum(p.stat().st_size for p in parts)
    assert dict(f.metadata) == {"general.architecture": "llama", "llama.block_count": 5}
    info = f.tensor_info["t3"]
    assert info.path == parts[1]
    assert info.path.read_bytes()[info.offset : info.offset + 4] == np.float32(3).tobytes()
    assert "in 3 files" in repr(f)


def test_a_relative_path_opens_the_whole(parts, monkeypatch):
    monkeypatch.chdir(parts[0].parent)
    assert list(gguf.read(parts[2].name)) == list(ARRAYS)


def test_merging_is_reading_and_writing(parts, tmp_path):
    f = gguf.read(parts[0])
    merged = gguf.read(gguf.write(tmp_path / "merged.gguf", f.metadata, f))
    assert len(merged.parts) == 1
    assert dict(merged.metadata) == {"general.architecture": "llama", "llama.block_count": 5}
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(merged[name].dequantize(), array)


def test_each_part_copies_byte_for_byte(parts, tmp_path):
    f = gguf.read(parts[0])
    for p in f.parts:
        own = {name: f[name] for name in p.tensor_info}
        assert gguf.write(tmp_path / "copy.gguf", p.metadata, own).read_bytes() == p.path.read_bytes()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc/self/fd")
def test_closing_closes_every_part(parts):
    def still_open() -> list[str]:
        links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.exists()]
        return [name for name in links if name in map(str, parts)]

    with gguf.read(parts[1]) as f:
        tensor = f["t4"]
        assert set(still_open()) == set(map(str, parts))
    assert still_open() == [str(parts[2])]
    assert tensor.dequantize()[0, 0] == 4
    with pytest.raises(GGUFError, match="closed"):
        f["t0"]
    parts[2].write_bytes(b"GGUF")
    del tensor
    with pytest.raises(GGUFError) as caught:
        gguf.read(parts[0])
    assert caught.value.path == str(parts[2])
    assert still_open() == []


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_missing_part_is_named(parts, gone):
    parts[gone].unlink()
    with pytest.raises(GGUFError, match=f"1 of the 3 parts of this model are missing: found 'no {parts[gone].name}'"):
        gguf.read(parts[(gone + 1) % 3])
    with pytest.raises(ModelNotFoundError):
        gguf.read(parts[gone])


def test_many_missing_parts_do_not_fill_the_screen(tmp_path):
    path = tmp_path / "m-00001-of-65535.gguf"
    part(path, 0, 65535, 1, "a")
    with pytest.raises(GGUFError, match="65534 of the 65535 parts of this model are missing") as caught:
        gguf.read(path)
    assert len(str(caught.value)) < 500


def test_a_renamed_part_says_what_to_do(parts):
    renamed = parts[1].rename(parts[1].with_name("second.gguf"))
    with pytest.raises(GGUFError, match=r"part 2 of 3 .* expected a name that ends in -00002-of-00003\.gguf"):
        gguf.read(renamed)


def test_a_doubled_part(parts):
    shutil.copy(parts[0], parts[1])
    with pytest.raises(GGUFError, match=r"does not belong here, split\.no is wrong: .*: found 0, expected 1") as caught:
        gguf.read(parts[0])
    assert caught.value.path == str(parts[1])


def test_swapped_parts(parts):
    one, two, spare = parts[0], parts[1], parts[0].with_name("spare")
    one.rename(spare), two.rename(one), spare.rename(two)
    with pytest.raises(GGUFError, match=r"split\.no is wrong"):
        gguf.read(parts[2])


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        ({"number": 1, "count": 3, "tensors": 2, "names": "b"}, "split.count is wrong"),
        ({"number": 1, "count": 2, "tensors": 2, "names": "a"}, "tensor 'a' is also in"),
        ({"number": 1, "count": 2, "tensors": 2, "names": "bc"}, "do not hold as many tensors as split.tensors.count"),
        ({"number": 1, "count": 2, "tensors": 2, "names": ""}, "found 1, expected 2"),
        (
            {"number": 1, "count": 2, "tensors": 2, "names": "b", "raw": Raw(version=2)},
            "version or byte order is wrong",
        ),
        (
            {"number": 1, "count": 2, "tensors": 2, "names": "b", "raw": Raw(endian="big")},
            "version or byte order is wrong",
        ),
        (
            {"number": "1", "count": 2, "tensors": 2, "names": "b", "number_type": STR},
            "split.no is not a count: found '1'",
        ),
        (
            {"number": -1, "count": 2, "tensors": 2, "names": "b", "number_type": I32},
            "split.no is not a count: found -1",
        ),
    ],
)
def test_parts_of_different_models(tmp_path, second, problem):
    part(tmp_path / "m-00001-of-00002.gguf", 0, 2, 2, "a")
    part(tmp_path / "m-00002-of-00002.gguf", **second)
    with pytest.raises(GGUFError) as caught:
        gguf.read(tmp_path / "m-00001-of-00002.gguf")
    assert problem in str(caught.value)


def test_a_count_that_the_name_contradicts(tmp_path):
    path = tmp_path / "m-00001-of-00002.gguf"
    part(path, 0, 3, 3, "a")
    with pytest.raises(GGUFError, match=r"split\.count does not agree with the file's name: found 3, expected 2"):
        gguf.read(path)


def test_a_part_that_is_not_gguf(parts):
    parts[1].write_bytes(b"<html>")
    with pytest.raises(GGUFError, match="a web page") as caught:
        gguf.read(parts[0])
    assert caught.value.path == str(parts[1])


@pytest.mark.parametrize("count", [0, 1])
def test_a_merged_file_may_keep_its_split_keys(tmp_path, count):
    path = tmp_path / "m.gguf"
    part(path, 0, count, 1, "a")
    f = gguf.read(path)
    assert list(f) == ["a"]
    assert f.metadata["split.count"] == count


def test_a_name_alone_does_not_make_a_split(tmp_path):
    path = tmp_path / "m-00001-of-00002.gguf"
    path.write_bytes(R.file([R.pair("k", U32, 1)]))
    assert dict(gguf.read(path).metadata) == {"k": 1}


def test_glob_characters_in_the_name(tmp_path):
    for i in (1, 2):
        part(tmp_path / f"a[b]*-0000{i}-of-00002.gguf", i - 1, 2, 2, "xy"[i - 1])
    assert list(gguf.read(tmp_path / "a[b]*-00002-of-00002.gguf")) == ["x", "y"]

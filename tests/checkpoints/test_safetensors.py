"""Safetensors against the package of that name, and against everything that is wrong with a file."""

from __future__ import annotations

import json
import random
from pathlib import Path

import hf_folders as folders
import numpy as np
import pytest
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from qviz import checkpoints
from qviz.errors import CheckpointError, ModelNotFoundError, QvizError


def packed(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_a_file_is_a_mapping_that_equals_itself_alone(tmp_path: Path) -> None:
    save_file({"a": np.ones(2, np.float32)}, tmp_path / "x.safetensors")
    one, other = (checkpoints.read(tmp_path / "x.safetensors") for _ in range(2))
    assert one != other
    assert {one, other, one} == {one, other}
    assert one._ipython_key_completions_() == ["a"]
    assert one.get("b") is None
    with pytest.raises(KeyError, match=r"x\.safetensors: no tensor 'b'; there are 'a'"):
        one["b"]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8"])
def test_what_the_package_writes(tmp_path: Path, dtype: str) -> None:
    rng = np.random.default_rng(0)
    arrays = {name: rng.integers(-100, 100, shape).astype(dtype) for name, shape in {"b": (3, 5), "a": (7,)}.items()}
    save_file(arrays, tmp_path / "x.safetensors", {"format": "np"})
    with checkpoints.read(tmp_path / "x.safetensors") as file:
        assert set(file) == {"a", "b"}
        for name, array in arrays.items():
            tensor = file[name]
            assert tensor.shape == array.shape
            assert tensor.tobytes() == array.tobytes()
            assert tensor.blocks.base is not None


def test_bfloat16_is_a_view(tmp_path: Path) -> None:
    x = np.float32([[1.0, -2.5], [0.0, 3.0]])
    folders.write_safetensors(tmp_path / "x.safetensors", {"w": x}, "BF16")
    with safe_open(tmp_path / "x.safetensors", "np") as theirs:
        assert theirs.get_slice("w").get_dtype() == "BF16"
    tensor = checkpoints.read(tmp_path / "x.safetensors")["w"]
    assert tensor.format == "BF16"
    assert not tensor.blocks.flags.writeable
    np.testing.assert_array_equal(tensor.dequantize(), x)


def test_a_single_number_and_what_cannot_be_used(tmp_path: Path) -> None:
    save_file(
        {"n": np.array(3.5, "f4"), "mask": np.array([True]), "none": np.zeros((0, 4), "f4")}, tmp_path / "x.safetensors"
    )
    file = checkpoints.read(tmp_path / "x.safetensors")
    assert file["n"].dequantize().tolist() == [3.5]
    for name in ("mask", "none"):
        with pytest.raises(CheckpointError, match="cannot be used here: found"):
            file[name]
    with pytest.raises(KeyError, match="close: 'mask'"):
        file["masc"]
    file.close()
    with pytest.raises(CheckpointError, match="was closed"):
        file["n"]


GOOD = packed({"w": entry()}, bytes(8))
DEEP = b"[" * 200_000 + b"]" * 200_000
BAD = {
    "shorter than a length": (b"\1\2\3", "wrong length of the header"),
    "header of 2^63": (b"\xff" * 8 + GOOD[8:], "wrong length of the header"),
    "header longer than the file": ((10**6).to_bytes(8, "little") + GOOD[8:], "wrong length of the header"),
    "header of nothing": (bytes(8) + GOOD[8:], "wrong length of the header"),
    "not JSON": (packed(b"{nonsense}"), "not a JSON object"),
    "not UTF-8": (packed(b'{"\xff": 1}'), "not a JSON object"),
    "a list": (packed([]), "it is a list"),
    "nested without end": (packed(DEEP), "not a JSON object"),
    "name twice": (packed(b'{"w": 1, "w": 2}'), "'w' appears twice"),
    "no description": (packed({"w": 3}), "wrong description of 'w'"),
    "no dtype": (packed({"w": entry(None)}, bytes(8)), "unknown dtype of 'w'"),
    "dtype F4": (packed({"w": entry("F4")}, bytes(8)), "unknown dtype of 'w' at byte 8: found 'F4'"),
    "dtype a list": (packed({"w": entry([])}, bytes(8)), "unknown dtype"),
    "negative shape": (packed({"w": entry(shape=[-2])}, bytes(8)), "wrong shape"),
    "shape of floats": (packed({"w": entry(shape=[2.0])}, bytes(8)), "wrong shape"),
    "shape of booleans": (packed({"w": entry(shape=[True, True])}, bytes(4)), "wrong shape"),
    "huge shape": (packed({"w": entry(shape=[2**62, 2**62])}, bytes(8)), "wrong number of bytes"),
    "one offset": (packed({"w": entry(offsets=[8])}, bytes(8)), "wrong data_offsets"),
    "offsets reversed": (packed({"w": entry(offsets=[8, 0])}, bytes(8)), "wrong number of bytes"),
    "offset too far": (packed({"w": entry(offsets=[8, 16])}, bytes(16)), "overlaps another tensor's or leaves a gap"),
    "overlap": (packed({"w": entry(), "v": entry(offsets=[4, 12])}, bytes(12)), "overlaps"),
    "gap": (packed({"w": entry(), "v": entry(offsets=[12, 20])}, bytes(20)), "leaves a gap"),
    "cut short": (GOOD[:-1], "cut short, or too long"),
    "too long": (GOOD + b"\0", "cut short, or too long"),
}


@pytest.mark.parametrize("case", BAD)
def test_malformed(tmp_path: Path, case: str) -> None:
    data, problem = BAD[case]
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=problem) as caught:
        checkpoints.read(path)
    assert str(path) in str(caught.value)
    if case not in ("name twice", "shape of booleans"):  # which the package lets pass, or reads otherwise
        with pytest.raises((SafetensorError, OverflowError)), safe_open(path, "np"):
            pass


def test_cut_short_anywhere_and_mutated(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    good = packed({"w": entry(), "v": entry("BF16", [2, 2], [8, 16])}, bytes(16))
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(QvizError):
            checkpoints.read(path)
    rng = random.Random(1)
    outcomes = set()
    for _ in range(1500):
        data = bytearray(good)
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
        try:
            with checkpoints.read(path) as file:
                for name in file:
                    file[name].dequantize()
            outcomes.add("opens")
        except QvizError:
            outcomes.add("refused")
    assert outcomes == {"opens", "refused"}


# -- shards


def shards(path: Path, **index: object) -> Path:
    save_file({"a": np.zeros(4, "f4")}, path / "model-00001-of-00002.safetensors")
    save_file({"b": np.ones(4, "f4")}, path / "model-00002-of-00002.safetensors")
    places = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"} | index
    folders.write_json(path / "model.safetensors.index.json", {"metadata": {}, "weight_map": places})
    return path


def test_shards(tmp_path: Path) -> None:
    file = checkpoints.read(shards(tmp_path))
    assert len(file.paths) == 2
    assert (file["a"].dequantize()[0], file["b"].dequantize()[0]) == (0, 1)
    (tmp_path / "model.safetensors.index.json").unlink()
    assert set(checkpoints.read(tmp_path)) == {"a", "b"}


def test_a_missing_shard(tmp_path: Path) -> None:
    (shards(tmp_path) / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"missing: model-00002-of-00002\.safetensors; download"):
        checkpoints.read(tmp_path)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "a\\b", "", "..", 3, None, "C:x"])
def test_an_index_cannot_lead_out_of_its_folder(tmp_path: Path, name: object) -> None:
    with pytest.raises(CheckpointError, match="must name a file of this folder"):
        checkpoints.read(shards(tmp_path, b=name))


def test_an_index_that_does_not_match(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tensor 'c' is not in model-00001"):
        checkpoints.read(shards(tmp_path, c="model-00001-of-00002.safetensors"))
    with pytest.raises(CheckpointError, match=r"tensor 'b' is not in model-00001"):
        checkpoints.read(shards(tmp_path, b="model-00001-of-00002.safetensors"))


def test_a_tensor_in_two_shards(tmp_path: Path) -> None:
    shards(tmp_path)
    save_file({"a": np.zeros(4, "f4"), "b": np.ones(4, "f4")}, tmp_path / "model-00002-of-00002.safetensors")
    with pytest.raises(CheckpointError, match="'a' stands in model-00001-of-00002"):
        checkpoints.read(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no model\.safetensors"):
        checkpoints.read(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"save pytorch_model\.bin as safetensors first"):
        checkpoints.read(tmp_path)
    with pytest.raises(ModelNotFoundError):
        checkpoints.read(tmp_path / "x.safetensors")

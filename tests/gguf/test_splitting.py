"""A model in several files and back: llama.cpp's bytes, the source again, nothing half done."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from split_models import CASES, MODELS

from qviz import gguf
from qviz._files import copying
from qviz.errors import GGUFError
from qviz.gguf import splitting

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "split.json").read_text())


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def options(text):
    words = text.split()
    value = words[1]
    given = {"max_size": int(value[:-1]) * 10**6} if value.endswith("M") else {"max_tensors": int(value)}
    return given | ({"tensors_in_first": False} if len(words) > 2 else {})


@pytest.mark.parametrize(("name", "case"), [(name, case) for name, cases in CASES.items() for case in cases])
def test_the_bytes_of_gguf_split(name, case, tmp_path):
    source = MODELS[name](tmp_path)
    parts = gguf.split(source, tmp_path / "part", **options(case))
    merged = gguf.merge(parts[0], tmp_path / "merged.gguf", keep_split_keys=True)
    assert [*map(digest, parts), digest(merged)] == GOLDEN[f"{name} {case}"]
    assert sorted(tmp_path.glob("part-*")) == parts


@pytest.mark.parametrize("by_system", [True, False])
def test_what_was_split_becomes_what_it_was(tmp_path, by_system, monkeypatch):
    def refused(*_):
        raise OSError(errno.EXDEV, "another drive")

    if not by_system:
        monkeypatch.setattr(os, "copy_file_range", refused, raising=False)
        monkeypatch.setattr(copying, "_PIECE", 100_000)
    source = MODELS["tiny"](tmp_path)
    parts = gguf.split(source, tmp_path / "part", max_tensors=17)
    assert digest(gguf.merge(parts[2], tmp_path / "merged.gguf")) == digest(source)
    assert [len(GGUFReader(path).tensors) for path in parts] == [17, 17, 17, 17, 6]
    with gguf.read(source) as before, gguf.read(parts[0]) as after:
        assert list(after) == list(before)
        assert after.metadata == before.metadata
        assert all(after[name].tobytes() == before[name].tobytes() for name in before)


def test_a_split_model_is_split_anew(tmp_path):
    source = MODELS["odd"](tmp_path)
    once = gguf.split(source, tmp_path / "a", max_tensors=2)
    twice = gguf.split(once[1], tmp_path / "b", max_tensors=4)
    assert [*map(digest, twice)] == GOLDEN["odd --split-max-tensors 4"][:-1]


@pytest.mark.parametrize(("version", "endian"), [(1, "little"), (2, "little"), (3, "big")])
def test_version_byte_order_and_alignment_stay(tmp_path, version, endian):
    tensors = {name: np.arange(5, dtype=np.float32) for name in "abc"}
    source = gguf.write(tmp_path / "m.gguf", {"x": 1}, tensors, version=version, endian=endian, alignment=128)
    parts = gguf.split(source, tmp_path / "part", max_tensors=1)
    with gguf.read(parts[0]) as opened:
        assert (opened.version, opened.endian, {part.alignment for part in opened.parts}) == (version, endian, {128})
    assert digest(gguf.merge(parts[0], tmp_path / "again.gguf")) == digest(source)


def test_tensors_of_other_programs_are_copied_too(tmp_path):
    source = gguf.write(tmp_path / "m.gguf", {"x": 1}, {n: np.arange(64, dtype=np.float32) for n in "abc"})
    raw = bytearray(source.read_bytes())
    at = raw.index(b"b", raw.index(b"a" + bytes([1, 0, 0, 0]))) + 1 + 4 + 8
    raw[at : at + 4] = (139).to_bytes(4, "little")
    source.write_bytes(raw)
    assert gguf.read(source).tensor_info["b"].format.name == "IQ4_K"
    parts = gguf.split(source, tmp_path / "part", max_tensors=1)
    assert gguf.merge(parts[0], tmp_path / "again.gguf").read_bytes() == bytes(raw)


def test_a_large_tensor_is_a_part_of_its_own(tmp_path):
    tensors = {name: np.zeros(n, np.float32) for name, n in {"a": 8, "b": 800, "c": 8, "d": 8}.items()}
    source = gguf.write(tmp_path / "m.gguf", {}, tensors)
    plan = splitting.plan_split(gguf.read(source), tmp_path / "part", max_size=64)
    assert [[info.name for info in part.tensors] for part in plan] == [["a"], ["b"], ["c", "d"]]
    assert [part.tensor_bytes for part in plan] == [32, 3200, 64]
    parts = gguf.split(source, tmp_path / "part", max_size=64)
    assert [path.stat().st_size for path in parts] == [part.nbytes for part in plan]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max_size": 100}, "the first tensor, 'a', takes more than a part may have"),
        ({"max_size": 0}, "max_size is 0; a whole number of at least 1"),
        ({"max_tensors": 0}, "max_tensors is 0"),
        ({"max_tensors": 1.5}, "max_tensors is 1.5"),
        ({"max_tensors": 1, "max_size": 1}, "both are given"),
    ],
)
def test_limits_that_make_no_sense(tmp_path, limits, said):
    source = gguf.write(tmp_path / "m.gguf", {}, {"a": np.zeros(400, np.float32)})
    with pytest.raises(GGUFError, match=said):
        gguf.split(source, tmp_path / "part", **limits)
    assert list(tmp_path.iterdir()) == [source]


def test_nothing_half_done_stays(tmp_path):
    source = gguf.write(tmp_path / "m.gguf", {}, {n: np.arange(400, dtype=np.float32) for n in "abc"})

    def stop(name, done, total):
        if name.startswith("part-00003") and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gguf.split(source, tmp_path / "part", max_tensors=1, progress=stop)
    assert list(tmp_path.iterdir()) == [source]

    parts = gguf.split(source, tmp_path / "part", max_tensors=1)

    def cut(name, done, total):
        if not done:
            with parts[1].open("r+b") as file:
                file.truncate(200)

    with pytest.raises(GGUFError, match="the file shrank while it was open"):
        gguf.merge(parts[0], tmp_path / "again.gguf", progress=cut)
    assert sorted(tmp_path.iterdir()) == sorted([source, *parts])


def test_what_cannot_be_merged(tmp_path):
    source = MODELS["tiny"](tmp_path)
    with pytest.raises(GGUFError, match=r"no part of a split model: it has no split\.count"):
        gguf.merge(source, tmp_path / "out.gguf")
    parts = gguf.split(source, tmp_path / "part", max_tensors=30)
    with pytest.raises(GGUFError, match="exists already"):
        gguf.merge(parts[0], source)
    parts[1].unlink()
    with pytest.raises(GGUFError, match="1 of the 3 parts of this model are missing"):
        gguf.merge(parts[0], tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()
    with pytest.raises(GGUFError, match="does not exist; create it first"):
        gguf.split(source, tmp_path / "nowhere" / "part")

"""Small files that once took for ever: each is opened, or refused by name, with work that follows its size."""

import json
import os
import struct

import numpy as np
import pytest

from qviz import checkpoints, gguf
from qviz.calibration import ActivationStats, imatrix
from qviz.errors import CalibrationError, CheckpointError, GGUFError, ImatrixError, QvizError
from qviz.gguf import legacy
from qviz.gguf.summary import summarize


def metadata(path, key_type, value, sparse=0):
    """A GGUF file of one key, `sparse` zero bytes behind its value."""
    raw = b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<I", key_type) + value
    with path.open("wb") as file:
        file.write(raw)
        file.truncate(len(raw) + sparse)
    return path


def test_arrays_of_arrays_have_a_limit(tmp_path):
    n = 4_000_000
    path = metadata(tmp_path / "x.gguf", 9, struct.pack("<IQ", 9, n), 12 * n)
    with pytest.raises(GGUFError, match="more arrays than any model has"):
        gguf.read(path)


def test_texts_have_a_limit(tmp_path):
    n = 1 << 27
    path = metadata(tmp_path / "x.gguf", 9, struct.pack("<IQ", 8, n), 8 * n)
    with pytest.raises(GGUFError, match="more texts than any model has"):
        gguf.read(path)


@pytest.mark.parametrize(
    ("value", "shown", "length"),
    [
        (struct.pack("<IQ", 0, 1 << 27), [0] * 8, 1 << 27),
        (struct.pack("<IQ", 8, 2) + struct.pack("<Q", (1 << 27) - 8), ["\0" * (1 << 16), ""], 2),
        (struct.pack("<IQIQ", 9, 1, 0, (1 << 27)), [[0] * 8], 1),
        (struct.pack("<IQIQ", 9, 3, 8, 1 << 22), [[""] * 8], 3),
    ],
    ids=["bytes", "two texts", "an array of bytes in an array", "arrays of texts in an array"],
)
def test_a_look_into_huge_metadata_reads_a_little(tmp_path, value, shown, length):
    path = metadata(tmp_path / "x.gguf", 9, value, 1 << 27)
    with gguf.read(path) as file:
        (entry,) = summarize(file).metadata
    assert (entry.value, entry.length) == (shown, length)
    assert file.metadata.detach() is False  # nothing of it was copied for later
    assert file.metadata.peek("a", 8)[1] == length  # and it can be looked at later


def test_a_long_text_is_cut_between_characters(tmp_path):
    text = "x" + "漢" * (1 << 16)
    path = gguf.write(tmp_path / "x.gguf", {"a": text}, {})
    with gguf.read(path) as file:
        (entry,) = summarize(file).metadata
        (whole,) = summarize(file, limit=None).metadata
    assert text.startswith(entry.value)
    assert (1 << 16) - 3 <= len(entry.value.encode()) <= 1 << 16
    assert (entry.length, whole.value, whole.length) == (3 * (1 << 16) + 1, text, None)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_texts_of_all_lengths_are_stepped_over(tmp_path, version):
    """They end before, at and behind the end of what is read at a time."""
    rng = np.random.default_rng(0)
    lengths = [0, 1, 7, 8, *rng.integers(0, 300_000, 20), 262_144 - 8, 262_144, 600_000, *[3] * 40_000]
    tokens = ["t" * int(n) for n in lengths]
    path = gguf.write(tmp_path / "x.gguf", {"a": tokens, "b": "end"}, {}, version=version)
    found = gguf.read(path).metadata
    assert (found["a"], found["b"]) == (tokens, "end")


def safetensors(path, header):
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    return path


def test_a_header_whose_last_name_stands_twice(tmp_path):
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"t{i}": entry for i in range(20_000)})[:-1] + ', "t19999": {}}'
    with pytest.raises(CheckpointError, match="'t19999' appears twice"):
        checkpoints.read(safetensors(tmp_path / "x.safetensors", header.encode()))


def test_a_header_of_lists(tmp_path):
    header = b'{"a":[' + b"[]," * 3_000_000 + b"[]]}"
    with pytest.raises(CheckpointError, match="holds more values than are accepted"):
        checkpoints.read(safetensors(tmp_path / "x.safetensors", header))


@pytest.mark.parametrize("body", [b'{"a":' + b"[" * 1_000_000, b'{"a": ' + b"9" * 5_000_000 + b"}"])
def test_settings_of_a_folder(tmp_path, body):
    (tmp_path / "config.json").write_bytes(body)
    with pytest.raises(CheckpointError, match=r"nested more than|5,000,000 digits"):
        checkpoints.convert(tmp_path, tmp_path / "o.gguf")


def test_empty_tokens_of_an_old_file(tmp_path):
    n = 1 << 24
    head = b"lmgg" + struct.pack("<7I", n, 64, 32, 4, 2, 16, 0)
    with (tmp_path / "x.bin").open("wb") as file:
        file.write(head)
        file.truncate(len(head) + 4 * n)
    with pytest.raises(GGUFError, match="more tokens than any model has"):
        legacy.read(tmp_path / "x.bin")


def test_entries_of_an_old_imatrix(tmp_path):
    (tmp_path / "x.dat").write_bytes(struct.pack("<i", 1 << 20) + bytes(1 << 24))
    with pytest.raises(ImatrixError, match="the number of entries makes no sense"):
        imatrix.read(tmp_path / "x.dat")


@pytest.mark.parametrize("read", [gguf.read, legacy.read, imatrix.read, checkpoints.read, ActivationStats.load])
@pytest.mark.parametrize("what", ["/dev/zero", "pipe"])
def test_no_reader_waits_for_what_is_no_file(tmp_path, read, what):
    if what == "pipe":
        os.mkfifo(tmp_path / "pipe")
        what = tmp_path / "pipe"
    with pytest.raises(QvizError, match="not a regular file"):
        read(what)


def test_statistics_do_not_unpack_to_more_than_they_hold(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", products=np.zeros((2000, 2000)), abs=np.zeros(2000), max=0, n_tokens=1)
    with pytest.raises(CalibrationError, match=r"unpacks to [\d,]+ bytes, more than it holds"):
        ActivationStats.load(tmp_path / "x.npz")

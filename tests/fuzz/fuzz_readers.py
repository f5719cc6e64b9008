"""Every reader of files from anywhere, as a function of bytes: what it raises must be a `QvizError`.

``make fuzz`` runs them under atheris, whose mutations follow the branches that are taken; what it keeps goes into
``seeds/``, and `test_fuzz_seeds` tries those each time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from qviz import checkpoints, gguf
from qviz.calibration import imatrix
from qviz.checkpoints import ctranslate2, whisper
from qviz.course.lesson.progress_file import StudentProgress
from qviz.errors import NotEncodableError
from qviz.gguf import legacy
from qviz.gguf.report import lines
from qviz.gguf.summary import summarize
from qviz.transformer import Tokenizer


def _write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def read_gguf(data: bytes, folder: Path) -> None:
    """A GGUF file: the table of contents, and all that it holds."""
    with gguf.read(_write(folder, "x.gguf", data)) as file:
        summary = summarize(file)
        list(lines(summary))
        json.dumps(summary.as_dict(), allow_nan=False)
        dict(file.metadata)
        for name in file:
            try:
                file[name].tobytes()
            except NotEncodableError:  # a type that is not ggml's; the others must work all the same
                continue


def read_tokenizer(data: bytes, folder: Path) -> None:
    """The tokenizer of a GGUF file, on a text of odd characters."""
    with gguf.read(_write(folder, "x.gguf", data)) as file:
        tokenizer = Tokenizer(file.metadata)
        tokenizer.decode(tokenizer.encode("a <s>\u2581\n\t日本 \U0001f600</s> 0123  x"))


def read_legacy(data: bytes, folder: Path) -> None:
    """A file from before GGUF."""
    with legacy.read(_write(folder, "x.bin", data)) as file:
        summarize(file)
        for name in file:
            file[name].tobytes()


def read_safetensors(data: bytes, folder: Path) -> None:
    """A safetensors file."""
    with checkpoints.read(_write(folder, "x.safetensors", data)) as file:
        for name, info in file.tensor_info.items():
            if info.dtype in ("F32", "F16", "BF16", "I8") and info.nbytes:
                file[name].tobytes()


def read_ctranslate2(data: bytes, folder: Path) -> None:
    """CTranslate2's model.bin, and a Whisper model of it."""
    place = folder / "ct2"
    place.mkdir(exist_ok=True)
    with ctranslate2.read(_write(place, "model.bin", data)) as file:
        for name, info in file.tensor_info.items():
            if info.nbytes:
                file[name].tobytes()
    _write(place, "vocabulary.txt", b"\n".join([b"!", b"<|endoftext|>", *[b"a"] * 49]))
    whisper.convert(place, folder / "out.bin", np.zeros((4, 7), np.float32))


def read_imatrix(data: bytes, folder: Path) -> None:
    """Importance matrices, of either kind."""
    found = imatrix.read(_write(folder, "x.imatrix", data))
    for name in found:
        assert found[name].size


def read_settings(data: bytes, folder: Path) -> None:
    """The settings of a packed checkpoint, beside weights that are fine."""
    place = folder / "packed"
    place.mkdir(exist_ok=True)
    header = b'{"a.qweight":{"dtype":"I32","shape":[4,8],"data_offsets":[0,128]}}'
    _write(place, "model.safetensors", len(header).to_bytes(8, "little") + header + bytes(128))
    _write(place, "config.json", data)
    checkpoints.read_packed(place)


def read_progress(data: bytes, folder: Path) -> None:
    """What a student has answered."""
    StudentProgress.from_text(data.decode("utf-8", "replace")).text()


READERS: dict[str, Callable[[bytes, Path], None]] = {
    "gguf": read_gguf,
    "tokenizer": read_tokenizer,
    "legacy": read_legacy,
    "safetensors": read_safetensors,
    "ctranslate2": read_ctranslate2,
    "imatrix": read_imatrix,
    "settings": read_settings,
    "progress": read_progress,
}

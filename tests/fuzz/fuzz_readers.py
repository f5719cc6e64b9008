"""Every reader of files from anywhere, as a function of bytes: what it raises must be a `QvizError`.

``make fuzz`` runs them under atheris, whose mutations follow the branches that are taken; what it keeps goes into
``seeds/``, and `test_fuzz_seeds` tries those each time.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz import checkpoints, gguf
from qviz.calibration import imatrix
from qviz.checkpoints import ctranslate2, whisper
from qviz.checkpoints.sentencepiece import read_sentencepiece
from qviz.checkpoints.tokenizer import tokenizer_metadata
from qviz.course.lesson import bank
from qviz.course.lesson.progress_file import StudentProgress
from qviz.errors import NotEncodableError
from qviz.gguf import legacy
from qviz.gguf.report import lines
from qviz.gguf.summary import summarize
from qviz.transformer import Tokenizer
from qviz.transformer.tokenizer.chat import render

SEEDS = Path(__file__).parent / "seeds"
TEXT = "a <s>\u2581\n\t日本 \U0001f600</s> 0123  x"
TALK = [{"role": "system", "content": " be brief "}, {"role": "user", "content": "a, b"}]


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
        tokenizer.decode(tokenizer.encode(TEXT))


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
    """The settings of a packed checkpoint, beside weights of the kind that they name."""
    kind = next((kind for kind in _PACKED if kind.encode() in data), "gptq")
    place = folder / kind
    if not place.exists():
        place.mkdir()
        _write(place, "model.safetensors", _safetensors({f"a.{name}": x for name, x in _PACKED[kind].items()}))
    _write(place, "config.json", data)
    checkpoints.read_packed(place)


_WORD, _HALF = np.int32, np.float16
_PACKED: dict[str, dict[str, npt.NDArray[Any]]] = {
    "awq": {
        "qweight": np.zeros((128, 1), _WORD),
        "qzeros": np.zeros((2, 1), _WORD),
        "scales": np.ones((2, 8), _HALF),
    },
    "compressed-tensors": {
        "weight_packed": np.zeros((8, 16), _WORD),
        "weight_scale": np.ones((8, 1), _HALF),
        "weight_shape": np.array([8, 128], np.int64),
    },
    "gptq": {
        "qweight": np.zeros((16, 8), _WORD),
        "qzeros": np.zeros((1, 1), _WORD),
        "scales": np.ones((1, 8), _HALF),
        "g_idx": np.zeros(128, _WORD),
    },
}
_NAMES = {"<f4": "F32", "<f2": "F16", "<i4": "I32", "<i8": "I64"}


def _safetensors(tensors: dict[str, npt.NDArray[Any]]) -> bytes:
    header, end = {}, 0
    for name, x in tensors.items():
        start, end = end, end + x.nbytes
        header[name] = {"dtype": _NAMES[x.dtype.str], "shape": x.shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(x.tobytes() for x in tensors.values())


def read_folder(data: bytes, folder: Path) -> None:
    """What a config.json says of a Llama of one layer, on the way to a GGUF file."""
    place = folder / "llama"
    if not place.exists():
        place.mkdir()
        _write(place, "tokenizer.model", (SEEDS / "sentencepiece" / "bpe").read_bytes())
        _write(place, "model.safetensors", _llama(330, 4, 8))
    _write(place, "config.json", data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a GGUF file cannot say
        checkpoints.convert(place, folder / "out.gguf")


def _llama(n_vocab: int, n: int, n_ff: int) -> bytes:
    """Weights of one layer, zeros."""
    shapes: dict[str, tuple[int, ...]] = {"self_attn.q_proj": (n, n), "self_attn.k_proj": (2, n)}
    shapes |= {"self_attn.v_proj": (2, n), "self_attn.o_proj": (n, n), "mlp.gate_proj": (n_ff, n)}
    shapes |= {"mlp.up_proj": (n_ff, n), "mlp.down_proj": (n, n_ff)}
    shapes |= {"input_layernorm": (n,), "post_attention_layernorm": (n,)}
    shapes = {f"model.layers.0.{name}": shape for name, shape in shapes.items()}
    shapes |= {"model.embed_tokens": (n_vocab, n), "lm_head": (n_vocab, n), "model.norm": (n,)}
    return _safetensors({f"{name}.weight": np.zeros(shape, np.float32) for name, shape in shapes.items()})


def read_words(data: bytes, folder: Path) -> None:
    """A tokenizer.json, as a GGUF file has it, on a text of odd characters."""
    place = folder / "words"
    place.mkdir(exist_ok=True)
    _write(place, "tokenizer.json", data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metadata = tokenizer_metadata(place, 400)
    tokenizer = Tokenizer(metadata)
    tokenizer.decode(tokenizer.encode(TEXT))


def read_pieces(data: bytes, folder: Path) -> None:
    """SentencePiece's tokenizer.model."""
    read_sentencepiece(_write(folder, "tokenizer.model", data))


def read_template(data: bytes, folder: Path) -> None:
    """A chat template, on two messages."""
    render(data.decode("utf-8", "replace"), TALK, special={"bos_token": "<s>", "eos_token": "</s>"})


def read_questions(data: bytes, folder: Path) -> None:
    """Questions of a lesson, in TOML."""
    bank.read(_write(folder, "99.toml", data))


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
    "folder": read_folder,
    "words": read_words,
    "sentencepiece": read_pieces,
    "template": read_template,
    "questions": read_questions,
    "progress": read_progress,
}

JSON = {"settings", "folder", "words", "progress"}
"""Readers whose inputs are damaged value by value as well."""

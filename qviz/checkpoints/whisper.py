"""Whisper as CTranslate2 keeps it (faster-whisper's folders) -> the file of whisper.cpp.

Both hold OpenAI's tensors. CTranslate2 stacks queries, keys and values into one matrix, with a bias of zeros for the
keys, which Whisper has not; nothing is transposed. Of `tiny.en` this gives, byte for byte, the file that whisper.cpp's
project hands out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qviz._files import as_path, read_text
from qviz._types import FloatArray
from qviz.checkpoints import ctranslate2
from qviz.checkpoints.ctranslate2 import CTranslate2
from qviz.errors import CheckpointError, shortened
from qviz.formats import Format, quantize
from qviz.formats import get as get_format
from qviz.gguf.cuts import byte_characters
from qviz.gguf.legacy import whisper

SPEC = ("WhisperSpec", 3)
END = "<|endoftext|>"
"""The last of the tokens that whisper.cpp reads from a file; it makes those behind it itself."""

_MOST_VOCABULARY_BYTES = 1 << 24
_HALF_FILE = 1  # in the header: matrices are F16


class _Place(NamedTuple):
    """Where a tensor comes from: a variable, or one of several parts of its rows."""

    variable: str
    part: int = 0
    parts: int = 1


_OUTSIDE = {
    "token_embedding": "embeddings",
    "conv1": "conv1",
    "conv2": "conv2",
    "ln_post": "layer_norm",
    "ln": "layer_norm",
}
_INSIDE = {
    "mlp_ln": _Place("ffn/layer_norm"),
    "mlp.0": _Place("ffn/linear_0"),
    "mlp.2": _Place("ffn/linear_1"),
    "attn_ln": _Place("self_attention/layer_norm"),
    "attn.query": _Place("self_attention/linear_0", 0, 3),
    "attn.key": _Place("self_attention/linear_0", 1, 3),
    "attn.value": _Place("self_attention/linear_0", 2, 3),
    "attn.out": _Place("self_attention/linear_1"),
    "cross_attn_ln": _Place("attention/layer_norm"),
    "cross_attn.query": _Place("attention/linear_0"),
    "cross_attn.key": _Place("attention/linear_1", 0, 2),
    "cross_attn.value": _Place("attention/linear_1", 1, 2),
    "cross_attn.out": _Place("attention/linear_2"),
}
_BLOCK = re.compile(r"(encoder|decoder)\.blocks\.(\d+)\.(.+)")
_LAYER = re.compile(r"(encoder|decoder)/layer_(\d+)/")

# Numbers that say how the model computes, and what whisper.cpp does
_SETTINGS: Mapping[str, int] = MappingProxyType(
    {
        "decoder/activation": 3,  # GELU
        "decoder/alibi": 0,
        "decoder/pre_norm": 1,
        "decoder/scale_embeddings": 0,
        "decoder/start_from_zero_embedding": 0,
    }
)
_HEADS = {"n_audio_head": "encoder/num_heads", "n_text_head": "decoder/num_heads"}
# Which heads tell when a word was spoken; whisper.cpp knows that by the name of the model
_UNUSED = ("decoder/alignment_heads", "decoder/alignment_layer")


def convert(folder: str | os.PathLike[str], out: str | os.PathLike[str], mel_filters: FloatArray) -> Path:
    """Convert a Whisper model from CTranslate2's layout to whisper.cpp's, with matrices in F16.

    Parameters
    ----------
    folder : path-like
        With ``model.bin`` (float16 or float32) and ``vocabulary.txt``.
    out : path-like
        Appears whole or not at all; an existing file is replaced.
    mel_filters : float32 array (n_mels, 201)
        Spectrogram -> mel bands, which CTranslate2 does not keep.

    Returns
    -------
    pathlib.Path
        `out`.

    Raises
    ------
    CheckpointError
        A damaged folder, another model, or one that whisper.cpp would run differently.
    ModelNotFoundError
        One of the two files is missing.
    """
    place, target = as_path(folder), as_path(out)
    with ctranslate2.read(place / "model.bin") as file:
        header = _header(file)
        if mel_filters.ndim != 2 or len(mel_filters) != header["n_mels"]:
            what = f"mel filters of shape {mel_filters.shape}"
            raise CheckpointError(
                "these are not the model's mel filters", found=what, expected=f"{header['n_mels']} bands"
            )
        tokens = _tokens(place / "vocabulary.txt", header["n_vocab"])
        tensors = {
            name: _Tensor(_format(name), whisper.shape_of(name, header)) for name in whisper.tensor_names(header)
        }
        _account(file, header)
        with whisper.stream(target, header, mel_filters, tokens, tensors) as stored:
            for name, tensor in tensors.items():
                stored.append(quantize(_weights(file, name, tensor), tensor.format).blocks)
    return target


class _Tensor(NamedTuple):
    format: Format
    shape: tuple[int, ...]


def _format(name: str) -> Format:
    """As whisper.cpp's converter decides: vectors, positions and biases stay F32."""
    matrix = name.endswith("weight") and not re.search(r"ln(_post)?\.weight$", name)
    return get_format("F16" if matrix else "F32")


def _place_of(name: str) -> _Place:
    """Where a tensor of whisper.cpp stands in CTranslate2's file.

    Examples
    --------
    >>> _place_of("decoder.blocks.2.attn.key.weight")
    _Place(variable='decoder/layer_2/self_attention/linear_0/weight', part=1, parts=3)
    """
    if name.endswith("positional_embedding"):
        return _Place(f"{name.partition('.')[0]}/position_encodings/encodings")
    stem, _, kind = name.rpartition(".")
    if inside := _BLOCK.fullmatch(stem):
        place = _INSIDE[inside[3]]
        where = f"{inside[1]}/layer_{inside[2]}/{place.variable}"
    else:
        side, _, part = stem.partition(".")
        place = _Place(_OUTSIDE[part])
        where = f"{side}/{place.variable}"
    if where.endswith("layer_norm"):
        kind = {"weight": "gamma", "bias": "beta"}[kind]
    return place._replace(variable=f"{where}/{kind}")


def _header(file: CTranslate2) -> dict[str, int]:
    if (file.spec, file.revision) != SPEC:
        spec, expected = f"{file.spec} {file.revision}", "{} {}".format(*SPEC)
        raise CheckpointError(
            "this is not a Whisper model of CTranslate2", path=file.path, found=spec, expected=expected
        )
    n_vocab, width = _dims(file, "decoder/embeddings/weight", 2)
    n_audio_ctx, audio = _dims(file, "encoder/position_encodings/encodings", 2)
    n_text_ctx, _ = _dims(file, "decoder/position_encodings/encodings", 2)
    _, n_mels, _ = _dims(file, "encoder/conv1/weight", 3)
    layers = {
        side: {int(m[2]) for m in map(_LAYER.match, file) if m and m[1] == side} for side in ("encoder", "decoder")
    }
    values = {
        "n_vocab": n_vocab,
        "n_audio_ctx": n_audio_ctx,
        "n_audio_state": audio,
        "n_mels": n_mels,
        "n_text_ctx": n_text_ctx,
        "n_text_state": width,
        "ftype": _HALF_FILE,
        "n_audio_layer": len(layers["encoder"]),
        "n_text_layer": len(layers["decoder"]),
        **{key: _number(file, name) for key, name in _HEADS.items()},
    }
    for side in ("audio", "text"):
        if values[f"n_{side}_head"] < 1 or values[f"n_{side}_state"] % values[f"n_{side}_head"]:
            sizes = f"{values[f'n_{side}_head']} heads, {values[f'n_{side}_state']} wide"
            raise CheckpointError("heads do not divide the width", path=file.path, found=sizes)
    return {name: values[name] for name in whisper.HEADER}


def _dims(file: CTranslate2, name: str, count: int) -> tuple[int, ...]:
    info = file.tensor_info.get(name)
    if info is None or len(info.shape) != count or 0 in info.shape:
        shape = "nothing" if info is None else info.shape
        raise CheckpointError(f"the model has no {shortened(name)} of {count} dimensions", path=file.path, found=shape)
    return info.shape


def _number(file: CTranslate2, name: str) -> int:
    info = file.tensor_info.get(name)
    if info is None or info.shape or not info.dtype.startswith("I"):
        stored = "nothing" if info is None else f"{info.dtype} {info.shape}"
        raise CheckpointError(f"{name!r} must be one whole number", path=file.path, found=stored)
    return int(file[name].blocks.view(f"<i{info.nbytes}")[0])


def _account(file: CTranslate2, header: Mapping[str, int]) -> None:
    """Refuse what is missing, has another shape or would change what the model computes."""
    for name, expected in _SETTINGS.items():
        if (number := _number(file, name)) != expected:
            raise CheckpointError(
                f"whisper.cpp has no {shortened(name)} of this kind", path=file.path, found=number, expected=expected
            )
    used = {*_SETTINGS, *_HEADS.values(), *_UNUSED}
    for name in whisper.tensor_names(header):
        place, shape = _place_of(name), whisper.shape_of(name, header)
        expected_shape = (shape[0] * place.parts, *(() if shape[1:] == (1,) else shape[1:]))
        info = file.tensor_info.get(place.variable)
        if info is None or info.shape != expected_shape or info.dtype not in ("F16", "F32"):
            raise CheckpointError(
                f"{place.variable!r} is not what this Whisper model needs",
                path=file.path,
                found="nothing" if info is None else f"{info.dtype} {info.shape}",
                expected=f"F16 or F32 {expected_shape}",
            )
        used.add(place.variable)
    if left := [name for name in file if name not in used]:
        raise CheckpointError(f"there is no place in whisper.cpp's file for {left[0]!r}", path=file.path)
    for alias, name in file.aliases.items():
        if (alias, name) != ("decoder/projection/weight", "decoder/embeddings/weight"):
            raise CheckpointError(f"{alias!r} cannot stand for {name!r} in whisper.cpp", path=file.path)
    if "decoder/projection/weight" not in file.aliases:
        raise CheckpointError("the output matrix is not the embedding, as it is in whisper.cpp", path=file.path)
    for bias in _key_biases(header):
        if _rows(file, bias).any():
            raise CheckpointError(f"{bias.variable!r} adds something to the keys, and Whisper does not", path=file.path)


def _key_biases(header: Mapping[str, int]) -> Iterator[_Place]:
    for name in whisper.tensor_names(header):
        if name.endswith("attn.key.weight"):
            yield _place_of(f"{name.removesuffix('weight')}bias")


def _rows(file: CTranslate2, place: _Place) -> npt.NDArray[Any]:
    tensor = file[place.variable]
    count = tensor.shape[0] // place.parts
    return tensor.dequantize()[place.part * count : (place.part + 1) * count]


def _weights(file: CTranslate2, name: str, tensor: _Tensor) -> FloatArray:
    weights: FloatArray = np.ascontiguousarray(_rows(file, _place_of(name))).reshape(tensor.shape)
    if not np.isfinite(weights).all():
        raise CheckpointError(f"{_place_of(name).variable!r} holds NaN or infinity", path=file.path)
    return weights


def _tokens(path: Path, n_vocab: int) -> list[bytes]:
    """The text of each token up to the end of text, which the vocabulary spells in GPT-2's letters."""
    lines = read_text(path, limit=_MOST_VOCABULARY_BYTES, error=CheckpointError).split("\n")
    if lines[-1] == "":
        lines.pop()
    if len(lines) != n_vocab or END not in lines:
        expected = f"{n_vocab}, one of them {END}"
        raise CheckpointError(
            "this is not the model's vocabulary", path=path, found=f"{len(lines)} tokens", expected=expected
        )
    of, tokens = byte_characters(), []
    for index, line in enumerate(lines[: lines.index(END)]):
        if wrong := [letter for letter in line if letter not in of]:
            expected = "GPT-2's letters for bytes"
            raise CheckpointError(
                f"token {index} is not spelled in bytes", path=path, found=wrong[0], expected=expected
            )
        tokens.append(bytes(of[letter] for letter in line))
    return [*tokens, END.encode()]

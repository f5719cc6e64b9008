"""LLaMA files from before GGUF -> GGUF: other names, the metadata that the old files lack, the same weights.

Blocks of layout 3 go over byte for byte. Older ones are packed anew wherever today's format holds exactly the same
weights: always for Q5_0 and Q5_1, for the others if every float32 scale happens to be a float16. What is to become
of the rest, the caller says: see `convert`.

Nothing needs permuting here: the files of those days already have the rows of wq and wk in ggml's order.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from qviz._files import as_path, refuse_source
from qviz.errors import GGUFError
from qviz.formats import QTensor, quantize
from qviz.formats import get as get_format
from qviz.formats.base import Format
from qviz.gguf.legacy.blocks import LegacyFormat, equivalent, repack, scale_error
from qviz.gguf.legacy.reader import LegacyFile, LegacyVocabulary, read
from qviz.gguf.values import F32, U32, Array, ValueType
from qviz.gguf.writer import stream

Inexact = Literal["F32", "F16", "round"]

_NAMES = {
    "tok_embeddings": "token_embd",
    "norm": "output_norm",
    "output": "output",
    "attention_norm": "attn_norm",
    "attention.wq": "attn_q",
    "attention.wk": "attn_k",
    "attention.wv": "attn_v",
    "attention.wo": "attn_output",
    "ffn_norm": "ffn_norm",
    "feed_forward.w1": "ffn_gate",
    "feed_forward.w2": "ffn_down",
    "feed_forward.w3": "ffn_up",
}
_LAYER = re.compile(r"layers\.(\d+)\.(.+)")
# LLaMA's tokenizer: three special tokens, 256 bytes, then pieces whose score counts down from zero.
_FIRST_PIECE = 259
# Weights decoded at a time.
_CHUNK = 1 << 22
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6


def convert(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    inexact: Inexact = "F32",
    context_length: int = 2048,
    rms_eps: float = 5e-6,
    scales_per_row: bool | None = None,
) -> Path:
    """Convert a LLaMA model from before GGUF to GGUF.

    Parameters
    ----------
    path : path-like
        A GGML, GGMF or GGJT file; of a model in parts any of them.
    out : path-like
        Appears whole or not at all; an existing file is replaced.
    inexact : {"F32", "F16", "round"}, optional
        What becomes of a tensor that no block format of today holds exactly: Q4_2 and Q4_3, and Q4_0, Q4_1, Q8_0
        with float32 scales that are no float16. ``"F32"`` keeps every weight as it is, at 32 bits each. ``"F16"``
        rounds each weight. ``"round"`` keeps the codes and rounds the scales to float16: a change of up to 1/2048,
        as of ``"F16"``, for a small file (below 6e-5 float16 has steps of 6e-8). Q4_2 and Q4_3 become F16 then, and a
        tensor with a scale beyond float16's 65504 becomes F32.
    context_length : int, optional
        The old files do not say: 2048 for LLaMA, 4096 for LLaMA 2.
    rms_eps : float, optional
        Nor do they say this: 1e-6 for LLaMA, 1e-5 for LLaMA 2. Between the two lies what llama.cpp ran them all with.
    scales_per_row : bool, optional
        As of `read`.

    Returns
    -------
    pathlib.Path
        `out`.

    Raises
    ------
    GGUFError
        A damaged file, a file of another model, or one that cannot be written.
    """
    if inexact not in get_args(Inexact):
        raise GGUFError("no such way to store what fits no format", found=inexact, expected="'F32', 'F16' or 'round'")
    if not (isinstance(context_length, int) and context_length > 0):
        raise GGUFError("the context length must be a positive whole number", found=context_length)
    if not 0 < rms_eps < 1:
        raise GGUFError("rms_eps must lie between 0 and 1", found=rms_eps, expected="such as 1e-5 for LLaMA 2")
    with read(path, scales_per_row=scales_per_row, mapped=False) as file:
        if file.model != "llama":
            raise GGUFError(f"a {file.model} model has no place in GGUF; read it as it is", path=file.path)
        target = as_path(out)
        refuse_source(target, file.paths, GGUFError)
        file.unchanged(header=True)
        tensors = _Converted(file, inexact)
        metadata = _metadata(file, tensors, context_length, rms_eps)
        with stream(target, metadata, tensors.tensor_info) as stored:
            for name in tensors.tensor_info:
                stored.append(tensors[name].blocks)
            file.unchanged(header=True)
        return target


class _LegacyPlan(NamedTuple):
    source: str
    format: Format
    shape: tuple[int, ...]


class _Converted(Mapping[str, QTensor]):
    """The tensors as GGUF will have them, made one at a time when they are asked for."""

    def __init__(self, file: LegacyFile, inexact: Inexact) -> None:
        self._file = file
        self.tensor_info: dict[str, _LegacyPlan] = {}
        for name, info in file.tensor_info.items():
            if (target := gguf_name(name)) is not None:
                self.tensor_info[target] = _LegacyPlan(name, _target(file, name, inexact), info.shape)

    def __getitem__(self, name: str) -> QTensor:
        plan = self.tensor_info[name]
        tensor = self._file[plan.source]
        if plan.format is equivalent(tensor.format):
            return repack(tensor)
        if len(plan.shape) == 1:
            return quantize(tensor.dequantize(), plan.format)
        blocks = np.empty(plan.shape, plan.format.dtype)  # of a float format: one block is one weight
        step = max(_CHUNK // plan.shape[-1], 1)
        for start in range(0, plan.shape[0], step):
            part = tensor.rows(start, start + step)
            blocks[start : start + step] = quantize(part.dequantize(), plan.format).blocks
        return QTensor(plan.format, blocks, plan.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensor_info)

    def __len__(self) -> int:
        return len(self.tensor_info)


def gguf_name(name: str) -> str | None:
    """A tensor's name in a GGUF file; None if it has no place there.

    Examples
    --------
    >>> gguf_name("layers.3.feed_forward.w2.weight"), gguf_name("norm.weight"), gguf_name("rope.freqs")
    ('blk.3.ffn_down.weight', 'output_norm.weight', None)
    """
    stem = name.removesuffix(".weight")
    layer = _LAYER.fullmatch(stem)
    known = _NAMES.get(layer[2] if layer else stem)
    if stem == name or known is None:
        return None
    return f"blk.{layer[1]}.{known}.weight" if layer else f"{known}.weight"


def _target(file: LegacyFile, name: str, inexact: Inexact) -> Format:
    source = file.tensor_info[name].format
    same = equivalent(source)
    if not isinstance(source, LegacyFormat):
        return source
    if same is not None:
        error = scale_error(file[name])
        if error == 0 or (inexact == "round" and math.isfinite(error)):
            return same
        return get_format("F32" if inexact == "round" else inexact)
    return get_format("F16" if inexact == "round" else inexact)


def _metadata(file: LegacyFile, tensors: _Converted, context_length: int, rms_eps: float) -> dict[str, Any]:
    header, shapes = file.header, {name: plan.shape for name, plan in tensors.tensor_info.items()}
    n_head, head_size = header["n_head"], header["n_embd"] // header["n_head"]
    kv_rows = shapes["blk.0.attn_k.weight"][0]
    if head_size * n_head != header["n_embd"] or kv_rows % head_size or head_size % 2:
        raise GGUFError("heads do not divide the width", path=file.path, found=f"{n_head} heads, {kv_rows} key rows")
    return {
        "general.architecture": "llama",
        "general.name": file.path.stem,
        "general.description": f"converted from {file.container} version {file.version}",
        "general.file_type": U32(_file_type(file, tensors)),
        "llama.context_length": U32(context_length),
        "llama.embedding_length": U32(header["n_embd"]),
        "llama.block_count": U32(header["n_layer"]),
        "llama.feed_forward_length": U32(shapes["blk.0.ffn_gate.weight"][0]),
        "llama.rope.dimension_count": U32(head_size),
        "llama.attention.head_count": U32(n_head),
        "llama.attention.head_count_kv": U32(kv_rows // head_size),  # 70B shares keys; its header does not say so
        "llama.attention.layer_norm_rms_epsilon": F32(rms_eps),
        "general.quantization_version": U32(2),
        **_tokenizer(file.vocabulary),
    }


def _file_type(file: LegacyFile, tensors: _Converted) -> int:
    """The file's own type while its blocks stay what they were, else that of the floats they became."""
    changed = [
        plan.format.type_id
        for plan in tensors.tensor_info.values()
        if plan.format is not equivalent(file.tensor_info[plan.source].format)
    ]
    return max(changed, default=file.header["ftype"])


def _tokenizer(vocabulary: LegacyVocabulary) -> dict[str, Any]:
    """SentencePiece's vocabulary as llama.cpp wants it, from texts that had been decoded for display."""
    tokens, types = [], []
    for index, raw in enumerate(vocabulary.tokens):
        token, kind = raw.decode("utf-8", "surrogateescape").replace(" ", "\u2581"), _NORMAL
        if index < 3:
            token, kind = ("<unk>", "<s>", "</s>")[index], _UNKNOWN if index == 0 else _CONTROL
        elif not raw:
            kind = _CONTROL
        elif index < _FIRST_PIECE and len(raw) == 1:
            token, kind = f"<0x{raw[0]:02X}>", _BYTE
        tokens.append(token)
        types.append(kind)
    # a file without scores is LLaMA's, whose scores are known
    scores = vocabulary.scores or [float(min(_FIRST_PIECE - index, 0)) for index in range(len(tokens))]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": Array(tokens, ValueType.STR),
        "tokenizer.ggml.scores": Array([score if math.isfinite(score) else 0.0 for score in scores], ValueType.F32),
        "tokenizer.ggml.token_type": Array(types, ValueType.I32),
        "tokenizer.ggml.bos_token_id": U32(1),
        "tokenizer.ggml.eos_token_id": U32(2),
        "tokenizer.ggml.unknown_token_id": U32(0),
    }

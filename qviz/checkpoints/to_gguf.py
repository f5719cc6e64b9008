"""A Hugging Face model folder -> a GGUF file that llama.cpp runs.

A packed GPTQ or AWQ checkpoint is a folder, too: its matrices become floats again, each scale · (code − zero point).

Weights go over as they are, or rounded once to the type that is asked for; norms and biases become F32, as llama.cpp
wants them. One tensor at a time is in memory, and of that only what has to change.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from qviz._arguments import reporter
from qviz._files import as_path, read_folder, read_json
from qviz._types import Progress
from qviz.checkpoints.account import accounted, check_vocabulary
from qviz.checkpoints.changes import as_stored, mxfp4_blocks
from qviz.checkpoints.model_config import ModelConfig, Place
from qviz.checkpoints.packed import find_dialect, find_settings, refuse_unsaid, stored_layers
from qviz.checkpoints.packed.dialects.base import PackedSettings
from qviz.checkpoints.safetensors import Safetensors, StoredTensor, read
from qviz.checkpoints.tokenizer import tokenizer_metadata
from qviz.errors import CheckpointError, GGUFError
from qviz.formats import QTensor, quantize
from qviz.formats import get as get_format
from qviz.formats.base import Format
from qviz.gguf.family import read_settings
from qviz.gguf.values import F32, I32, U32
from qviz.gguf.writer import stream

Type = Literal["auto", "f32", "f16", "bf16"]

# llama.cpp's number of a file whose matrices have this format
_FILE_TYPES = {"F32": 0, "F16": 1, "BF16": 32}
_QUANTIZATION = ("quantization_config", "compression_config", "quantization")
_BEYOND_F16 = 65520  # what rounds to infinity
_KEPT = ("norm", "bias", "sinks", "positions")
_USE_BF16 = f"weights below {_BEYOND_F16}; use --type bf16 (type='bf16')"
# Weights converted at a time.
_CHUNK = 1 << 22
# What generation_config.json calls a setting, and GGUF.
_SAMPLING = {
    "top_k": ("top_k", I32),
    "top_p": ("top_p", F32),
    "min_p": ("min_p", F32),
    "temperature": ("temp", F32),
    "repetition_penalty": ("penalty_repeat", F32),
}


def convert(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    type: Type = "auto",
    name: str | None = None,
    pre: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Convert a model of a family that is known here from Hugging Face's files to GGUF.

    Parameters
    ----------
    folder : path-like
        With config.json, safetensors (one file, or shards and their index) and a tokenizer.
    out : path-like
        Appears whole or not at all; an existing file is replaced.
    type : {"auto", "f32", "f16", "bf16"}, optional
        How matrices are stored. ``"auto"`` keeps BF16, makes packed codes F32, which holds them exactly, and anything
        else F16.
    name : str, optional
        ``general.name``; the folder's if not given.
    pre : str, optional
        llama.cpp's name of the rule that cuts text into words (``tokenizer.ggml.pre``), for a byte-level tokenizer
        whose rule is not recognized.
    progress : callable ``(what, done, total)``, optional
        Called after each tensor, in bytes.

    Returns
    -------
    pathlib.Path
        `out`.

    Raises
    ------
    CheckpointError
        A damaged or incomplete folder, another architecture, a tokenizer that llama.cpp does not know, or weights that
        the type cannot hold.
    GGUFError
        The file cannot be written.
    """
    if type not in get_args(Type):
        raise CheckpointError("no such type", found=type, expected=", ".join(get_args(Type)))
    source = as_path(folder)
    if not source.is_dir():
        raise CheckpointError("this is not the folder of a model", path=source)
    opened = read_folder(source, lambda where: _opened(where, pre), CheckpointError)
    with opened.files as files:
        if opened.settings is None:
            refuse_unsaid(source, files)
        checkpoint = files if opened.settings is None else _Unpacked(files, source, opened.settings)
        tensors = _Tensors(checkpoint, opened.config, type, source, progress)
        metadata = {
            "general.architecture": opened.config.architecture.name,
            "general.type": "model",
            **opened.sampling,
            "general.name": name or source.resolve().name,
            "general.size_label": size_label(tensors.n_weights),
            **opened.config.metadata(),
            "general.file_type": U32(_FILE_TYPES[tensors.format.name]),
            "general.quantization_version": U32(2),
            **opened.tokenizer,
        }
        _warn_of_what_does_not_run(opened.config, metadata)
        target = as_path(out)
        files.unchanged(header=True)
        with stream(target, metadata, tensors.tensor_info) as stored:
            for name in tensors.tensor_info:
                for blocks in tensors.pieces(name):
                    stored.append(blocks)
            files.unchanged(header=True)
        return target


class _Opened(NamedTuple):
    """What a folder says, and its weights; all of the same folder, even if another takes its place meanwhile."""

    files: Safetensors
    config: ModelConfig
    settings: PackedSettings | None
    sampling: dict[str, Any]
    tokenizer: dict[str, Any]


def _opened(folder: Path, pre: str | None) -> _Opened:
    path = folder / "config.json"
    described = read_json(path)
    settings = find_settings(folder)
    if settings is not None and settings.values.get("quant_method") == "mxfp4":
        settings = None  # experts that GGUF has in the same format
    if settings is not None:
        find_dialect(settings)
    config = ModelConfig.from_json({key: x for key, x in described.items() if key not in _QUANTIZATION}, path)
    files = read(folder, mapped=False)
    try:
        check_vocabulary(files.tensor_info, config, folder)
        return _Opened(files, config, settings, _sampling(folder), tokenizer_metadata(folder, config.n_vocab, pre))
    except BaseException:
        files.close()
        raise


class _Unpacked(Mapping[str, QTensor]):
    """A packed checkpoint as if it held floats: ``X.qweight`` and its companions appear as ``X.weight``."""

    def __init__(self, files: Safetensors, folder: Path, settings: PackedSettings) -> None:
        self._files, self._layers = files, stored_layers(folder, files, settings)
        parts = {name for layer in self._layers.values() for name in layer.names}
        self.tensor_info = {name: info for name, info in files.tensor_info.items() if name not in parts}
        for name, layer in self._layers.items():
            nbytes = 4 * layer.shape[0] * layer.shape[1]
            weight = f"{name}.weight"
            if weight in self.tensor_info:
                raise CheckpointError(f"{name!r} is there twice: packed, and as floats; delete one", path=folder)
            self.tensor_info[weight] = StoredTensor(weight, "F32", layer.shape, layer.offset, nbytes, layer.path)

    def packs(self, name: str) -> bool:
        """Whether a tensor is packed, and has to be made."""
        return name.removesuffix(".weight") in self._layers

    def read_bytes(self, name: str) -> npt.NDArray[Any]:
        """The bytes of a tensor that holds no floats."""
        return self._files.read_bytes(name)

    def read_rows(self, name: str, first: int, last: int) -> QTensor:
        """Some rows of a tensor that is not packed."""
        return self._files.read_rows(name, first, last)

    def __getitem__(self, name: str) -> QTensor:
        layer = self._layers.get(name.removesuffix(".weight"))
        return self._files[name] if layer is None else quantize(layer().dequantize(), "F32")

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensor_info)

    def __len__(self) -> int:
        return len(self.tensor_info)


class _Plan(NamedTuple):
    format: Format
    shape: tuple[int, ...]


class _Tensors:
    """The tensors as GGUF will have them, made a few rows at a time when they are asked for."""

    def __init__(
        self,
        checkpoint: Safetensors | _Unpacked,
        config: ModelConfig,
        type: Type,
        folder: Path,
        progress: Progress | None,
    ) -> None:
        self._checkpoint, self._folder, self._report = checkpoint, folder, reporter(progress, CheckpointError)
        self._packs = checkpoint.packs if isinstance(checkpoint, _Unpacked) else None
        self._places = {place.target: place for place in accounted(checkpoint, config, folder, self._packs)}
        self._factors = config.rope_factors()
        self.format = get_format(self._kept() if type == "auto" else type)
        self.tensor_info = {name: _Plan(get_format("F32"), factors.shape) for name, factors in self._factors.items()}
        for name, place in self._places.items():
            self.tensor_info[name] = _Plan(self._format(place), place.shape)
        self._done = 0

    def _format(self, place: Place) -> Format:
        """Norms, biases and routers stay as exact as they are; experts that come in four bits stay so, too."""
        if place.mxfp4:
            return get_format("MXFP4")
        small = place.role in _KEPT or len(place.shape) == 1 or "ffn_gate_inp" in place.target
        return get_format("F32") if small else self.format

    def _kept(self) -> str:
        if isinstance(self._checkpoint, _Unpacked):
            return "F32"
        dtype = self._checkpoint.tensor_info[self._places["token_embd.weight"].source].dtype
        return "BF16" if dtype == "BF16" else "F16"

    @property
    def n_weights(self) -> int:
        return sum(int(np.prod(plan.shape)) for name, plan in self.tensor_info.items() if name not in self._factors)

    def pieces(self, name: str) -> Iterator[npt.NDArray[Any]]:
        """A tensor's blocks in order: rounded, and checked to be numbers that fit."""
        if name in self._factors:
            yield quantize(self._factors[name], "F32").blocks
            return
        place, fmt = self._places[name], self.tensor_info[name].format
        for tensor in self._read(place):
            yield tensor.blocks.reshape(-1) if place.mxfp4 else self._converted(tensor, fmt, place.sources[0])
        self._done += self._nbytes(place)
        self._report(f"convert to {self.format}", self._done, sum(map(self._nbytes, self._places.values())))

    def _nbytes(self, place: Place) -> int:
        return sum(self._checkpoint.tensor_info[source].nbytes for source in place.sources)

    def _read(self, place: Place) -> Iterator[QTensor]:
        """The rows of a tensor, in pieces; at once where something becomes of them, or they are made together."""
        checkpoint = self._checkpoint
        if place.mxfp4:
            codes, exponents = (checkpoint.read_bytes(source) for source in place.sources)
            yield mxfp4_blocks(codes, exponents, place, self._folder)
            return
        first, *others = place.sources
        if place.change or others or (self._packs is not None and self._packs(first)):
            for source in place.sources:
                yield as_stored(checkpoint[source], place)
            return
        n_rows = int(np.prod(place.shape[:-1]))
        step = max(1, _CHUNK // max(place.shape[-1], 1))
        for row in range(0, n_rows, step):
            yield checkpoint.read_rows(first, row, min(row + step, n_rows))

    def _converted(self, tensor: QTensor, fmt: Format, name: str) -> npt.NDArray[Any]:
        """Rounded a few rows at a time; weights that overflow, or are no numbers, are refused."""
        same = tensor.format is fmt
        source = tensor.blocks.reshape(-1)
        target = source if same else np.empty(source.size, fmt.dtype)
        for start in range(0, source.size, _CHUNK):
            part = source[start : start + _CHUNK]
            chunk = QTensor(tensor.format, part, part.shape).dequantize()
            if not np.isfinite(chunk).all():
                raise CheckpointError(f"{name!r} holds NaN or infinity", path=self._folder)
            if fmt == "F16" and (largest := float(np.abs(chunk).max())) >= _BEYOND_F16:
                raise CheckpointError(
                    f"{name!r} does not fit F16", path=self._folder, found=largest, expected=_USE_BF16
                )
            if not same:
                target[start : start + part.size] = quantize(chunk, fmt).blocks
        return target


def _warn_of_what_does_not_run(config: ModelConfig, metadata: dict[str, Any]) -> None:
    """A setting that has a key in GGUF is written, even where llama.cpp does not read that key."""
    try:
        read_settings(config.architecture, metadata, CheckpointError)
    except CheckpointError as problem:
        warnings.warn(f"{metadata['general.name']}: written all the same, {problem}", stacklevel=3)


def _sampling(folder: Path) -> dict[str, Any]:
    """The settings that a model's makers recommend."""
    path = folder / "generation_config.json"
    config = read_json(path, required=False)
    values: dict[str, Any] = {}
    for key, (target, kind) in _SAMPLING.items():
        value = config.get(key)
        if type(value) in (int, float):
            try:
                values[f"general.sampling.{target}"] = kind(value)
            except GGUFError:
                what = f"{key} is too large, or not a whole number"
                raise CheckpointError(what, path=path, found=value, expected=kind.__name__.lower()) from None
    return values


def size_label(n_weights: int) -> str:
    """A model's size in two digits or more, as it stands in the names of models.

    Examples
    --------
    >>> size_label(134_515_008), size_label(6_738_415_616), size_label(7_900_000)
    ('135M', '6.7B', '7.9M')
    """
    unit, letter = next(((u, c) for u, c in ((1e12, "T"), (1e9, "B"), (1e6, "M")) if n_weights > u), (1e3, "K"))
    number = n_weights / unit
    return f"{number:.{0 if round(number) > 9 else 1 if round(number) else 2}f}{letter}"

"""Writing packed checkpoints: a folder of safetensors and settings that other people's loaders read.

A folder appears whole, or not at all: it is written beside its destination, and takes its place at the end. So
whoever reads it never finds new weights under old settings, whatever ends the writer.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from qviz._arrays import whole_number
from qviz._files import as_path, explained, replacing_folder
from qviz.checkpoints.packed.bits import checked_bits
from qviz.checkpoints.packed.linear import F8, FLOAT_LAYOUTS, LAYOUTS, PackedLinear
from qviz.errors import CheckpointError, shortened

_WEIGHTS, _CONFIG, _SETTINGS = "model.safetensors", "config.json", "quantize_config.json"
_KINDS = {np.dtype(code): kind for code, kind in {"i4": "I32", "i8": "I64", "f2": "F16", "f4": "F32"}.items()}
_KINDS |= {np.dtype(np.uint8): "U8", F8: "F8_E4M3"}


def write_packed(
    folder: str | os.PathLike[str],
    layers: Mapping[str, PackedLinear],
    *,
    others: Mapping[str, npt.NDArray[Any]] | None = None,
    group_size: int = 128,
    sym: bool = False,
    act_order: bool = False,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write a folder that other people's loaders read.

    Parameters
    ----------
    folder : path-like
        Made if it is not there; gets ``model.safetensors``, ``config.json`` and ``quantize_config.json``. An older
        one takes these three in one step, and keeps what else it holds.
    layers : mapping of str to PackedLinear
        Name of a module, e.g. ``"model.layers.0.self_attn.q_proj"``, to its weights; all of one format and bits.
    others : mapping of str to float16, float32 or int32 array, optional
        Tensors that stay as they are: norms, embeddings, biases.
    group_size, sym, act_order
        As quantized; loaders want to be told. Columns out of order (`PackedLinear.g_idx`) are told in any case.
    config : mapping, optional
        The model's ``config.json``; ``quantization_config`` is added to it.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    CheckpointError
        Layers that do not go together, a tensor of another dtype, an older folder with weights of another kind, or one
        that cannot be written; it is as it was.
    """
    others = {} if others is None else others
    if not isinstance(layers, Mapping) or not all(isinstance(layer, PackedLinear) for layer in layers.values()):
        raise CheckpointError("layers must be a mapping from name to PackedLinear", found=layers)
    if not isinstance(others, Mapping) or not all(isinstance(x, np.ndarray) for x in others.values()):
        raise CheckpointError("others must be a mapping from name to array", found=others)
    group_size = _group_size(group_size)
    kinds = {(layer.format, layer.bits) for layer in layers.values()}
    if len(kinds) != 1:
        raise CheckpointError("a checkpoint has one format and one number of bits", found=sorted(kinds))
    ((kind, bits),) = kinds
    tensors = {f"{name}.{part}": array for name, layer in layers.items() for part, array in layer.tensors().items()}
    if both := tensors.keys() & others.keys():
        raise CheckpointError("a tensor is given twice", found=min(both))
    tensors |= others
    for name, layer in layers.items():
        _check_layer(name, layer, group_size)
    act_order = act_order or any(_out_of_order(layer, group_size) for layer in layers.values())
    where = as_path(folder)
    with explained(where, "cannot be written", CheckpointError):
        where.parent.mkdir(parents=True, exist_ok=True)
    _refuse_other_weights(where)
    described = {name: (x.dtype, x.shape) for name, x in tensors.items()}
    with replacing_folder(where, CheckpointError, carry=lambda name: name not in (_WEIGHTS, _CONFIG, _SETTINGS)) as new:
        with tensor_file(new, where, described) as out:
            for name, array in tensors.items():
                out.put(name, array)
        kept = [] if "lm_head" in layers else ["lm_head"]
        _write_settings(new, where, _settings(kind, bits, group_size, sym, act_order, kept), config)
    return where


def _check_layer(name: str, layer: PackedLinear, group_size: int) -> None:
    """A layer that readers could not make sense of under these settings."""
    if layer.format not in (*LAYOUTS, *FLOAT_LAYOUTS):
        raise CheckpointError(f"{name!r} is in a layout that is only read here", found=layer.format, expected="gptq_v2")
    groups = 1 if group_size < 0 else -(-layer.n_in // max(group_size, 1))
    if group_size == 0 or groups != layer.n_groups:
        what = f"{name!r} has {layer.n_groups} groups of {layer.n_in} columns; say so as group_size"
        raise CheckpointError(what, found=group_size, expected="-1 or columns of a group")


def _out_of_order(layer: PackedLinear, group_size: int) -> bool:
    size = group_size if group_size > 0 else max(layer.n_in, 1)
    return not np.array_equal(layer.g_idx, np.arange(layer.n_in) // size)


def _refuse_other_weights(folder: Path) -> None:
    """Weights and settings that would stand beside the new ones: readers would take these for theirs."""
    with explained(folder, "cannot be read", CheckpointError):
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    other = [name for name in names if name.endswith((".safetensors", ".safetensors.index.json")) and name != _WEIGHTS]
    other += [name for name in names if name in ("quant_config.json", "quantization_config.json")]
    if other:
        what = "this folder holds weights of another kind; choose another name, or delete it first"
        raise CheckpointError(what, path=folder, found=min(other))


def _settings(kind: str, bits: int, group_size: int, sym: bool, act_order: bool, kept: list[str]) -> dict[str, Any]:
    if kind == "pack-quantized" or kind in FLOAT_LAYOUTS:
        return _scheme(kind, bits, group_size, sym) | {"ignore": kept}
    within = [name for name in kept if name != "lm_head"]  # of the layers, which alone these two pack
    if kind == "gemm":
        settings = {"quant_method": "awq", "bits": bits, "group_size": group_size, "zero_point": True}
        return settings | {"version": "gemm", "modules_to_not_convert": within or None}
    settings = {"quant_method": "gptq", "bits": bits, "group_size": group_size, "desc_act": act_order}
    if within:
        settings["dynamic"] = {f"-:{re.escape(name)}$": {} for name in within}
    return settings | {"sym": sym, "checkpoint_format": kind, "pack_dtype": "int32", "lm_head": False}


def _scheme(kind: str, bits: int, group_size: int, sym: bool) -> dict[str, Any]:
    """Settings of compressed-tensors: one scheme for all matrices."""
    weights: dict[str, Any] = {"num_bits": bits, "type": "int", "symmetric": sym, "dynamic": False}
    weights |= {"strategy": "channel"} if group_size < 0 else {"strategy": "group", "group_size": group_size}
    if kind in FLOAT_LAYOUTS:
        weights |= {"type": "float", "symmetric": True}
        weights |= {"strategy": "tensor_group"} if group_size > 0 else {}
    scheme = {"targets": ["Linear"], "weights": weights, "input_activations": None, "output_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": kind,
        "quantization_status": "compressed",
        "config_groups": {"group_0": scheme},
        "kv_cache_scheme": None,
    }


def _write_settings(new: Path, shown: Path, settings: dict[str, Any], config: Mapping[str, Any] | None) -> None:
    write_json(new / _CONFIG, shown, dict(config or {}) | {"quantization_config": settings})
    if settings["quant_method"] != "compressed-tensors":  # its loaders look into config.json alone
        write_json(new / _SETTINGS, shown, settings)


def write_json(path: Path, shown: Path, value: Any) -> None:
    """A JSON file of a folder that is being made; errors name the folder that the user knows."""
    with explained(shown, "cannot be written", CheckpointError):
        path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


class _TensorFile:
    """Takes the tensors of a safetensors file in the order that its header promised."""

    def __init__(
        self, file: BinaryIO, shown: Path, described: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]
    ) -> None:
        self._file, self._shown, self._described, self._left = file, shown, described, list(described)[::-1]

    def write(self, data: Any) -> None:
        with explained(self._shown, "cannot be written", CheckpointError):
            self._file.write(data)

    def put(self, name: str, array: npt.NDArray[Any]) -> None:
        dtype, shape = self._described.get(name, (None, ()))
        if not self._left or self._left[-1] != name or array.dtype != dtype or array.shape != tuple(shape):
            raise CheckpointError(
                f"tensor {shortened(name)} is not what comes next",
                found=(array.dtype, array.shape),
                expected=(self._left[-1:], dtype, shape),
            )
        self.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
        self._left.pop()

    def put_rows(self, name: str, parts: Iterable[npt.NDArray[Any]]) -> None:
        """One tensor, some of its rows at a time."""
        dtype, shape = self._described.get(name, (None, (0,)))
        rows = 0
        for part in parts:
            rows += len(part)
            fits = part.dtype == dtype and part.shape[1:] == tuple(shape[1:]) and rows <= shape[0]
            if self._left[-1:] != [name] or not fits:
                raise CheckpointError(
                    f"tensor {shortened(name)} is not what comes next", found=(part.dtype, part.shape)
                )
            self.write(np.ascontiguousarray(part, part.dtype.newbyteorder("<")).data)
        if rows != shape[0]:
            raise CheckpointError(f"tensor {shortened(name)} is not whole", found=rows, expected=f"{shape[0]} rows")
        self._left.pop()

    def finish(self) -> None:
        if self._left:
            raise CheckpointError("the file is not complete", found=f"no {self._left[-1]!r}")
        with explained(self._shown, "cannot be written", CheckpointError):
            self._file.close()


@contextlib.contextmanager
def tensor_file(
    new: Path, shown: Path, described: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]
) -> Iterator[_TensorFile]:
    """The weights of a folder that is being made; errors name the folder that the user knows."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in described.items():
        if dtype not in _KINDS:
            raise CheckpointError(f"{name!r} has a dtype that is not written here", found=dtype)
        nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        header[name] = {"dtype": _KINDS[dtype], "shape": shape, "data_offsets": (end, end + nbytes)}
        end += nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with explained(shown, "cannot be written", CheckpointError):
        file = (new / _WEIGHTS).open("xb")
    out = _TensorFile(file, shown, described)
    try:
        out.write(len(text).to_bytes(8, "little") + text)
        yield out
        out.finish()
    except BaseException:
        with contextlib.suppress(OSError):  # what is left in its buffer does not fit, either
            file.close()
        raise


def _group_size(x: int) -> int:
    if x == 0:
        raise CheckpointError("groups have columns", found=x, expected="-1 for a row, or columns of a group")
    return whole_number(x, "group_size, −1 for a row,", CheckpointError, least=-1)


def packed_parts(
    format: str, bits: int, n_out: int, n_in: int, group_size: int, *, sym: bool = False
) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Dtype and shape of each tensor that one packed matrix takes.

    A symmetric grid spares ``pack-quantized`` the zero points.

    Examples
    --------
    >>> {name: shape for name, (_, shape) in packed_parts("gemm", 4, 256, 768, 128).items()}
    {'qweight': (768, 32), 'qzeros': (6, 32), 'scales': (6, 256)}
    """
    bits = checked_bits(bits)
    n_out, n_in = (whole_number(n, what, CheckpointError, least=1) for n, what in ((n_out, "n_out"), (n_in, "n_in")))
    group_size = _group_size(group_size)
    groups = 1 if group_size < 0 else -(-n_in // group_size)
    word: np.dtype[Any] = np.dtype(np.int32)
    parts: dict[str, tuple[np.dtype[Any], tuple[int, ...]]]
    if format == "pack-quantized":
        parts = {
            "weight_packed": (word, (n_out, -(-n_in * bits // 32))),
            "weight_shape": (np.dtype(np.int64), (2,)),
            "weight_scale": (np.dtype(np.float16), (n_out, groups)),
        }
        parts |= {} if sym else {"weight_zero_point": (word, (-(-n_out * bits // 32), groups))}
        return parts
    parts = {
        "qweight": (word, (n_in, n_out // 8) if format == "gemm" else (n_in * bits // 32, n_out)),
        "qzeros": (word, (groups, n_out * bits // 32)),
        "scales": (np.dtype(np.float16), (groups, n_out)),
    }
    return parts if format == "gemm" else parts | {"g_idx": (word, (n_in,))}


class Packing:
    """A packed checkpoint that is being written. Made by `packing`."""

    def __init__(self, folder: Path, shown: Path, tensors: _TensorFile) -> None:
        self._folder, self._shown, self._tensors = folder, shown, tensors

    def put(self, name: str, value: PackedLinear | npt.NDArray[Any]) -> None:
        """Write a matrix, or one of the other tensors; first all tensors outside of layers, then layer by layer.

        Raises
        ------
        CheckpointError
            Not what comes next.
        """
        if isinstance(value, PackedLinear):
            for part, array in value.tensors().items():
                self._tensors.put(f"{name}.{part}", array)
        else:
            self._tensors.put(name, value)

    def put_rows(self, name: str, parts: Iterable[npt.NDArray[Any]]) -> None:
        """Write one of the other tensors, some rows at a time.

        Raises
        ------
        CheckpointError
            Not what comes next.
        """
        self._tensors.put_rows(name, parts)

    def write_json(self, name: str, value: Any) -> None:
        """Put a JSON file beside the weights."""
        write_json(self._folder / name, self._shown, value)


@contextlib.contextmanager
def packing(
    folder: str | os.PathLike[str],
    entries: Mapping[str, tuple[int, int] | tuple[np.dtype[Any], tuple[int, ...]]],
    *,
    bits: int = 4,
    format: str = "gptq_v2",
    group_size: int = 128,
    sym: bool = False,
    act_order: bool = False,
    kept: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
) -> Iterator[Packing]:
    """Write a packed checkpoint matrix by matrix, in a ``with`` block: a model larger than memory can be written.

    The folder appears whole when the block ends well, and not at all when it does not.

    Parameters
    ----------
    folder : path-like
        New, or empty.
    entries : mapping
        What will come, in that order: the name of a module and (n_out, n_in) of its matrix, or the name of a tensor
        that stays as it is and its (dtype, shape).
    bits, format
        As for `pack`.
    group_size, sym, act_order, config
        As for `write_packed`.
    kept : sequence of str
        Modules that loaders might take for packed, and that are not: routers of experts.

    Yields
    ------
    Packing

    Raises
    ------
    CheckpointError
        A folder that is not empty or cannot be written, or matrices that are not as promised.
    """
    target = as_path(folder)
    _check_empty(target, "this folder is not empty; choose another name, or delete it first")
    described: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
    for name, (first, second) in entries.items():
        if isinstance(first, np.dtype):
            assert isinstance(second, tuple)
            described[name] = (first, second)
        else:
            assert isinstance(second, int)
            parts = packed_parts(format, bits, first, second, group_size, sym=sym)
            described |= {f"{name}.{part}": what for part, what in parts.items()}
    with replacing_folder(target, CheckpointError) as new:
        with tensor_file(new, target, described) as tensors:
            yield Packing(new, target, tensors)
        kept = [*kept, *([] if "lm_head" in entries else ["lm_head"])]
        _write_settings(new, target, _settings(format, bits, group_size, sym, act_order, kept), config)
        _check_empty(target, "another program has filled this folder meanwhile; choose another name")


def _check_empty(folder: Path, problem: str) -> None:
    with explained(folder, "cannot be read", CheckpointError):
        if folder.is_dir() and not folder.is_symlink():
            if any(folder.iterdir()):
                raise CheckpointError(problem, path=folder)
        elif os.path.lexists(folder):
            raise CheckpointError("this is not a folder; choose another name", path=folder)

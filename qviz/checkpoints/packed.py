"""Packed integer weights as GPTQ and AWQ checkpoints hold them, written and read.

::

    GPTQ      qweight int32 (n_in · bits / 32, n_out)     codes along the input, lowest bits first
              qzeros  int32 (n_groups, n_out · bits / 32) zero points along the output
              scales  float16 (n_groups, n_out),  g_idx int32 (n_in): the group of each input column
    AWQ GEMM  qweight int32 (n_in, n_out / 8)             nibble i of a word holds column 0 2 4 6 1 3 5 7 [i]
              qzeros  int32 (n_groups, n_out / 8)         likewise;  scales as above

Three-bit codes are one stream of bits: 32 of them fill 3 words. Zero points come in two conventions: GPTQ v2 and AWQ
store them as they are, GPTQ v1 stores each less one. For 2, 4 and 8 bits v1 subtracts *whole words*
(``qzeros − 0x11111111``), so a zero point of 0 borrows from its neighbour: a reader that adds one to each field gets
two wrong zero points, one that adds the whole word gets both right. With 3 bits each field wraps by itself.

The layouts are those of GPTQModel (``nn_modules/qlinear``, ``utils/model.py``) and AutoAWQ
(``modules/linear/gemm.py``), checked against bytes that those packages made.

Examples
--------
Eight 4-bit codes of one output channel fill a word, the first one its lowest nibble:

>>> hex(int(pack_bits(np.arange(8)[:, None], 4)[0, 0].view("u4")))
'0x76543210'
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from qviz._files import as_path, replacing
from qviz.checkpoints.safetensors import Safetensors, read_json
from qviz.checkpoints.safetensors import read as read_tensors
from qviz.errors import CheckpointError

IntArray = npt.NDArray[np.int32]
BITS = (2, 3, 4, 8)
FORMATS = ("gptq", "gptq_v2", "gemm")
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
_KINDS = {np.dtype(np.int32): "I32", np.dtype(np.float16): "F16", np.dtype(np.float32): "F32"}


def pack_bits(codes: npt.ArrayLike, bits: int) -> IntArray:
    """Pack unsigned codes along the first axis, lowest bits first.

    Parameters
    ----------
    codes : integer array (n, m)
        0 to 2**bits − 1; n · bits must be a multiple of 32.
    bits : {2, 3, 4, 8}

    Returns
    -------
    int32 array (n · bits / 32, m)

    Raises
    ------
    CheckpointError
        Codes out of range, or a number of them that does not fill words.
    """
    if bits not in BITS:
        raise CheckpointError("no packed layout has that many bits", found=bits, expected="2, 3, 4 or 8")
    array = np.asarray(codes)
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise CheckpointError("codes must be a matrix of integers", found=(array.dtype, array.shape))
    if array.size and (array.min() < 0 or array.max() >= 1 << bits):
        raise CheckpointError(
            f"codes do not fit {bits} bits", found=(int(array.min()), int(array.max())), expected=f"0 … {2**bits - 1}"
        )
    if array.shape[0] * bits % 32:
        raise CheckpointError(
            f"{array.shape[0]} codes of {bits} bits do not fill 32-bit words; this layout needs a multiple of 32 codes"
        )
    n, m = array.shape
    stream = (array.astype(np.uint8)[:, None, :] >> np.arange(bits, dtype=np.uint8)[:, None] & 1).reshape(n * bits, m)
    packed = np.packbits(stream, axis=0, bitorder="little")  # (n · bits / 8, m)
    words: IntArray = np.ascontiguousarray(packed.T).view("<i4").T.astype(np.int32)
    return np.ascontiguousarray(words)


def unpack_bits(words: npt.ArrayLike, bits: int) -> npt.NDArray[np.uint8]:
    """Undo `pack_bits`: int32 (n, m) -> uint8 (n · 32 / bits, m).

    Examples
    --------
    >>> unpack_bits(pack_bits(np.arange(32)[:, None] % 8, 3), 3)[:9, 0].tolist()
    [0, 1, 2, 3, 4, 5, 6, 7, 0]
    """
    array = np.asarray(words)
    if bits not in BITS or array.ndim != 2 or array.dtype != np.int32 or array.shape[0] * 32 % bits:
        raise CheckpointError(
            f"not words of {bits}-bit codes", found=(array.dtype, array.shape), expected="an int32 matrix"
        )
    octets = np.ascontiguousarray(array.T.astype("<i4")).view(np.uint8).T
    stream = np.unpackbits(octets, axis=0, bitorder="little").reshape(-1, bits, array.shape[1])
    codes: npt.NDArray[np.uint8] = (stream << np.arange(bits, dtype=np.uint8)[:, None]).sum(axis=1, dtype=np.uint8)
    return codes


def zeros_to_v1(qzeros: IntArray, bits: int) -> IntArray:
    """Packed zero points, GPTQ v2 -> v1: each less one, borrowing as the module's text says.

    Examples
    --------
    Zero points 0 and 7: the zero borrows, and the 7 is stored as 5 instead of 6.

    >>> hex(int(zeros_to_v1(np.int32([[0x70]]), 4)[0, 0].view("u4")))
    '0xeeeeef5f'
    """
    return _shift_zeros(qzeros, bits, -1)


def zeros_from_v1(qzeros: IntArray, bits: int) -> IntArray:
    """Packed zero points, GPTQ v1 -> v2; undoes `zeros_to_v1`.

    Examples
    --------
    >>> v1 = zeros_to_v1(np.int32([[0x70]]), 4)
    >>> hex(int(zeros_from_v1(v1, 4)[0, 0]))
    '0x70'
    """
    return _shift_zeros(qzeros, bits, 1)


def _shift_zeros(qzeros: IntArray, bits: int, by: int) -> IntArray:
    if bits == 3:
        fields = unpack_bits(np.ascontiguousarray(qzeros.T), 3).astype(np.int32)
        return np.ascontiguousarray(pack_bits(fields + by & 7, 3).T)
    ones = np.uint32(sum(1 << i for i in range(0, 32, bits)))
    words = qzeros.view(np.uint32)
    return (words + ones if by > 0 else words - ones).view(np.int32)


@dataclass(frozen=True, eq=False)
class PackedLinear:
    """One weight matrix, packed.

    Attributes
    ----------
    format : {"gptq", "gptq_v2", "gemm"}
        GPTQ with zero points v1 or v2, or AWQ GEMM.
    bits : int
    qweight, qzeros : int32 arrays
    scales : float16 array (n_groups, n_out)
    g_idx : int32 array (n_in,)
        The group of each input column; AWQ files leave it out.
    """

    format: str
    bits: int
    qweight: IntArray
    qzeros: IntArray
    scales: npt.NDArray[np.float16]
    g_idx: IntArray

    @property
    def shape(self) -> tuple[int, int]:
        """(n_out, n_in)."""
        return self.scales.shape[1], len(self.g_idx)

    def codes(self) -> npt.NDArray[np.uint8]:
        """Unsigned codes, uint8 (n_out, n_in)."""
        if self.format == "gemm":
            return np.ascontiguousarray(_awq_unpack(self.qweight).T)
        return np.ascontiguousarray(unpack_bits(self.qweight, self.bits).T)

    def zero_points(self) -> IntArray:
        """Zero points of the unsigned codes, int32 (n_out, n_groups)."""
        if self.format == "gemm":
            return np.ascontiguousarray(_awq_unpack(self.qzeros).T.astype(np.int32))
        words = zeros_from_v1(self.qzeros, self.bits) if self.format == "gptq" else self.qzeros
        return unpack_bits(np.ascontiguousarray(words.T), self.bits).astype(np.int32)

    def dequantize(self) -> npt.NDArray[np.float32]:
        """The weights, float32 (n_out, n_in): scale · (code − zero point)."""
        steps = self.codes().astype(np.int32) - self.zero_points()[:, self.g_idx]
        return steps.astype(np.float32) * self.scales.T[:, self.g_idx].astype(np.float32)

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """What a checkpoint stores, by the last part of the name."""
        stored: dict[str, npt.NDArray[Any]] = {
            "qweight": self.qweight,
            "qzeros": self.qzeros,
            "scales": self.scales,
        }
        return stored if self.format == "gemm" else stored | {"g_idx": self.g_idx}


def pack(
    codes: npt.ArrayLike,
    scale: npt.ArrayLike,
    zero_point: npt.ArrayLike,
    *,
    bits: int = 4,
    format: str = "gptq_v2",
    g_idx: npt.ArrayLike | None = None,
) -> PackedLinear:
    """Pack one weight matrix.

    Parameters
    ----------
    codes : integer array (n_out, n_in)
        Unsigned, 0 to 2**bits − 1, or those of a symmetric grid, −2**(bits−1) and up (dtype int8).
    scale : array_like (n_out, n_groups)
        Rounded to float16.
    zero_point : integer array (n_out, n_groups)
        Of the codes as given.
    bits : {2, 3, 4, 8}
        AWQ knows 4 only.
    format : {"gptq_v2", "gptq", "gemm"}
        Asymmetric grids are safest as ``gptq_v2`` or ``gemm``: readers of v1 differ on zero points of 0.
    g_idx : integer array (n_in,), optional
        The group of each column; consecutive groups of equal size if not given.

    Returns
    -------
    PackedLinear

    Raises
    ------
    CheckpointError
        Something the layout cannot hold.
    """
    if format not in FORMATS:
        raise CheckpointError("no such packed format", found=format, expected=", ".join(FORMATS))
    if format == "gemm" and bits != 4:
        raise CheckpointError("AWQ GEMM holds 4-bit codes only", found=bits)
    q, zeros = np.asarray(codes), np.asarray(zero_point)
    if q.ndim != 2 or q.dtype.kind not in "iu" or zeros.dtype.kind not in "iu":
        raise CheckpointError("codes and zero points must be matrices of integers", found=(q.dtype, q.shape))
    with np.errstate(over="ignore"):
        scales = np.asarray(scale).astype(np.float16)
    n_out, n_in = q.shape
    if scales.ndim != 2 or len(scales) != n_out or scales.shape != zeros.shape or not scales.shape[1]:
        raise CheckpointError("scale and zero_point must be (n_out, n_groups)", found=(scales.shape, zeros.shape))
    if not (np.isfinite(scales) & (scales > 0)).all():
        raise CheckpointError("scales must be positive and fit float16; rescale the weights first")
    groups = scales.shape[1]
    if g_idx is None:
        if n_in % groups:
            raise CheckpointError(f"{n_in} columns do not make {groups} equal groups; give g_idx")
        index = np.repeat(np.arange(groups, dtype=np.int32), n_in // groups)
    else:
        index = np.asarray(g_idx).astype(np.int32)
    if index.shape != (n_in,) or index.min() < 0 or index.max() >= groups:
        raise CheckpointError(f"g_idx must give each of {n_in} columns a group below {groups}", found=index.shape)
    if format == "gemm" and (n_in % groups or not np.array_equal(index, np.arange(n_in) // (n_in // groups))):
        raise CheckpointError("AWQ GEMM has no place for g_idx: its groups are consecutive columns of equal size")
    offset = 1 << bits - 1 if q.dtype.kind == "i" and (q.dtype == np.int8 or (q.size and q.min() < 0)) else 0
    unsigned, zeros = q.astype(np.int32) + offset, zeros.astype(np.int32) + offset
    scales = np.ascontiguousarray(scales.T)
    if format == "gemm":
        return PackedLinear(format, 4, _awq_pack(unsigned.T), _awq_pack(zeros.T), scales, index)
    qweight = pack_bits(unsigned.T, bits)
    qzeros = np.ascontiguousarray(pack_bits(zeros, bits).T)
    if format == "gptq":
        qzeros = zeros_to_v1(qzeros, bits)
    return PackedLinear(format, bits, qweight, qzeros, scales, index)


def _awq_pack(columns: npt.NDArray[Any]) -> IntArray:
    """(n, m) -> int32 (n, m / 8), the columns of each word interleaved."""
    n, m = columns.shape
    if m % 8:
        raise CheckpointError("AWQ GEMM packs 8 output channels into a word", found=m, expected="a multiple of 8")
    mixed = columns.reshape(n, m // 8, 8)[:, :, list(_AWQ_ORDER)].reshape(n, m)
    return np.ascontiguousarray(pack_bits(np.ascontiguousarray(mixed.T), 4).T)


def _awq_unpack(words: IntArray) -> npt.NDArray[np.uint8]:
    nibbles = unpack_bits(np.ascontiguousarray(words.T), 4).T.reshape(len(words), -1, 8)
    out = np.empty_like(nibbles)
    out[:, :, list(_AWQ_ORDER)] = nibbles
    return out.reshape(len(words), -1)


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
        Made if it is not there; gets ``model.safetensors``, ``config.json`` and ``quantize_config.json``.
    layers : mapping of str to PackedLinear
        Name of a module, e.g. ``"model.layers.0.self_attn.q_proj"``, to its weights; all of one format and bits.
    others : mapping of str to float16, float32 or int32 array, optional
        Tensors that stay as they are: norms, embeddings, biases.
    group_size, sym, act_order
        As quantized; loaders want to be told.
    config : mapping, optional
        The model's ``config.json``; ``quantization_config`` is added to it.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    CheckpointError
        Layers that do not go together, or a tensor of another dtype.
    """
    kinds = {(layer.format, layer.bits) for layer in layers.values()}
    if len(kinds) != 1:
        raise CheckpointError("a checkpoint has one format and one number of bits", found=sorted(kinds))
    ((kind, bits),) = kinds
    tensors = {f"{name}.{part}": array for name, layer in layers.items() for part, array in layer.tensors().items()}
    if both := tensors.keys() & (others or {}).keys():
        raise CheckpointError("a tensor is given twice", found=min(both))
    tensors |= others or {}
    where = as_path(folder)
    where.mkdir(parents=True, exist_ok=True)
    with _tensor_file(where / "model.safetensors", {n: (x.dtype, x.shape) for n, x in tensors.items()}) as out:
        for name, array in tensors.items():
            out.put(name, array)
    _write_settings(where, _settings(kind, bits, group_size, sym, act_order), config)
    return where


def _settings(kind: str, bits: int, group_size: int, sym: bool, act_order: bool) -> dict[str, Any]:
    if kind == "gemm":
        settings = {"quant_method": "awq", "bits": bits, "group_size": group_size, "zero_point": True}
        return settings | {"version": "gemm", "modules_to_not_convert": None}
    settings = {"quant_method": "gptq", "bits": bits, "group_size": group_size, "desc_act": act_order}
    return settings | {"sym": sym, "checkpoint_format": kind, "pack_dtype": "int32", "lm_head": False}


def _write_settings(where: Path, settings: dict[str, Any], config: Mapping[str, Any] | None) -> None:
    _write_json(where / "config.json", dict(config or {}) | {"quantization_config": settings})
    _write_json(where / "quantize_config.json", settings)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


class _TensorFile:
    """Takes the tensors of a safetensors file in the order that its header promised."""

    def __init__(self, file: BinaryIO, described: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]) -> None:
        self._file, self._described, self._left = file, described, list(described)[::-1]

    def put(self, name: str, array: npt.NDArray[Any]) -> None:
        dtype, shape = self._described[name]
        if not self._left or self._left[-1] != name or array.dtype != dtype or array.shape != tuple(shape):
            raise CheckpointError(
                f"tensor {name!r} is not what comes next",
                found=(array.dtype, array.shape),
                expected=(self._left[-1:], dtype, shape),
            )
        self._file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
        self._left.pop()

    def finish(self) -> None:
        if self._left:
            raise CheckpointError("the file is not complete", found=f"no {self._left[-1]!r}")


@contextlib.contextmanager
def _tensor_file(path: Path, described: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]) -> Iterator[_TensorFile]:
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
    with replacing(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        out = _TensorFile(file, described)
        yield out
        out.finish()


def packed_parts(
    format: str, bits: int, n_out: int, n_in: int, group_size: int
) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Dtype and shape of each tensor that one packed matrix takes.

    Examples
    --------
    >>> {name: shape for name, (_, shape) in packed_parts("gemm", 4, 256, 768, 128).items()}
    {'qweight': (768, 32), 'qzeros': (6, 32), 'scales': (6, 256)}
    """
    groups = 1 if group_size < 0 else -(-n_in // group_size)
    word: np.dtype[Any] = np.dtype(np.int32)
    parts: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
        "qweight": (word, (n_in, n_out // 8) if format == "gemm" else (n_in * bits // 32, n_out)),
        "qzeros": (word, (groups, n_out * bits // 32)),
        "scales": (np.dtype(np.float16), (groups, n_out)),
    }
    return parts if format == "gemm" else parts | {"g_idx": (word, (n_in,))}


class Packing:
    """A packed checkpoint that is being written. Made by `packing`."""

    def __init__(self, folder: Path, tensors: _TensorFile) -> None:
        self._folder, self._tensors = folder, tensors

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

    def write_json(self, name: str, value: Any) -> None:
        """Put a JSON file beside the weights."""
        _write_json(self._folder / name, value)


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

    Yields
    ------
    Packing

    Raises
    ------
    CheckpointError
        A folder that is not empty or cannot be written, or matrices that are not as promised.
    """
    target = as_path(folder)
    if target.is_dir() and not target.is_symlink():
        if any(target.iterdir()):
            raise CheckpointError("this folder is not empty; choose another name, or delete it first", path=target)
    elif os.path.lexists(target):
        raise CheckpointError("this is not a folder; choose another name", path=target)
    described: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
    for name, (first, second) in entries.items():
        if isinstance(first, np.dtype):
            assert isinstance(second, tuple)
            described[name] = (first, second)
        else:
            assert isinstance(second, int)
            parts = packed_parts(format, bits, first, second, group_size)
            described |= {f"{name}.{part}": what for part, what in parts.items()}
    scratch = target.with_name(f".qviz-{secrets.token_hex(8)}.tmp")
    try:
        try:
            scratch.mkdir()
        except OSError as error:
            what = f"cannot be written: {error.strerror or error}; create the folder around it first"
            raise CheckpointError(what, path=target) from None
        with _tensor_file(scratch / "model.safetensors", described) as tensors:
            yield Packing(scratch, tensors)
        _write_settings(scratch, _settings(format, bits, group_size, sym, act_order), config)
        if target.is_dir():
            target.rmdir()
        scratch.replace(target)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def read_packed(folder: str | os.PathLike[str]) -> dict[str, PackedLinear]:
    """Read the packed layers of a GPTQ or AWQ checkpoint.

    Parameters
    ----------
    folder : path-like
        With ``quantize_config.json``, or a ``config.json`` that holds ``quantization_config``.

    Returns
    -------
    dict of str to PackedLinear

    Raises
    ------
    CheckpointError
        Another kind of checkpoint, or a damaged one.
    """
    where = as_path(folder)
    with read_tensors(where) as file:
        layers = {name: layer() for name, layer in stored_layers(where, file).items()}
    if not layers:
        raise CheckpointError("no tensor ends in .qweight", path=where)
    return layers


def packed_settings(where: Path) -> dict[str, Any] | None:
    """What a folder says of its quantization; None if it says nothing."""
    settings = read_json(where / "config.json", required=False).get("quantization_config")
    if settings is None:
        settings = read_json(where / "quantize_config.json", required=False) or None
    return settings if isinstance(settings, dict) else None


class StoredLayer:
    """One packed matrix of an open checkpoint; call it to read it.

    Attributes
    ----------
    shape : (n_out, n_in)
    """

    def __init__(self, file: Safetensors, where: Path, name: str, kind: str, bits: int) -> None:
        self._file, self._where, self._name, self._kind, self._bits = file, where, name, kind, bits
        qweight, scales = self._info("qweight", "I32"), self._info("scales", "F16")
        n_in = qweight[0] if kind == "gemm" else qweight[0] * 32 // bits
        self.shape: tuple[int, int] = (scales[1], n_in)

    def _info(self, part: str, dtype: str) -> tuple[int, ...]:
        name = f"{self._name}.{part}"
        info = self._file.tensor_info.get(name)
        if info is None or info.dtype != dtype or len(info.shape) != (1 if part == "g_idx" else 2):
            raise CheckpointError(f"{name!r} is missing or not {dtype}", path=self._where, found=info)
        return info.shape

    def _array(self, part: str, code: str) -> npt.NDArray[Any]:
        shape = self._info(part, "F16" if code == "<f2" else "I32")
        raw = np.frombuffer(self._file[f"{self._name}.{part}"].tobytes(), code).reshape(shape)
        return raw.astype(raw.dtype.newbyteorder("="))

    def __call__(self) -> PackedLinear:
        """Read it.

        Raises
        ------
        CheckpointError
            Parts that are missing, or do not go together.
        """
        awq, bits, (n_out, n_in) = self._kind == "gemm", self._bits, self.shape
        qweight, qzeros = self._array("qweight", "<i4"), self._array("qzeros", "<i4")
        scales = self._array("scales", "<f2")
        groups = len(scales)
        if awq or f"{self._name}.g_idx" not in self._file:
            size = -(-n_in // groups) if groups else 1
            g_idx = np.arange(n_in, dtype=np.int32) // np.int32(size)
        else:
            g_idx = self._array("g_idx", "<i4")
        shapes = (n_in, n_out // 8) if awq else (n_in * bits // 32, n_out)
        fits = qweight.shape == shapes and qzeros.shape == (groups, n_out * bits // 32) and g_idx.shape == (n_in,)
        if not fits or (n_in and not 0 <= g_idx.min() <= g_idx.max() < groups):
            raise CheckpointError(
                f"the parts of {self._name!r} do not go together",
                path=self._where,
                found={"qweight": qweight.shape, "qzeros": qzeros.shape, "scales": scales.shape},
            )
        return PackedLinear(self._kind, bits, qweight, qzeros, scales, g_idx)


def stored_layers(where: Path, file: Safetensors) -> dict[str, StoredLayer]:
    """The packed matrices of an open checkpoint, by module name; none is read yet.

    Raises
    ------
    CheckpointError
        Another kind of checkpoint, or a damaged one.
    """
    settings = packed_settings(where) or read_json(where / "quantize_config.json")
    awq = settings.get("quant_method") == "awq" or "w_bit" in settings
    bits = settings.get("bits", settings.get("w_bit"))
    kind = "gemm" if awq else settings.get("checkpoint_format", "gptq")
    if kind not in FORMATS or bits not in BITS or (awq and str(settings.get("version", "gemm")).lower() != "gemm"):
        raise CheckpointError(
            "not a packed layout that is read here",
            path=where,
            found=(settings.get("quant_method"), settings.get("version", kind), bits),
            expected="GPTQ v1 or v2 of 2, 3, 4 or 8 bits, or AWQ GEMM",
        )
    names = [name.removesuffix(".qweight") for name in file if name.endswith(".qweight")]
    return {name: StoredLayer(file, where, name, str(kind), int(bits)) for name in names}

"""AWQ: codes packed along the outputs or the inputs, by AutoAWQ and those who write as it does.

::

    GEMM       qweight int32 (n_in, n_out / 8)      nibble i of a word holds column 0 2 4 6 1 3 5 7 [i]
               qzeros  int32 (n_groups, n_out / 8)  likewise;  scales float16 (n_groups, n_out)
    GEMV       qweight int32 (n_out, n_in / 8)      in order
               qzeros  int32 (n_out, width / 8);    scales float16 (n_out, width), groups padded to `width`
    GEMV fast  qweight int16 (n_out / 4, n_in)      four rows of 64 columns mixed, see `_from_fast`
               qzeros float16 (width, n_out): −scale · zero point;  scales alike

Zero points are stored as they are. Before November 2023 the settings stood in ``quant_config.json``, as w_bit and
q_group_size. ``marlin`` and ``exllama`` name ways to *run* GEMM files in memory; no file is stored so by AutoAWQ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from qviz.checkpoints.packed.bits import unpack_bits, unpack_stream
from qviz.checkpoints.packed.dialects.base import (
    Component,
    Dialect,
    Layout,
    MatrixSize,
    MisfitError,
    ModuleRule,
    PackedSettings,
    Shape,
    check_groups,
)
from qviz.checkpoints.packed.dialects.gptq import SCALES, scales_of_columns

if TYPE_CHECKING:
    from qviz.checkpoints.packed.linear import PackedLinear

ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
_VERSIONS = ("gemm", "gemv", "gemv_fast")


def rules(settings: PackedSettings) -> Callable[[str], ModuleRule | None]:
    """The rule of all modules: AWQ has one for all, and floats beside them."""
    version = settings.word("version") or settings.word("checkpoint_format") or settings.word("format") or "gemm"
    if settings.word("backend") == "llm-awq":
        version = "llm-awq"
    if version not in _VERSIONS:
        raise settings.error(
            "this way of packing AWQ weights is not read here; use an export as GEMM", found=version, expected="GEMM"
        )
    settings.flag("zero_point")
    rule = ModuleRule(version, settings.bits((4,)), settings.group_size())
    return lambda module: rule


# -- GEMM


def _measure(shapes: Mapping[str, Shape], rule: ModuleRule) -> MatrixSize:
    (n_in, words), (groups, width), scales = shapes["qweight"], shapes["qzeros"], shapes["scales"]
    n_out = words * 8
    if width != words or scales != (groups, n_out):
        raise MisfitError(f"for {n_out} outputs in {groups} groups, scales are {scales} and qzeros {(groups, width)}")
    check_groups(groups, n_in, rule)
    return MatrixSize(n_out, n_in, groups)


def unpack_mixed(words: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    """Columns that each word holds interleaved: int32 (n, m / 8) -> uint8 (n, m)."""
    nibbles = unpack_bits(np.ascontiguousarray(words.T), 4).T.reshape(len(words), -1, 8)
    out = np.empty_like(nibbles)
    out[:, :, list(ORDER)] = nibbles
    return out.reshape(len(words), -1)


def _codes(packed: PackedLinear) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(unpack_mixed(packed.qweight).T)


def _zeros(packed: PackedLinear) -> npt.NDArray[np.int32]:
    assert packed.qzeros is not None
    return np.ascontiguousarray(unpack_mixed(packed.qzeros).T.astype(np.int32))


# -- GEMV


def _padded(n_in: int, rule: ModuleRule) -> tuple[int, int]:
    """Groups of a row, and how many of them there is room for."""
    groups = rule.groups(n_in)
    if groups is None:
        raise MisfitError("nothing says group_size, and groups are padded here")
    size = n_in if rule.group_size == -1 else rule.group_size or n_in
    many = 1 if size >= 128 else {64: 2, 32: 4}.get(size)
    if many is None or n_in % size:
        raise MisfitError(f"no such layout of {n_in} columns in groups of {size}")
    words = -(-groups // 8)
    return groups, -(-words // many) * many * 8


def _measure_gemv(shapes: Mapping[str, Shape], rule: ModuleRule) -> MatrixSize:
    n_out, words = shapes["qweight"]
    groups, room = _padded(words * 8, rule)
    if shapes["scales"] != (n_out, room) or shapes["qzeros"] != (n_out, room // 8):
        raise MisfitError(f"scales are {shapes['scales']}, and should be {(n_out, room)}")
    return MatrixSize(n_out, words * 8, groups)


def _gemv_codes(packed: PackedLinear) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(unpack_bits(np.ascontiguousarray(packed.qweight.T), 4).T)


def _gemv_zeros(packed: PackedLinear) -> npt.NDArray[np.int32]:
    assert packed.qzeros is not None
    zeros = unpack_stream(np.ascontiguousarray(packed.qzeros.T), 4, packed.n_groups)
    return np.ascontiguousarray(zeros.T.astype(np.int32))


def _gemv_scales(packed: PackedLinear) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(packed.scales[:, : packed.n_groups], np.float32)


# -- GEMV fast


def _measure_fast(shapes: Mapping[str, Shape], rule: ModuleRule) -> MatrixSize:
    rows, n_in = shapes["qweight"]
    groups, room = _padded(n_in, rule)
    if n_in % 64 or shapes["scales"] != (room, rows * 4) or shapes["qzeros"] != (room, rows * 4):
        raise MisfitError(f"scales are {shapes['scales']}, and should be {(room, rows * 4)}")
    return MatrixSize(rows * 4, n_in, groups)


def _fast_codes(packed: PackedLinear) -> npt.NDArray[np.uint8]:
    """Undo AutoAWQ's `pack_intweight`, step by step from its last."""
    rows, n_in = packed.qweight.shape
    words = packed.qweight.view(np.uint16)[..., None] >> np.arange(0, 16, 4, dtype=np.uint16) & np.uint16(15)
    mixed = words.astype(np.uint8).reshape(rows, n_in // 64, 4, 64).swapaxes(1, 2).reshape(rows * 4, n_in)
    pairs = mixed.reshape(rows * 4, n_in // 32, 4, 2, 4).swapaxes(3, 4)  # 0 2 4 6 1 3 5 7 -> 0 1 2 3 4 5 6 7
    in_order = pairs.reshape(rows * 4, n_in // 32, 4, 4, 2).swapaxes(2, 3)
    return np.ascontiguousarray(in_order.reshape(rows * 4, n_in))


def _fast_scales(packed: PackedLinear) -> npt.NDArray[np.float32]:
    return scales_of_columns(packed)[:, : packed.n_groups]


def _fast_zeros(packed: PackedLinear) -> npt.NDArray[np.int32]:
    """The whole number that −scale · zero point, in float16, is nearest to."""
    assert packed.qzeros is not None
    scales, products = _fast_scales(packed), packed.qzeros.T[:, : packed.n_groups].astype(np.float32)
    zeros = np.rint(np.divide(-products, scales, out=np.zeros_like(scales), where=scales != 0))
    return np.clip(zeros, 0, 15).astype(np.int32)


_GEMM = (
    Component("qweight", "qweight", ("I32",)),
    Component("qzeros", "qzeros", ("I32",)),
    Component("scales", "scales", SCALES),
)
_FAST = (
    Component("qweight", "qweight", ("I16",)),
    Component("qzeros", "qzeros", ("F16",)),
    Component("scales", "scales", ("F16",)),
)
DIALECT = Dialect(
    name="AWQ",
    methods=("awq",),
    rules=rules,
    layouts=(
        Layout("gemm", _GEMM, _measure, _codes, _zeros, scales_of_columns, "AutoAWQ modules/linear/gemm.py; its bytes"),
        Layout("gemv", _GEMM, _measure_gemv, _gemv_codes, _gemv_zeros, _gemv_scales, "AutoAWQ modules/linear/gemv.py"),
        Layout(
            "gemv_fast",
            _FAST,
            _measure_fast,
            _fast_codes,
            _fast_zeros,
            _fast_scales,
            "AutoAWQ modules/linear/gemv_fast.py",
        ),
    ),
)

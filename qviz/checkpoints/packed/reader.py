"""Reading packed checkpoints: settings say how each matrix is packed, its tensors must agree, and nothing is guessed.

What a folder says of itself and what its tensors are can contradict each other: other bits than the words hold, other
groups than there are scales, an order of columns that is missing. Each contradiction is named; none is settled in
silence.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._files import as_path, read_folder
from qviz.checkpoints.packed.bits import unpack_bits, zeros_from_v1
from qviz.checkpoints.packed.dialects import dialects, layouts
from qviz.checkpoints.packed.dialects.auto_round import EITHER
from qviz.checkpoints.packed.dialects.base import (
    Component,
    Layout,
    MatrixSize,
    MisfitError,
    ModuleRule,
    PackedSettings,
    Shape,
)
from qviz.checkpoints.packed.dialects.compressed_tensors import padded_width
from qviz.checkpoints.packed.dialects.foreign import by_tensors
from qviz.checkpoints.packed.linear import PackedLinear
from qviz.checkpoints.packed.settings import find_dialect, find_settings
from qviz.checkpoints.safetensors import Safetensors, StoredTensor
from qviz.checkpoints.safetensors import read as read_tensors
from qviz.errors import CheckpointError

_MOST_MODULES = 100_000
_LARGEST = float(np.finfo(np.float32).max)


def read_packed(folder: str | os.PathLike[str]) -> dict[str, PackedLinear]:
    """Read the packed layers of a checkpoint by GPTQ, AWQ, AutoRound or compressed-tensors.

    Parameters
    ----------
    folder : path-like
        With ``quantize_config.json``, ``quant_config.json`` or ``quantization_config.json``, or a ``config.json``
        that holds ``quantization_config``.

    Returns
    -------
    dict of str to PackedLinear

    Raises
    ------
    CheckpointError
        Another kind of checkpoint, a damaged one, or one whose settings contradict its tensors.
    """
    where = as_path(folder)
    settings, file = read_folder(where, _opened, CheckpointError)
    with file:
        layers = {name: layer() for name, layer in stored_layers(where, file, settings).items()}
        file.unchanged()
    if not layers:
        raise CheckpointError("it has no packed matrix, though its settings say that it is quantized", path=where)
    return layers


def _opened(where: Path) -> tuple[PackedSettings | None, Safetensors]:
    """Settings and weights of the same folder, even if another takes its place meanwhile."""
    return find_settings(where) if where.is_dir() else None, read_tensors(where)


def stored_layers(where: Path, file: Safetensors, settings: PackedSettings | None) -> dict[str, StoredLayer]:
    """The packed matrices of an open checkpoint, by module name; none is read yet.

    Raises
    ------
    CheckpointError
        Another kind of checkpoint, or a damaged one.
    """
    if settings is None:
        refuse_unsaid(where, file)
        raise CheckpointError(
            "nothing says how its weights are packed: there is no quantize_config.json, nor quantization_config in "
            "config.json",
            path=where,
        )
    dialect = find_dialect(settings)
    names = _modules(file, dialect.markers)
    if len(names) > _MOST_MODULES:
        raise CheckpointError("there are too many packed matrices", path=where, found=len(names), expected="100,000")
    rule_of = dialect.rules(settings)
    layers = {}
    for name in names:
        rule = rule_of(name)
        if rule is None:
            inside = [tensor for tensor in file if tensor.rpartition(".")[0] == name]
            raise settings.error(f"{name!r} is packed, though the settings leave it out", found=inside[:5])
        layers[name] = StoredLayer(file, where, name, rule)
    return layers


def refuse_unsaid(where: Path, names: Iterable[str]) -> None:
    """Refuse tensors that are packed, in a folder that says nothing of it.

    Raises
    ------
    CheckpointError
        There are some.
    """
    names = list(names)
    foreign = by_tensors(names)
    ours = {marker for dialect in dialects() for marker in dialect.markers}
    mark = next((name for name in names if name.rpartition(".")[2] in ours), None)
    if mark is None and foreign is None:
        return
    if mark is None and foreign is not None:
        raise CheckpointError(f"weights packed by {foreign.name} are not read here; {foreign.advice}", path=where)
    raise CheckpointError(
        "its weights are packed, but nothing says how: there is no quantize_config.json, nor quantization_config in "
        "config.json; add one of its makers, or write one",
        path=where,
        found=mark,
        expected='such as {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": false}',
    )


def _modules(file: Safetensors, markers: Iterable[str]) -> list[str]:
    modules: dict[str, None] = {}
    for marker in markers:
        for name in file:
            module, _, last = name.rpartition(".")
            if last == marker and module:
                modules[module] = None
    return list(modules)


class StoredLayer:
    """One packed matrix of an open checkpoint; call it to read it.

    Attributes
    ----------
    shape : (n_out, n_in)
    names : tuple of str
        Its tensors.
    path, offset : where its first tensor begins

    Raises
    ------
    CheckpointError
        Tensors that are missing, of another dtype, or do not go together.
    """

    def __init__(self, file: Safetensors, where: Path, name: str, rule: ModuleRule) -> None:
        self._file, self._where, self._name, self._rule = file, where, name, rule
        self._layout: Layout = layouts()["gptq" if rule.layout == EITHER else rule.layout]
        infos = {part.field: (part, info) for part in self._layout.components if (info := self._info(part)) is not None}
        self.names = tuple(info.name for _, info in infos.values())
        first = infos[self._layout.components[0].field][1]
        self.path, self.offset = first.path, first.offset
        try:
            self._size = self._measured(infos)
        except MisfitError as problem:
            raise self._error(str(problem)) from None
        self.shape: tuple[int, int] = self._size[:2]

    def _error(self, problem: str, found: object = None) -> CheckpointError:
        return CheckpointError(
            f"the parts of {self._name!r} do not go together: {problem}", path=self._where, found=found
        )

    def _info(self, part: Component) -> StoredTensor | None:
        name = f"{self._name}.{part.name}"
        info = self._file.tensor_info.get(name)
        if info is None and not part.required:
            return None
        if info is None:
            raise CheckpointError(f"{name!r} is missing", path=self._where)
        if info.dtype not in part.dtypes or len(info.shape) not in part.ndims or not info.nbytes:
            raise CheckpointError(
                f"{name!r} is not what this layout has",
                path=self._where,
                found=f"{info.dtype} {info.shape}",
                expected=f"{' or '.join(part.dtypes)} of {' or '.join(map(str, part.ndims))} dimensions",
            )
        return info

    def _measured(self, infos: Mapping[str, tuple[Component, StoredTensor]]) -> MatrixSize:
        shapes = {field: info.shape for field, (_, info) in infos.items()}
        size = self._layout.measure(shapes, self._rule)
        if "shape" in infos:  # the one size that words do not tell: rows are padded
            n_out, n_in = self._array("weight_shape").tolist()
            if n_out != size.n_out or n_in < 1 or shapes["qweight"][1] not in padded_width(n_in, self._rule.bits):
                raise MisfitError(f"weight_shape is {(n_out, n_in)}, its words are {shapes['qweight']}")
            size = size._replace(n_in=n_in)
        wanted = self._rule.groups(size.n_in)
        if wanted is not None and wanted != size.groups:
            raise MisfitError(f"{wanted} groups of {self._rule.group_size} columns have {size.groups} scales a row")
        if self._rule.act_order and size.groups > 1 and "g_idx" not in infos:
            raise MisfitError("its columns are grouped in an order of their own, and the order is missing (g_idx)")
        self._check_zeros(shapes.get("qzeros"), size, infos)
        return size

    def _check_zeros(self, shape: Any, size: MatrixSize, infos: Mapping[str, tuple[Component, StoredTensor]]) -> None:
        """Zero points of compressed-tensors; those of the others were measured with the rest."""
        if "weight_scale" not in {part.name for part, _ in infos.values()}:
            return
        if shape is None:
            if not self._rule.symmetric:
                raise MisfitError("its grid is not symmetric, and the zero points are missing")
            return
        plain: list[Shape] = [(size.n_out, size.groups)]
        if size.groups == 1:
            plain.append((size.n_out,))
        if self._rule.group_size == 0:
            plain = [(), (1,), (1, 1)]
        if infos["qzeros"][1].dtype == "I32":
            plain = [(rows, size.groups) for rows in padded_width(size.n_out, self._rule.bits)]
        if shape not in plain:
            raise MisfitError(f"zero points are {shape}, and should be {plain[0]}")

    def _array(self, part: str) -> npt.NDArray[Any]:
        if self._file.tensor_info[f"{self._name}.{part}"].dtype in ("U8", "F8_E4M3"):
            return self._file.read_bytes(f"{self._name}.{part}")
        tensor = self._file[f"{self._name}.{part}"]
        shape = self._file.tensor_info[f"{self._name}.{part}"].shape
        if tensor.format in ("BF16", "F32"):
            return tensor.dequantize().reshape(shape)
        raw = tensor.blocks.reshape(-1).view(_DTYPES[tensor.format.name]).reshape(shape)
        return np.ascontiguousarray(raw, raw.dtype.newbyteorder("="))

    def __call__(self) -> PackedLinear:
        """Read it.

        Raises
        ------
        CheckpointError
            Values that make no sense: scales that are no numbers, groups that do not exist.
        """
        there = {part.field: self._array(part.name) for part in self._layout.components if self._has(part)}
        scales = there["scales"]
        largest = float(np.abs(scales).max())
        if not largest * (1 << self._rule.bits) < _LARGEST:
            what = f"the scales of {self._name!r} hold NaN, infinity, or more than weights can be"
            raise CheckpointError(what, path=self._where, found=largest)
        qweight, qzeros, groups = there["qweight"], there.get("qzeros"), self._size.groups
        g_idx = self._groups(there.get("g_idx"))
        layout = self._rule.layout
        if layout == EITHER or (layout in ("gptq", "gptq_v2") and self._rule.symmetric):
            layout = self._version(qzeros)
        n_out, whole = self._size.n_out, there.get("global_scale")
        packed = PackedLinear(layout, self._rule.bits, qweight, qzeros, scales, g_idx, groups, n_out, whole)
        if self._layout.table is not None:
            self._check_floats(packed, self._layout.table)
        if (
            self._rule.symmetric
            and "weight_scale" in {part.name for part in self._layout.components}
            and qzeros is not None
        ):
            self._check_middle(packed)
        return packed

    def _has(self, part: Component) -> bool:
        wanted = part.field in ("qweight", "qzeros", "scales", "g_idx", "global_scale")
        return wanted and f"{self._name}.{part.name}" in self._file

    def _groups(self, g_idx: npt.NDArray[Any] | None) -> npt.NDArray[np.int32]:
        """The group of each column."""
        _, n_in, groups = self._size
        size = self._rule.group_size
        width = n_in // groups if size is None else n_in if size <= 0 else size
        in_order = np.arange(n_in, dtype=np.int32) // np.int32(min(width, n_in))
        optional = any(part.name == "weight_g_idx" for part in self._layout.components)
        if g_idx is None or (optional and (g_idx == -1).any()):
            return in_order
        if g_idx.shape != (n_in,) or not 0 <= g_idx.min() <= g_idx.max() < groups:
            raise self._error(
                f"g_idx must give each of {n_in} columns a group below {groups}",
                (g_idx.shape, int(g_idx.min()), int(g_idx.max())),
            )
        if groups > 1 and not g_idx.any():
            raise self._error(f"g_idx puts all columns into group 0, though there are {groups}")
        return g_idx.astype(np.int32)

    def _version(self, qzeros: npt.NDArray[Any] | None) -> str:
        """GPTQ's 1 or 2: on a symmetric grid every zero point lies in the middle, so they tell."""
        assert qzeros is not None
        middle, bits = 1 << self._rule.bits - 1, self._rule.bits
        fits = {
            version: bool((unpack_bits(np.ascontiguousarray(words.T), bits) == middle).all())
            for version, words in (("gptq", zeros_from_v1(qzeros, bits)), ("gptq_v2", qzeros))
        }
        said = self._rule.layout
        if said == EITHER:
            if not any(fits.values()):
                raise self._error("the settings say that the grid is symmetric, its zero points are not in the middle")
            return "gptq" if fits["gptq"] else "gptq_v2"
        other = "gptq_v2" if said == "gptq" else "gptq"
        if not fits[said] and fits[other]:
            raise self._error(
                f"on a symmetric grid these zero points are those of {other}, and the settings say {said}; "
                f"correct checkpoint_format"
            )
        return said

    def _check_floats(self, packed: PackedLinear, table: npt.NDArray[np.float32]) -> None:
        """Small floats have codes that are no number."""
        with np.errstate(all="ignore"):
            scales = self._layout.scales(packed)
        codes = packed.codes()
        if not np.isfinite(scales).all() or any((codes == code).any() for code in np.flatnonzero(~np.isfinite(table))):
            what = f"{self._name!r} holds NaN or infinity, in its weights or its scales"
            raise CheckpointError(what, path=self._where)

    def _check_middle(self, packed: PackedLinear) -> None:
        if (packed.zero_points() != 1 << packed.bits - 1).any():
            raise self._error("the settings say that the grid is symmetric, its zero points are not in the middle")


_DTYPES = {"F16": "<f2", "I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"}

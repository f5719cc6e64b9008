"""The numbers of a quantized matrix, outside of the bits of its blocks: taken out, changed, and put in again."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._types import FloatArray
from qviz.errors import MethodError
from qviz.formats.base import Format, QTensor
from qviz.methods.block_bits import BlockBits, bits_of


class BlockNumbers:
    """What the blocks of a matrix say.

    A weight is ``d · scale · level − dmin · min``, where the code says which level.

    Attributes
    ----------
    codes : int16 array (n_out, n_in)
        For a codebook of groups: levels, which are magnitudes with signs.
    scales, mins : int32 arrays (n_out, sub-blocks)
        Whole numbers; ones and zeros where a format has none.
    d, dmin : float32 arrays (n_out, blocks)
        What they are multiplied with.
    unit : float
        `d` is this times the float16 of the block.
    """

    unit = 1.0
    codes: npt.NDArray[np.int16]
    scales: npt.NDArray[np.int32]
    mins: npt.NDArray[np.int32]
    d: FloatArray
    dmin: FloatArray

    def __init__(self, tensor: QTensor) -> None:
        self._given = tensor

    def tensor(self) -> QTensor:
        """The numbers as blocks."""
        given, n = self._given, self.d.size
        flat = (x.reshape(n, -1) for x in (self.codes, self.scales, self.mins, self.d, self.dmin))
        return QTensor(given.format, self._blocks(*flat).reshape(given.blocks.shape), given.shape)

    def _blocks(self, codes: Any, scales: Any, mins: Any, d: Any, dmin: Any) -> npt.NDArray[Any]:
        raise NotImplementedError


class CodeNumbers(BlockNumbers):
    """Those of a format with a code for each weight."""

    def __init__(self, known: BlockBits, tensor: QTensor) -> None:
        super().__init__(tensor)
        n_out, n_in = tensor.shape
        self._known = known
        per_row = n_in // tensor.format.block_size
        parts = tensor.unpack()
        subs = parts.scales.shape[1]
        self.codes = parts.codes.astype(np.int16).reshape(n_out, n_in)
        self.d = np.ones((n_out, per_row), np.float32)
        self.dmin = np.zeros((n_out, per_row), np.float32)
        self.scales = np.ones((n_out, subs), np.int32)
        self.mins = np.zeros((n_out, subs), np.int32)
        self.d[:] = tensor.blocks[known.factor]
        if known.scales is not None:
            self.scales[:] = self._of_sub_blocks("scales")
        if known.min_factor is not None:
            self.dmin[:] = tensor.blocks[known.min_factor]
            self.mins[:] = known.min_sign if known.mins is None else self._of_sub_blocks("mins")

    def _of_sub_blocks(self, name: str) -> npt.NDArray[np.int32]:
        """The sub-scales or sub-minimums, with the factors set to 1."""
        given = self._given
        blocks = np.array(given.blocks)
        for factor in (self._known.factor, self._known.min_factor):
            if factor is not None:
                blocks[factor] = 1
        numbers: npt.NDArray[np.int32] = np.rint(
            getattr(QTensor(given.format, blocks, given.shape).unpack(), name)
        ).astype(np.int32)
        return numbers

    def _blocks(self, codes: Any, scales: Any, mins: Any, d: Any, dmin: Any) -> npt.NDArray[Any]:
        known = self._known
        values = {"codes": codes, "factor": d.reshape(-1)}
        if known.scales is not None:
            values["scales"] = scales
        if known.min_factor is not None:
            values["min_factor"] = dmin.reshape(-1)
        if known.mins is not None:
            values["mins"] = mins
        return known.put(self._given.blocks.reshape(-1), values)


class EntryNumbers(BlockNumbers):
    """Those of a format whose groups are entries of a codebook: `scales` are odd numbers 1 … 31, `mins` zeros."""

    def __init__(self, tensor: QTensor) -> None:
        super().__init__(tensor)
        n_out, n_in = tensor.shape
        blocks = np.array(tensor.blocks)
        self.codes = tensor.unpack().codes.astype(np.int16).reshape(n_out, n_in)
        d = blocks["d"].astype(np.float32)
        blocks["d"] = 1
        scales = QTensor(tensor.format, blocks, tensor.shape).unpack().scales
        self.unit = _unit(tensor.format)
        self.scales = np.rint(scales / self.unit).astype(np.int32).reshape(n_out, -1)
        self.mins = np.zeros_like(self.scales)
        self.d = d * np.float32(self.unit)
        self.dmin = np.zeros_like(self.d)

    def _blocks(self, codes: Any, scales: Any, mins: Any, d: Any, dmin: Any) -> npt.NDArray[Any]:
        fmt = self._given.format
        blocks = np.empty(len(d), fmt.dtype)
        factors, steps = (d / np.float32(self.unit)).reshape(-1), (scales // 2).astype(np.uint8)
        fmt.lattice.write(factors, steps, codes, blocks.view(fmt.kernel_dtype))
        return blocks


def numbers_of(tensor: QTensor) -> BlockNumbers | None:
    """The numbers of a matrix; None where no float16 stands before its codes.

    Raises
    ------
    MethodError
        For a format whose codes cannot be chosen one by one.

    Examples
    --------
    >>> from qviz.formats import quantize
    >>> numbers = numbers_of(quantize([[-8.0, *range(-7, 8), *[0] * 16]], "Q4_0"))
    >>> numbers.d.tolist(), numbers.codes[0, :4].tolist()
    ([[1.0]], [-8, -7, -6, -5])
    """
    if tensor.format.lattice is not None:
        return EntryNumbers(tensor)
    known = bits_of(tensor.format)
    return None if known.factor is None else CodeNumbers(known, tensor)


def has_numbers(fmt: Format) -> bool:
    """Whether codes of a format can be chosen one by one, or group by group.

    Examples
    --------
    >>> from qviz.formats import get
    >>> has_numbers(get("Q4_K")), has_numbers(get("TQ1_0"))
    (True, False)
    """
    if fmt.lattice is not None:
        return True
    try:
        bits_of(fmt)
    except MethodError:
        return False
    return True


def _unit(fmt: Format) -> float:
    """What a block whose d is 1 multiplies its odd numbers with."""
    block = np.zeros((1, 1), fmt.dtype)
    block["d"] = 1
    return float(QTensor(fmt, block, (1, fmt.block_size)).unpack().scales.flat[0])

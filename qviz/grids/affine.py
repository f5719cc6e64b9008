"""Integer grids: a weight becomes a small integer, a group of weights shares one step and one zero.

::

    code = clamp(round(x / scale) + zero_point, qmin, qmax)        x̂ = scale · (code − zero_point)

`round` goes to the nearest integer, ties to the even one (as ``torch.round``). For `bits` = b:

============  ======================  ============================  ===============================
grid          codes                   scale                         zero_point
============  ======================  ============================  ===============================
asymmetric    0 … 2ᵇ − 1              (max − min) / (2ᵇ − 1)        round(−min / scale), an integer
symmetric     −2ᵇ⁻¹ … 2ᵇ⁻¹ − 1        2 · max|x| / (2ᵇ − 1)         0
============  ======================  ============================  ===============================

The range of an asymmetric group always holds 0 (min ≤ 0 ≤ max), so that zero stays exactly zero. A symmetric
group reaches as far down as up, even where all its weights are positive; its largest weight falls half-way
between the last code and the one after it, which does not exist. Either way no weight moves by more than
half a step.

These are the grids of GPTQ and AWQ (``quant.py`` in IST-DASLab/gptq, ``quantizer.py`` in
mit-han-lab/llm-awq), but a symmetric range always starts at −max|x|. GPTQ's starts at 0 where no weight is
negative, and so clips the upper half of the group.

How many weights share a scale is `group_size`, counted along a row (one row = one output channel):

============  ==========================================================================
group_size    a scale for
============  ==========================================================================
0             the whole tensor
−1            each row ("per channel")
n ≥ 1         each n weights of a row; the last group is short where n does not divide it
============  ==========================================================================

Examples
--------
Two bits, so codes 0 … 3 over the range −1 … 2: a step of 1, and zero is code 1.

>>> grid = AffineGrid(bits=2, group_size=-1)
>>> t = grid.quantize([[-1.0, 0.2, 0.5, 2.0]])
>>> t.codes.tolist(), t.scale.tolist(), t.zero_point.tolist()
([[0, 1, 1, 3]], [[1.0]], [[1]])
>>> t.dequantize().tolist()
[[-1.0, 0.0, 0.0, 2.0]]
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._arrays import dimensions, real_array, whole_array
from qviz._machine.kernels import bits_float, f32, float_bits, i32, kernel, u32
from qviz._types import FloatArray
from qviz.errors import GridError, shortened

PER_TENSOR = 0
PER_ROW = -1
_SCALE_BITS = 16  # a file stores scales as float16

# Up to here neither max − min nor the outermost level can leave float32's range.
_LARGEST = np.uint32(0x7F000000)  # bits of 2^127
_SIGN = np.uint32(0x80000000)
_MAGNITUDE = np.uint32(0x7FFFFFFF)
# Adding 1.5·2^23 leaves no room for a fraction: the FPU rounds, half to even, and unlike rint it vectorises.
_ROUNDER = np.float32(1.5 * 2**23)
_SMALLEST_SCALE = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class AffineGrid:
    """A uniform integer grid; see the module's text for the formulas.

    Parameters
    ----------
    bits : int
        Bits of a code, 1 to 16. One bit leaves two levels, one of them zero, so the weights of one sign
        vanish; a symmetric grid needs 2 bits, since with one every weight rounds to zero.
    group_size : int
        Weights of a row that share a scale; −1 for the whole row, 0 for the whole tensor.
    sym : bool
        Symmetric: no zero point, and the same range on both sides of zero.

    Raises
    ------
    GridError
        No such grid exists.

    Examples
    --------
    >>> AffineGrid(bits=3, sym=True).qmin, AffineGrid(bits=3, sym=True).qmax
    (-4, 3)
    >>> AffineGrid(bits=4, group_size=128).bpw((4096, 4096))
    4.15625
    """

    bits: int = 4
    group_size: int = 128
    sym: bool = False

    def __post_init__(self) -> None:
        # a frozen dataclass is filled through object; NumPy's integers and booleans become Python's
        object.__setattr__(self, "bits", _integer("bits", self.bits))
        object.__setattr__(self, "group_size", _integer("group_size", self.group_size))
        if not isinstance(self.sym, bool | np.bool_):
            raise GridError(f"sym must be True or False, got {shortened(self.sym)}")
        object.__setattr__(self, "sym", bool(self.sym))
        if not 1 <= self.bits <= 16:
            raise GridError(f"bits must be 1 to 16, got {self.bits}; with 16, float16 already is the finer grid")
        if self.bits == 1 and self.sym:
            raise GridError(
                "a symmetric grid needs bits ≥ 2: with bits=1 its codes are −1 and 0, and every weight "
                "rounds to 0; use sym=False or bits=2"
            )
        if self.group_size < PER_ROW:
            raise GridError(
                f"group_size must be n ≥ 1 weights, −1 (a scale for each row) or 0 (one for the tensor), "
                f"got {self.group_size}"
            )

    @property
    def qmin(self) -> int:
        """The smallest code."""
        return -(1 << self.bits - 1) if self.sym else 0

    @property
    def qmax(self) -> int:
        """The largest code."""
        return self.qmin + (1 << self.bits) - 1

    @property
    def granularity(self) -> str:
        """What shares a scale: ``"tensor"``, ``"channel"`` or ``"group"``."""
        return {PER_TENSOR: "tensor", PER_ROW: "channel"}.get(self.group_size, "group")

    @property
    def code_dtype(self) -> np.dtype[Any]:
        """The smallest integer dtype that holds the codes."""
        return np.dtype(f"{'i' if self.sym else 'u'}{1 if self.bits <= 8 else 2}")

    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of `scale` and `zero_point` for weights of `shape`.

        Examples
        --------
        >>> [AffineGrid(4, g).params_shape((8, 576)) for g in (128, -1, 0)]
        [(8, 5), (8, 1), (1, 1)]
        """
        shape = dimensions(shape, "shape", GridError, least=1)
        if not shape:
            raise GridError("shape is (); weights have rows")
        if self.group_size == PER_TENSOR:
            return (1,) * len(shape)
        return (*shape[:-1], 1 if self.group_size == PER_ROW else -(-shape[-1] // self.group_size))

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Bytes that weights of `shape` take in a file, as `bpw` counts them."""
        return -(-self._stored_bits(shape) // 8)

    def bpw(self, shape: tuple[int, ...]) -> float:
        """Bits per weight, everything counted.

        A code takes `bits`, each scale 16 (files keep it as float16; qviz computes in float32), and on an
        asymmetric grid each zero point another `bits`, packed like the codes.
        """
        return self._stored_bits(shape) / math.prod(shape)

    def _stored_bits(self, shape: tuple[int, ...]) -> int:
        shared = _SCALE_BITS + (0 if self.sym else self.bits)
        shape = dimensions(shape, "shape", GridError, least=1)
        return math.prod(shape) * self.bits + math.prod(self.params_shape(shape)) * shared

    def params(self, weight: npt.ArrayLike) -> tuple[FloatArray, npt.NDArray[np.int32]]:
        """Choose the scale and zero point of every group from its smallest and largest weight.

        Parameters
        ----------
        weight : array_like (n_out, n_in), or any shape (..., n)
            Finite numbers; converted to float32.

        Returns
        -------
        scale : float32 array (n_out, n_groups)
            Always positive. (n_out, 1) per row, (1, 1) per tensor.
        zero_point : int32 array (n_out, n_groups)
            The code of 0; all zeros on a symmetric grid.

        Raises
        ------
        GridError
            A weight is not finite, or 2¹²⁷ or more (then a level could overflow float32); `weight` is empty.

        Notes
        -----
        A group of nothing but zeros gets the range −1 … 1, as in GPTQ: any scale would do, but 0. A step
        below the smallest normal float32, 1.2e-38, is raised to it.
        """
        weight = self._weights(weight)
        shape = self.params_shape(weight.shape)
        scale, zero_point = np.empty(shape, np.float32), np.empty(shape, np.int32)
        rows, size = self._rows(weight)
        bad = _params(rows, size, self.qmin, self.qmax, self.sym, *self._flat(scale, zero_point, rows))
        self._refuse(weight, bad)
        return scale, zero_point

    def quantize(
        self, weight: npt.ArrayLike, params: tuple[npt.ArrayLike, npt.ArrayLike] | None = None
    ) -> AffineTensor:
        """Round weights onto the grid and keep the codes.

        Parameters
        ----------
        weight : array_like (n_out, n_in), or any shape (..., n)
            Finite numbers; converted to float32.
        params : (scale, zero_point), optional
            A grid chosen before, instead of `params` of these weights; what lies outside it is clipped.

        Returns
        -------
        AffineTensor

        Raises
        ------
        GridError
            As in `params`; or the given parameters do not fit.
        """
        weight = self._weights(weight)
        rows, size = self._rows(weight)
        scale, zero_point = self.params(weight) if params is None else self._given(params, weight)
        codes = np.empty(weight.shape, self.code_dtype)
        shared = self._flat(scale, zero_point, rows)
        _quantize(rows, size, self.qmin, self.qmax, *shared, codes.reshape(rows.shape))
        return AffineTensor(self, codes, scale, zero_point)

    def fake_quantize(
        self,
        weight: npt.ArrayLike,
        out: FloatArray | None = None,
        params: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    ) -> FloatArray:
        """Round weights onto the grid in one pass: the same as ``quantize(weight).dequantize()``.

        Parameters
        ----------
        weight : array_like (n_out, n_in), or any shape (..., n)
            Finite numbers; converted to float32.
        out : float32 array of the weights' shape, optional
            C-contiguous; written in place of a new array. May be `weight` itself.
        params : (scale, zero_point), optional
            As in `quantize`.

        Returns
        -------
        float32 array of the weights' shape

        Raises
        ------
        GridError
            As in `quantize`; or `out` does not fit.

        Examples
        --------
        >>> AffineGrid(bits=2, group_size=-1).fake_quantize([[-1.0, 0.2, 0.5, 2.0]]).tolist()
        [[-1.0, 0.0, 0.0, 2.0]]
        """
        weight = self._weights(weight)
        out = _output(out, weight.shape)
        rows, size = self._rows(weight)
        target = out.reshape(rows.shape)
        if params is None:
            self._refuse(weight, _fake_quantize(rows, size, self.qmin, self.qmax, self.sym, target))
        else:
            shared = self._flat(*self._given(params, weight), rows)
            _fake_quantize_given(rows, size, self.qmin, self.qmax, *shared, target)
        return out

    def levels(self, scale: npt.ArrayLike, zero_point: npt.ArrayLike) -> FloatArray:
        """Every value that the grid can represent, lowest first.

        Parameters
        ----------
        scale, zero_point : array_like
            For one group or for many, as `params` returns them.

        Returns
        -------
        float32 array (..., 2**bits)

        Examples
        --------
        >>> grid = AffineGrid(bits=2, group_size=-1)
        >>> grid.levels(*grid.params([-1.0, 0.2, 0.5, 2.0])).tolist()
        [[-1.0, 0.0, 1.0, 2.0]]
        """
        scales = real_array(scale, "scale", GridError)
        zeros = real_array(zero_point, "zero_point", GridError, (np.int32, np.int64, np.float32, np.float64))
        if scales.shape != zeros.shape and scales.ndim and zeros.ndim:
            raise GridError(f"scales {scales.shape} and zero points {zeros.shape} must have the same shape")
        steps = np.arange(self.qmin, self.qmax + 1) - zeros[..., None]
        levels: FloatArray = scales[..., None] * steps.astype(np.float32)
        return levels

    def _weights(self, weight: npt.ArrayLike) -> FloatArray:
        array = real_array(weight, "weight", GridError)
        if array.ndim == 0 or array.size == 0:
            raise GridError(f"a grid needs at least one row of weights, got an array of shape {array.shape}")
        return array

    def _rows(self, weight: FloatArray) -> tuple[FloatArray, int]:
        """The weights as rows, and the length of a group in them."""
        per_tensor = self.group_size == PER_TENSOR
        rows: FloatArray = weight.reshape(1, -1) if per_tensor else weight.reshape(-1, weight.shape[-1])
        length = rows.shape[1]
        return rows, min(self.group_size, length) if self.group_size > 0 else length

    @staticmethod
    def _flat(scale: FloatArray, zero_point: npt.NDArray[np.int32], rows: FloatArray) -> tuple[Any, Any]:
        return scale.reshape(len(rows), -1), zero_point.reshape(len(rows), -1)

    def _given(self, params: Any, weight: FloatArray) -> tuple[FloatArray, npt.NDArray[np.int32]]:
        try:
            scale, zero_point = params
        except (TypeError, ValueError):
            raise GridError(f"params must be (scale, zero_point), got {type(params).__name__}") from None
        expected = self.params_shape(weight.shape)
        scale = real_array(scale, "scale", GridError)
        zero = np.ascontiguousarray(zero_point)
        if scale.shape != expected or zero.shape != expected:
            raise GridError(
                f"group_size={self.group_size} and weights of shape {weight.shape} need scale and "
                f"zero_point of shape {expected}, got {scale.shape} and {zero.shape}"
            )
        if not (np.isfinite(scale) & (scale > 0)).all():
            raise GridError(f"every scale must be a positive number, the smallest is {scale.min()}")
        if zero.dtype.kind not in "iu" or zero.min() < self.qmin or zero.max() > self.qmax:
            raise GridError(
                f"zero points must be integers from {self.qmin} to {self.qmax}, got {zero.dtype} "
                f"from {zero.min()} to {zero.max()}"
            )
        self._refuse(weight, _first_bad(weight.reshape(-1)))
        return scale, zero.astype(np.int32)

    @staticmethod
    def _refuse(weight: FloatArray, bad: int) -> None:
        if bad < 0:
            return
        index = tuple(int(i) for i in np.unravel_index(bad, weight.shape))
        value = weight[index]
        if np.isfinite(value):
            why = "a grid that reaches ±2^127 overflows float32; scale the weights down first"
        else:
            why = "weights that share a scale must be finite; replace it first, e.g. with numpy.nan_to_num"
        raise GridError(f"weight {list(index)} is {value}: {why}")


@dataclass(frozen=True, eq=False)
class AffineTensor:
    """Weights on an `AffineGrid`.

    Attributes
    ----------
    grid : AffineGrid
        What `codes` mean.
    codes : int8, uint8, int16 or uint16 array of the weights' shape
        ``grid.qmin`` to ``grid.qmax``, one array element each (a file packs them to ``grid.bits``).
    scale : float32 array (..., n_groups)
    zero_point : int32 array (..., n_groups)

    Examples
    --------
    >>> AffineGrid(bits=4, group_size=32).quantize(np.ones((2, 64)))
    <AffineTensor 4 bits, group_size 32, asymmetric (2, 64): 74 bytes, 4.625 bpw>
    """

    grid: AffineGrid
    codes: npt.NDArray[Any]
    scale: FloatArray
    zero_point: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        if not isinstance(self.grid, AffineGrid):
            raise GridError(f"grid must be an AffineGrid, got {type(self.grid).__name__}")
        try:
            codes = np.asarray(self.codes)
        except ValueError as problem:  # rows of different lengths
            raise GridError(f"codes must be an array of whole numbers: {problem}") from None
        if codes.dtype not in (np.int8, np.uint8, np.int16, np.uint16) and codes.dtype.kind in "iu" and codes.size:
            # other integers, as long as they are codes
            if codes.min() < self.grid.qmin or codes.max() > self.grid.qmax:
                raise GridError(f"codes reach from {codes.min()} to {codes.max()}; {self.grid} has others")
            codes = codes.astype(self.grid.code_dtype)
        if codes.dtype.kind not in "iu" or not codes.ndim or not codes.size:
            raise GridError(f"codes must be an array of whole numbers, got {codes.dtype} {codes.shape}")
        object.__setattr__(self, "codes", codes)
        wanted = self.grid.params_shape(codes.shape)
        zeros = whole_array(
            self.zero_point, "zero_point", GridError, shape=wanted, least=-(1 << 31), most=(1 << 31) - 1, dtype=np.int32
        )
        object.__setattr__(self, "zero_point", zeros)
        object.__setattr__(self, "scale", real_array(self.scale, "scale", GridError, shape=wanted))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weights."""
        return self.codes.shape

    @property
    def bpw(self) -> float:
        """Bits per weight in a file; see `AffineGrid.bpw`."""
        return self.grid.bpw(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in a file, codes packed; see `AffineGrid.bpw`."""
        return self.grid.nbytes(self.shape)

    def dequantize(self, out: FloatArray | None = None) -> FloatArray:
        """Turn the codes back into weights.

        Parameters
        ----------
        out : float32 array of the tensor's shape, optional
            C-contiguous; written in place of a new array.

        Returns
        -------
        float32 array of the tensor's shape
        """
        out = _output(out, self.shape)
        rows, size = self.grid._rows(out)
        shared = self.grid._flat(self.scale, self.zero_point, rows)
        _dequantize(np.ascontiguousarray(self.codes).reshape(rows.shape), size, *shared, rows)
        return out

    def __repr__(self) -> str:
        kind = "symmetric" if self.grid.sym else "asymmetric"
        return (
            f"<AffineTensor {self.grid.bits} bits, group_size {self.grid.group_size}, {kind} {self.shape}: "
            f"{self.nbytes} bytes, {self.bpw:g} bpw>"
        )


def _integer(name: str, value: Any) -> int:
    try:
        number = operator.index(value)
        if isinstance(value, bool) or abs(number) >= 1 << 63:  # beyond what NumPy counts with
            raise TypeError
        return number
    except TypeError:
        raise GridError(f"{name} must be an integer, got {shortened(value)}") from None


def _output(out: FloatArray | None, shape: tuple[int, ...]) -> FloatArray:
    if out is None:
        return np.empty(shape, np.float32)
    fits = isinstance(out, np.ndarray) and out.dtype == np.float32 and out.shape == shape
    if not fits or not out.flags.carray:
        got = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise GridError(f"out must be a writable C-contiguous float32 array of shape {shape}, got {got}")
    return out


@kernel
def group_params(group, qmin, qmax, sym):
    """Scale and zero point of one group (a 1-D float32 array), and whether all its weights can be used.

    Floats of one sign order as their bits do. So the largest weight (or 0) is a maximum of signed integers,
    the smallest (or −0) one of unsigned integers; NaN and infinity come out on top; both loops vectorise.
    """
    highest, lowest = i32(0), _SIGN
    for j in range(group.size):
        bits = float_bits(group[j])
        highest = max(highest, i32(bits))
        lowest = max(lowest, bits)
    usable = u32(highest) < _LARGEST and lowest < u32(_LARGEST | _SIGN)
    high, low = bits_float(u32(highest)), bits_float(lowest)
    if sym:
        high = max(high, -low)
        low = -high
    if low == high:
        high, low = f32(1), f32(-1)
    scale = max(f32(f32(high - low) / f32(i32(qmax - qmin))), _SMALLEST_SCALE)
    zero = i32(0) if sym else i32(nearest(f32(-low / scale)))
    return scale, zero, usable


@kernel
def nearest(x):
    """The integer nearest to a float32 of magnitude ≤ 2²², ties to even, as a float32; never −0."""
    return f32(f32(x + _ROUNDER) - _ROUNDER)


@kernel
def steps_from_zero(x, scale, lowest, highest):
    """``code − zero_point`` of one weight, as a float32; `lowest`, `highest`: qmin, qmax less zero_point."""
    # clamped first: the same integer, and rounding then never meets a large number
    return nearest(min(max(f32(x / scale), lowest), highest))


@kernel
def _params(rows, size, qmin, qmax, sym, scales, zeros):
    for r in range(rows.shape[0]):
        for g in range(scales.shape[1]):
            group = rows[r, g * size : (g + 1) * size]
            scales[r, g], zeros[r, g], usable = group_params(group, qmin, qmax, sym)
            if not usable:
                return r * rows.shape[1] + g * size + _first_bad(group)
    return -1


@kernel
def _fake_quantize(rows, size, qmin, qmax, sym, out):
    for r in range(rows.shape[0]):
        for start in range(0, rows.shape[1], size):
            group = rows[r, start : start + size]
            scale, zero, usable = group_params(group, qmin, qmax, sym)
            if not usable:
                return r * rows.shape[1] + start + _first_bad(group)
            _snap(group, scale, f32(i32(qmin - zero)), f32(i32(qmax - zero)), out[r, start : start + size])
    return -1


@kernel
def _fake_quantize_given(rows, size, qmin, qmax, scales, zeros, out):
    for r in range(rows.shape[0]):
        for g in range(scales.shape[1]):
            lowest, highest = f32(i32(qmin - zeros[r, g])), f32(i32(qmax - zeros[r, g]))
            part = slice(g * size, (g + 1) * size)
            _snap(rows[r, part], scales[r, g], lowest, highest, out[r, part])


@kernel
def _snap(group, scale, lowest, highest, out):
    for j in range(group.size):
        out[j] = scale * steps_from_zero(group[j], scale, lowest, highest)


@kernel
def _quantize(rows, size, qmin, qmax, scales, zeros, codes):
    for r in range(rows.shape[0]):
        for g in range(scales.shape[1]):
            zero, scale = zeros[r, g], scales[r, g]
            lowest, highest = f32(i32(qmin - zero)), f32(i32(qmax - zero))
            group, out = rows[r, g * size : (g + 1) * size], codes[r, g * size : (g + 1) * size]
            for j in range(group.size):
                out[j] = i32(i32(steps_from_zero(group[j], scale, lowest, highest)) + zero)


@kernel
def _dequantize(codes, size, scales, zeros, out):
    for r in range(out.shape[0]):
        for g in range(scales.shape[1]):
            zero, scale = zeros[r, g], scales[r, g]
            group, weights = codes[r, g * size : (g + 1) * size], out[r, g * size : (g + 1) * size]
            for j in range(group.size):
                weights[j] = scale * f32(i32(i32(group[j]) - zero))


@kernel
def _first_bad(x):
    """Where the first weight stands that no grid can hold, or −1."""
    for j in range(x.size):
        if u32(float_bits(x[j]) & _MAGNITUDE) >= _LARGEST:
            return j
    return -1

"""What the user handed over, as arrays and numbers that kernels can take."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz.errors import CalibrationError, QvizError, shortened

Shape = tuple[int | str, ...]
_LARGEST = float(np.finfo(np.float64).max)  # a whole number may be larger
MOST_NUMBERS = 1 << 32
"""Of an array that is handed over: a view of one number can claim any."""
MOST_WEIGHTS = 1 << 59
"""Of a shape: NumPy counts bytes in 63 bits, an axis of length 0 as 1, and no number here has more than 8 bytes."""
_MOST_AXES = 64  # NumPy's own limit


def real_array(
    x: Any,
    what: str,
    error: type[QvizError],
    dtypes: tuple[Any, ...] = (np.float32,),
    *,
    shape: Shape | None = None,
) -> npt.NDArray[Any]:
    """`x` as a C-contiguous array of one of `dtypes`; no copy if it is one already.

    Parameters
    ----------
    x : array_like or tensor
        Numbers, or anything with a ``dequantize()`` method (a `QTensor`, an `AffineTensor`).
    what : str
        What to call it in an error, e.g. ``"weight"``.
    error : type of QvizError
        Raised if `x` is not an array of real numbers.
    dtypes : tuple of data-type
        Kept as they are; anything else is converted to the first.
    shape : tuple of int and str, optional
        The shape that is wanted; a name stands for any length but 0: ``("n_tokens", 64)``.

    Examples
    --------
    >>> real_array([1, 2], "weight", QvizError)
    array([1., 2.], dtype=float32)
    >>> real_array([1, 2], "x", QvizError, shape=("n_tokens", 2))
    Traceback (most recent call last):
    qviz.errors.QvizError: x has shape (2,); an array of shape (n_tokens, 2) is wanted
    """
    dequantize = getattr(x, "dequantize", None)
    if callable(dequantize):
        x = dequantize()
    array = as_array(x, what, error)
    if array.dtype.kind not in "fiub":
        raise error(
            f"{what} must be real numbers, got {type(x).__name__} holding {array.dtype}; "
            f"pass a NumPy array or a tensor that can be dequantized"
        )
    if shape is not None:
        check_shape(array, what, error, shape)
    # `>` strips the byte order, which numba cannot read
    dtype = next((d for d in dtypes if array.dtype == d), dtypes[0])
    try:
        if array.dtype != dtype:
            with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, for the caller to refuse
                array = array.astype(dtype, order="C")
        return np.ascontiguousarray(array).reshape(array.shape)
    except MemoryError as problem:
        raise error(f"{what} of shape {array.shape} is too much for the memory; take less at once") from problem


def finite_array(
    x: Any,
    what: str,
    error: type[QvizError],
    dtypes: tuple[Any, ...] = (np.float32,),
    *,
    shape: Shape | None = None,
) -> npt.NDArray[Any]:
    """`real_array` without NaN and infinity.

    Examples
    --------
    >>> finite_array([1.0, float("nan")], "losses", QvizError)
    Traceback (most recent call last):
    qviz.errors.QvizError: losses holds nan; finite numbers are wanted
    """
    array = real_array(x, what, error, dtypes, shape=shape)
    good = np.isfinite(array)
    if not good.all():
        raise error(f"{what} holds {array[~good][0]}; finite numbers are wanted")
    return array


def as_array(x: Any, what: str, error: type[QvizError], kind: str = "numbers") -> npt.NDArray[Any]:
    """`x` as an array of whatever dtype and shape."""
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise error(f"{what} has masked values, which stand for none; fill them first, as with x.filled(0)")
    try:
        array = np.asarray(x)
    except MemoryError:
        raise
    except Exception as problem:  # rows of different lengths; a tensor on a GPU, or one that wants its gradient
        raise error(f"{what} must be an array of {kind}: {problem}") from None
    if array.size > MOST_NUMBERS or (not array.size and claimed(array.shape) > MOST_NUMBERS):
        raise error(f"{what} has shape {array.shape}; at most {MOST_NUMBERS:,} {kind} are taken at once")
    return array


def whole_array(
    x: Any, what: str, error: type[QvizError], *, shape: Shape, least: int, most: int, dtype: Any = np.int64
) -> npt.NDArray[Any]:
    """`x` as a `dtype` array of that shape (see `real_array`), each value in `least` … `most`; dtype None: its own.

    Examples
    --------
    >>> whole_array([3, 1], "tokens", QvizError, shape=("n_tokens",), least=0, most=2)
    Traceback (most recent call last):
    qviz.errors.QvizError: tokens holds 3; whole numbers from 0 to 2 are wanted
    """
    array = as_array(x, what, error, "whole numbers")
    if array.dtype.kind not in "iu" and (array.size or array.dtype.kind != "f"):
        raise error(f"{what} must be whole numbers, got {type(x).__name__} holding {array.dtype}")
    check_shape(array, what, error, shape)
    low, high = (array.min(), array.max()) if array.size else (least, least)
    if low < least or high > most:
        wrong = low if low < least else high
        raise error(f"{what} holds {wrong}; whole numbers from {least:,} to {most:,} are wanted")
    return np.ascontiguousarray(array, dtype or array.dtype)


def check_shape(array: npt.NDArray[Any], what: str, error: Callable[[str], QvizError], shape: Shape) -> None:
    """Refuse an array of another shape; see `real_array`."""
    fits = len(shape) == array.ndim and all(
        n == wanted if isinstance(wanted, int) else n > 0 for n, wanted in zip(array.shape, shape, strict=True)
    )
    if not fits:
        wanted = f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
        least = ", with at least one of each" if 0 in array.shape else ""
        raise error(f"{what} has shape {array.shape}; an array of shape {wanted} is wanted{least}")


def whole_number(x: Any, what: str, error: Callable[[str], QvizError], *, least: int, most: int | None = None) -> int:
    """`x` as an int in `least` … `most`; True is none, nor is 2.0.

    Examples
    --------
    >>> whole_number(2.0, "n_ctx", QvizError, least=1)
    Traceback (most recent call last):
    qviz.errors.QvizError: n_ctx is 2.0; a whole number of at least 1 is wanted
    """
    whole = isinstance(x, int | np.integer) and not isinstance(x, bool)
    if whole and most is None and x >= 1 << 64:  # no use has so large a number, and Python prints none of 5000 digits
        most = (1 << 64) - 1
    if not whole or x < least or (most is not None and x > most):
        limits = f"of at least {least:,}" if most is None else f"from {least:,} to {most:,}"
        raise error(f"{what} is {shortened(x)}; a whole number {limits} is wanted")
    return int(x)


def finite_number(
    x: Any,
    what: str,
    error: Callable[[str], QvizError],
    *,
    least: float = -np.inf,
    above: float = -np.inf,
    most: float = np.inf,
) -> float:
    """`x` as a finite float in `least` … `most` that is greater than `above`.

    Examples
    --------
    >>> finite_number(float("nan"), "temperature", QvizError, least=0)
    Traceback (most recent call last):
    qviz.errors.QvizError: temperature is nan; a finite number of at least 0 is wanted
    """
    x = x.item() if isinstance(x, np.generic) else x  # to a float16, most limits are infinite
    real = isinstance(x, int | float | np.floating) and not isinstance(x, bool)
    if not real or not (abs(x) <= _LARGEST and x > above and least <= x <= most):
        limits = [f"of at least {least:g}"] if least > -np.inf else []
        limits += [f"above {above:g}"] if above > -np.inf else []
        limits += [f"at most {most:g}"] if most < np.inf else []
        raise error(f"{what} is {shortened(x)}; a finite number{' ' if limits else ''}{' and '.join(limits)} is wanted")
    return float(x)


def whole_numbers(numbers: Any, what: str, error: Callable[[str], QvizError], *, least: int = 0) -> tuple[int, ...]:
    """`numbers` as a tuple of ints of at least `least`.

    Examples
    --------
    >>> whole_numbers((2, -1), "layers", QvizError)
    Traceback (most recent call last):
    qviz.errors.QvizError: layers is (2, -1); whole numbers of at least 0 are wanted
    """
    items = numbers.tolist() if isinstance(numbers, np.ndarray) and numbers.size < 1 << 20 else numbers
    if not isinstance(items, list | tuple) or not all(
        isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= least for n in items
    ):
        raise error(f"{what} is {shortened(numbers)}; whole numbers of at least {least} are wanted")
    return tuple(int(n) for n in items)


def dimensions(shape: Any, what: str, error: Callable[[str], QvizError], *, least: int = 0) -> tuple[int, ...]:
    """`shape` as a tuple of ints of at least `least` that NumPy can make an array of, an empty one included.

    Examples
    --------
    >>> dimensions((0, 2**60), "shape", QvizError)
    Traceback (most recent call last):
    qviz.errors.QvizError: shape is (0, 1152921504606846976); more weights than memory can address
    """
    lengths = whole_numbers(shape, what, error, least=least)
    if len(lengths) > _MOST_AXES:
        raise error(f"{what} has {len(lengths)} axes; at most {_MOST_AXES} are taken")
    if claimed(lengths) > MOST_WEIGHTS:
        raise error(f"{what} is {shortened(lengths)}; more weights than memory can address")
    return lengths


def claimed(shape: Sequence[int]) -> int:
    """How many numbers the axes of `shape` stand for, those of length 0 left out, as NumPy counts them.

    Examples
    --------
    >>> claimed((0, 3, 2))
    6
    """
    return math.prod(shape) or math.prod(n for n in shape if n)


def flag(x: Any, what: str, error: Callable[[str], QvizError]) -> bool:
    """`x` as a bool: True, False, or 1 and 0 for them."""
    if not isinstance(x, bool | np.bool_ | int) or x not in (0, 1):
        raise error(f"{what} is {shortened(x)}; True or False is wanted")
    return bool(x)


def one_of(x: Any, what: str, choices: Collection[str], error: Callable[[str], QvizError]) -> str:
    """`x` if it is one of a few words."""
    if not isinstance(x, str) or x not in choices:
        raise error(f"{what} must be {', '.join(choices)}, got {shortened(x)}")
    return x


def token_rows(x: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Check inputs x (..., n_in) of a layer, and return them as rows (n_tokens, n_in).

    Raises
    ------
    CalibrationError
        No tokens, or a value that is not finite.
    """
    array = real_array(x, "x", CalibrationError)
    if array.ndim < 2 or array.size == 0:
        raise CalibrationError(f"x must be (n_tokens, n_in) and not empty, got shape {array.shape}")
    array = array.reshape(-1, array.shape[-1])
    if not np.isfinite(array).all():
        token, channel = (int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise CalibrationError(
            f"x[{token}, {channel}] is {array[token, channel]}: inputs must be finite; "
            "look for an overflow in the layer before, or run the model in float32"
        )
    return array

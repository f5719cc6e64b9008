"""What the user handed over, as arrays and numbers that kernels can take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz.errors import QvizError

Shape = tuple[int | str, ...]


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
    try:
        array = np.asarray(x)
    except ValueError as problem:  # rows of different lengths
        raise error(f"{what} must be an array of numbers: {problem}") from None
    if array.dtype.kind not in "fiub":
        raise error(
            f"{what} must be real numbers, got {type(x).__name__} holding {array.dtype}; "
            f"pass a NumPy array or a tensor that can be dequantized"
        )
    if shape is not None:
        check_shape(array, what, error, shape)
    # `>` strips the byte order, which numba cannot read
    dtype = next((d for d in dtypes if array.dtype == d), dtypes[0])
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, for the caller to refuse
        return np.ascontiguousarray(array, np.dtype(dtype)).reshape(array.shape)


def whole_array(
    x: Any, what: str, error: type[QvizError], *, shape: Shape, least: int, most: int
) -> npt.NDArray[np.int64]:
    """`x` as an int64 array of that shape (see `real_array`), each value in `least` … `most`.

    Examples
    --------
    >>> whole_array([3, 1], "tokens", QvizError, shape=("n_tokens",), least=0, most=2)
    Traceback (most recent call last):
    qviz.errors.QvizError: tokens holds 3; whole numbers from 0 to 2 are wanted
    """
    try:
        array = np.asarray(x)
    except ValueError as problem:
        raise error(f"{what} must be an array of whole numbers: {problem}") from None
    if array.dtype.kind not in "iu" and array.size:
        raise error(f"{what} must be whole numbers, got {type(x).__name__} holding {array.dtype}")
    check_shape(array, what, error, shape)
    wrong = array[(array < least) | (array > most)]
    if wrong.size:
        raise error(f"{what} holds {wrong[0]}; whole numbers from {least:,} to {most:,} are wanted")
    return np.ascontiguousarray(array, np.int64)


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
    if not whole or x < least or (most is not None and x > most):
        limits = f"of at least {least:,}" if most is None else f"from {least:,} to {most:,}"
        raise error(f"{what} is {_shown(x)}; a whole number {limits} is wanted")
    return int(x)


def finite_number(
    x: Any, what: str, error: Callable[[str], QvizError], *, least: float | None = None, above: float | None = None
) -> float:
    """`x` as a finite float that is at least `least`, or greater than `above`.

    Examples
    --------
    >>> finite_number(float("nan"), "temperature", QvizError, least=0)
    Traceback (most recent call last):
    qviz.errors.QvizError: temperature is nan; a finite number of at least 0 is wanted
    """
    real = isinstance(x, int | float | np.integer | np.floating) and not isinstance(x, bool)
    fits = real and abs(x) < np.inf and (least is None or x >= least) and (above is None or x > above)
    if not fits:
        limits = f" of at least {least:g}" if least is not None else f" above {above:g}" if above is not None else ""
        raise error(f"{what} is {_shown(x)}; a finite number{limits} is wanted")
    return float(x)


def _shown(x: Any) -> str:
    """`repr`, cut to what fits a line."""
    if isinstance(x, int) and x.bit_length() > 256:
        return f"a whole number of {x.bit_length()} bits"
    text = f"an array of shape {x.shape}" if isinstance(x, np.ndarray) and x.size > 4 else repr(x)
    return text if len(text) <= 80 else f"{text[:80]}..."

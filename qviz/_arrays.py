"""What the user handed over, as an array that kernels can take."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from qviz.errors import QvizError


def real_array(x: Any, what: str, error: type[QvizError], dtypes: tuple[Any, ...] = (np.float32,)) -> npt.NDArray[Any]:
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

    Examples
    --------
    >>> real_array([1, 2], "weight", QvizError)
    array([1., 2.], dtype=float32)
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
    # `>` strips the byte order, which numba cannot read
    dtype = next((d for d in dtypes if array.dtype == d), dtypes[0])
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, for the caller to refuse
        return np.ascontiguousarray(array, np.dtype(dtype)).reshape(array.shape)

"""Weights rounded to small floats and packed as compressed-tensors has them: FP8 a row a scale, and NVFP4."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qviz._arrays import real_array
from qviz._types import FloatArray
from qviz.checkpoints.packed.linear import FLOAT_LAYOUTS, PackedLinear
from qviz.errors import CheckpointError
from qviz.grids import E2M1, E4M3, two_level_scales

_GROUP = 16  # of NVFP4


def pack_floats(weight: npt.ArrayLike, format: str) -> PackedLinear:
    """Round one weight matrix to the nearest small floats, and pack it.

    Parameters
    ----------
    weight : array_like (n_out, n_in)
    format : {"float-quantized", "nvfp4-pack-quantized"}
        FP8 (E4M3), a scale for each row, which its largest weight fills; or FP4 (E2M1), for each 16 columns a scale in
        FP8, which one of the whole matrix makes fit.

    Returns
    -------
    PackedLinear

    Raises
    ------
    CheckpointError
        No such format, weights that are not finite, or rows that are not whole groups.

    Examples
    --------
    >>> packed = pack_floats([[1.0, -0.3, 0.0, 2.0]], "float-quantized")
    >>> packed.codes().tolist(), round(float(packed.dequantize()[0, 1]), 4)
    ([[118, 232, 0, 126]], -0.2857)
    """
    if format not in FLOAT_LAYOUTS:
        raise CheckpointError("no such format of small floats", found=format, expected=", ".join(FLOAT_LAYOUTS))
    w = real_array(weight, "weight", CheckpointError, shape=("n_out", "n_in"))
    if not np.isfinite(w).all():
        raise CheckpointError("weights must be finite; look for NaN or infinity in the model")
    return _fp8(w) if format == "float-quantized" else _nvfp4(w)


def _fp8(w: FloatArray) -> PackedLinear:
    scales = np.abs(w).max(axis=1, keepdims=True) / np.float32(E4M3.largest)
    scales[scales == 0] = 1
    codes = E4M3.encode(w / scales, saturate=True)
    return PackedLinear("float-quantized", 8, codes, None, scales, np.zeros(w.shape[1], np.int32), 1, len(w))


def _nvfp4(w: FloatArray) -> PackedLinear:
    n_out, n_in = w.shape
    if n_in % _GROUP:
        raise CheckpointError(f"rows are not whole groups of {_GROUP} weights", found=n_in)
    groups = w.reshape(n_out, -1, _GROUP)
    stored, whole, scales = two_level_scales(np.abs(groups).max(axis=-1), E2M1.largest)
    scales = scales[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(scales > 0, groups / scales, 0).astype(np.float32)
    codes = E2M1.encode(steps).reshape(n_out, n_in)
    words = codes[:, ::2] | codes[:, 1::2] << np.uint8(4)
    index = np.arange(n_in, dtype=np.int32) // np.int32(_GROUP)
    shape = (n_in // _GROUP, n_out)
    return PackedLinear("nvfp4-pack-quantized", 4, words, None, stored, index, *shape, np.array([whole], np.float32))

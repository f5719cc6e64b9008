"""Arrays that NumPy keeps together in an ``.npz`` file."""

from __future__ import annotations

import os
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._files.opening import as_path, open_file
from qviz._files.problems import failure
from qviz.errors import GGUFError, ModelNotFoundError, QvizError


def read_arrays(path: str | os.PathLike[str], *, error: type[QvizError] = GGUFError) -> dict[str, npt.NDArray[Any]]:
    """All arrays of an ``.npz`` file as `numpy.savez` writes it.

    Parameters
    ----------
    path : path-like
    error : type
        Kind of the error.

    Raises
    ------
    QvizError
        The kind asked for: no such file, not a regular one, no such archive, or one that unpacks to more than it holds.
    """
    where = as_path(path)
    try:
        open_file(where, error=error, wanted="the .npz file in it").close()  # no pipe, no device
    except ModelNotFoundError:
        raise failure(error, "there is no such file; check the path", where) from None
    try:
        with zipfile.ZipFile(where) as archive:
            unpacked = sum(part.file_size for part in archive.infolist())
        if unpacked > where.stat().st_size:  # what `savez` writes is not packed
            raise ValueError(f"it unpacks to {unpacked:,} bytes, more than it holds")
        with np.load(where, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as problem:  # zipfile, zlib and NumPy have a dozen kinds for what is damaged
        raise failure(error, f"no arrays can be read from it: {problem}", where) from None

"""Some rows of a tensor, or all of them, read from a file by position."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._files import OpenFile
from qviz.errors import GGUFError
from qviz.formats import QTensor
from qviz.gguf.header import TensorInfo


def read_rows(
    file: OpenFile, info: TensorInfo, first: int, last: int, buffer: bytearray | None = None
) -> npt.NDArray[Any]:
    """Rows `first` to `last` of a tensor, all leading axes counted through.

    A file that is cut or changed meanwhile ends in an error; a map would end this process, or give the weights of
    another model.

    Parameters
    ----------
    file : OpenFile
    info : TensorInfo
    first, last : int
    buffer : bytearray, optional
        Where to read to, if it is long enough. What was read before is overwritten.

    Returns
    -------
    array of ``info.format.dtype`` (last - first, blocks a row)
        A view of the buffer, writable.

    Raises
    ------
    GGUFError
        The tensor has no such rows; the file was closed, cut or changed.
    """
    fmt, n = info.format, info.shape[-1]
    row = fmt.row_size(n)
    start, stop = info.offset + first * row, info.offset + last * row
    if not info.offset <= start <= stop <= info.offset + info.nbytes:
        raise GGUFError(f"{info.name!r} has no rows {first} … {last}", path=info.path)
    if buffer is None or len(buffer) < stop - start:
        buffer = bytearray(stop - start)
    file.check()
    with memoryview(buffer) as view, view[: stop - start] as wanted:
        file.read_into(wanted, start)
    return np.frombuffer(buffer, fmt.dtype, (stop - start) // fmt.type_size).reshape(last - first, n // fmt.block_size)


def read_tensor(model: Any, name: str, part: int | None = None) -> QTensor:
    """A tensor of a model in memory of its own, or one part along its first axis.

    Parameters
    ----------
    model : Model, or another mapping of tensors
        Tensors of a mapping that is no file are taken as they are.
    name : str
    part : int, optional
        Which of several experts.

    Raises
    ------
    GGUFError
        The file was closed, cut or changed.
    """
    file = getattr(model, "file", None)
    if file is None:
        tensor: QTensor = model[name]
        return tensor if part is None else QTensor(tensor.format, tensor.blocks[part], tensor.shape[1:])
    shape = file.tensor_info[name].shape
    shape = shape if part is None else shape[1:]
    rows = math.prod(shape[:-1])
    first = 0 if part is None else part * rows
    read: QTensor = file.read_rows(name, first, first + rows)
    return QTensor(read.format, read.blocks.reshape(*shape[:-1], -1), shape)

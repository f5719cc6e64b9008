"""The model files of whisper.cpp: what stands in them, and how they are written.

::

    magic | eleven numbers | mel filters | tokens | type, name, shape, data of each tensor, to the end

As whisper.cpp's ``models/convert-pt-to-ggml.py`` writes them: nothing is padded, the row length stands first.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from qviz._files import as_path, replacing
from qviz.gguf.values import ByteLayout
from qviz.gguf.writer import TensorStream, entry_of

HEADER = (
    *("n_vocab", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer"),
    *("n_text_ctx", "n_text_state", "n_text_head", "n_text_layer", "n_mels", "ftype"),
)
"""The numbers at the head of a file, in order."""

VERSION_FACTOR = 1000
"""In the header, ``ftype`` is the version of the block layouts times this, plus a number for the format."""

_MAGIC = b"lmgg"


def tensor_names(header: Mapping[str, int]) -> Iterator[str]:
    """Every tensor of a model, in the order of OpenAI's checkpoints, which is that of the files people have.

    Parameters
    ----------
    header : mapping of str to int
        Only the numbers of layers matter.

    Examples
    --------
    >>> names = list(tensor_names({"n_audio_layer": 4, "n_text_layer": 4}))
    >>> len(names), names[2]
    (167, 'decoder.token_embedding.weight')
    """
    yield from ("decoder.positional_embedding", "encoder.positional_embedding", "decoder.token_embedding.weight")
    for layer in range(header["n_text_layer"]):
        yield from _block(f"decoder.blocks.{layer}", "attn", "cross_attn")
    yield from _both("decoder.ln", "encoder.conv1", "encoder.conv2")
    for layer in range(header["n_audio_layer"]):
        yield from _block(f"encoder.blocks.{layer}", "attn")
    yield from _both("encoder.ln_post")


def _block(place: str, *attentions: str) -> Iterator[str]:
    yield from _both(f"{place}.mlp_ln", f"{place}.mlp.0", f"{place}.mlp.2")
    for name in (f"{place}.{attention}" for attention in attentions):
        yield from _both(f"{name}_ln", f"{name}.query")
        yield f"{name}.key.weight"
        yield from _both(f"{name}.value", f"{name}.out")


def _both(*places: str) -> Iterator[str]:
    return (f"{place}.{part}" for place in places for part in ("weight", "bias"))


def shape_of(name: str, header: Mapping[str, int]) -> tuple[int, ...]:
    """The shape of one of `tensor_names`, in NumPy's order.

    Examples
    --------
    >>> header = {"n_text_state": 384, "n_vocab": 51864}
    >>> shape_of("decoder.token_embedding.weight", header), shape_of("decoder.blocks.0.mlp.2.weight", header)
    ((51864, 384), (384, 1536))
    """
    side = "audio" if name.startswith("encoder") else "text"
    width = header[f"n_{side}_state"]
    part, _, kind = name.rpartition(".")
    if kind == "positional_embedding":
        return header[f"n_{side}_ctx"], width
    if part.endswith("token_embedding"):
        return header["n_vocab"], width
    if part.endswith(("conv1", "conv2")):
        return (width, 1) if kind == "bias" else (width, header["n_mels"] if part.endswith("conv1") else width, 3)
    rows, columns = (4 * width if part.endswith(end) else width for end in ("mlp.0", "mlp.2"))
    return (rows,) if kind == "bias" or part.endswith(("ln", "ln_post")) else (rows, columns)


@contextlib.contextmanager
def stream(
    path: str | os.PathLike[str],
    header: Mapping[str, int],
    mel_filters: npt.NDArray[np.float32],
    tokens: Sequence[bytes],
    tensors: Mapping[str, object],
) -> Iterator[TensorStream]:
    """Write a file of whisper.cpp whose tensors come piece by piece; a ``with`` block, as of `qviz.gguf.stream`.

    Parameters
    ----------
    path : path-like
        Appears whole or not at all; an existing file is replaced.
    header : mapping of str to int
        A number for each of `HEADER`.
    mel_filters : float32 array (n_mels, n_fft)
        Spectrogram -> mel bands.
    tokens : sequence of bytes
        Text of each token, by id.
    tensors : mapping
        Name -> anything with a `format` and a `shape`, in the order in which their blocks will come.

    Yields
    ------
    TensorStream

    Raises
    ------
    GGUFError
        A tensor that has no place in such a file, tensors that are not complete at the end, or a file that cannot be
        written.
    """
    target = as_path(path)
    entries = [entry_of(name, tensor) for name, tensor in tensors.items()]
    with replacing(target) as file:
        file.write(_MAGIC + struct.pack(f"<{len(HEADER)}i", *(header[name] for name in HEADER)))
        file.write(struct.pack("<2i", *mel_filters.shape) + mel_filters.astype("<f4").tobytes())
        file.write(struct.pack("<i", len(tokens)) + b"".join(struct.pack("<i", len(token)) + token for token in tokens))
        out = _Records(file, target, entries, ByteLayout(3, "little"), alignment=1)
        yield out
        out.check_complete()


class _Records(TensorStream):
    """Tensors each with a header of its own, right before its data."""

    def append(self, blocks: npt.NDArray[np.generic]) -> None:
        entry = self.current
        if entry is not None and not self._written:
            dims = entry.dims
            self._file.write(struct.pack("<3i", len(dims), len(entry.raw_name), entry.format.type_id))
            self._file.write(struct.pack(f"<{len(dims)}i", *dims) + entry.raw_name)
        super().append(blocks)

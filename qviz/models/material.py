"""Texts, a photograph and captured inputs, in ``data/``."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qviz import gguf
from qviz._types import FloatArray
from qviz.errors import ModelNotFoundError, shortened
from qviz.models.known import data_file


def heldout_text() -> str:
    """English that the small model was not trained on, in ``data/``: for perplexity."""
    return data_file("tiny-heldout.txt").read_text(encoding="utf-8")


def calibration_text() -> str:
    """English that the small model was trained on, in ``data/``: for importance matrices and calibration.

    Never evaluate on what you calibrated on: `heldout_text` is for that.
    """
    return data_file("tiny-calibration.txt").read_text(encoding="utf-8")


def photo() -> npt.NDArray[np.uint8]:
    """A photograph, in ``data/``: a man behind a camera, CC0 by Lav Varshney.

    Returns
    -------
    uint8 array (256, 256)
        Greys, 0 is black and 255 white.

    Examples
    --------
    >>> photo().shape, photo().nbytes
    ((256, 256), 65536)
    """
    pixels: npt.NDArray[np.uint8] = np.load(data_file("photo.npy"), allow_pickle=False)
    return pixels


def mel_filters(bands: int) -> FloatArray:
    """Whisper's filters from a spectrogram to mel bands, in ``data/``.

    Parameters
    ----------
    bands : int
        80, or 128 of large-v3.

    Returns
    -------
    float32 array (bands, 201)

    Examples
    --------
    >>> mel_filters(80).shape
    (80, 201)
    """
    with np.load(data_file("whisper-mel-filters.npz"), allow_pickle=False) as stored:
        if not isinstance(bands, int | np.integer) or bands > 1 << 16 or f"mel_{bands}" not in stored:
            raise ModelNotFoundError(f"no mel filters of {shortened(bands)} bands; there are {', '.join(stored)}")
        filters: FloatArray = stored[f"mel_{bands}"]
    return filters + np.float32(0)  # one zero has a sign there, and none in whisper.cpp's files


def captured_inputs() -> dict[str, tuple[FloatArray, FloatArray]]:
    """What three layers of SmolLM2-135M-Instruct received on real text, in ``data/``: for calibration without a model.

    Real inputs have what the small model's have not: a few channels that are many times as large as the others. They
    go with the matrices in ``smollm2-slices``. Where three matrices share their inputs, they share the arrays.

    Returns
    -------
    dict of str to (calibration, held-out)
        Name of the matrix -> float32 arrays (1152, n_in) and (448, n_in), tokens of `calibration_text` and of
        `heldout_text`. They were stored as Q8_0, which moved them by half a percent.

    Raises
    ------
    ModelNotFoundError
        The file is missing.

    Examples
    --------
    >>> inputs = captured_inputs()
    >>> calibration, heldout = inputs["blk.14.attn_q.weight"]
    >>> calibration.shape, heldout.shape
    ((1152, 576), (448, 576))
    >>> size = abs(calibration).mean(axis=0)
    >>> bool(size.max() > 30 * np.median(size))  # one channel against the usual one
    True
    """
    inputs: dict[str, tuple[FloatArray, FloatArray]] = {}
    with gguf.read(data_file("smollm2-inputs.gguf")) as file:
        for layer in dict.fromkeys(name.rpartition(".")[0] for name in file):
            # channels are rows there, tokens are rows here
            both = [np.ascontiguousarray(file[f"{layer}.{part}"].dequantize().T) for part in ("calibration", "heldout")]
            inputs |= dict.fromkeys(file.metadata[f"qviz.inputs.{layer}"], (both[0], both[1]))
    return inputs

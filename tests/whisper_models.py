"""A small whisper model, the same on every machine, to be quantized by whisper.cpp and by us."""

import legacy_files as old
import numpy as np
from recipe_models import weights

TOKENS = [b"!", b"", b" \xf0\x9f", b"<|endoftext|>"]
MEL = weights("mel filters", (4, 7))
RECIPES = {"Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9}
K_RECIPES = {"Q2_K": 10, "Q3_K": 11, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14}


def tensors(width: int, *, half: bool) -> dict[str, old.Matrix]:
    """As whisper.cpp's converter stores them: all in F32, or matrices and convolutions in F16."""
    found = {}
    for name, shape in old.whisper_shapes(width).items():
        x = weights(name, shape, 2.0**-4)
        small = half and (old.is_whisper_matrix(name) or ("conv" in name and name.endswith("weight")))
        x = x.astype(np.float16) if small else x
        found[name] = old.Matrix(old.F16 if small else old.F32, shape, x.tobytes(), x.astype(np.float32))
    return found


def file(width: int, *, half: bool) -> bytes:
    """The whole file."""
    header = (*old.whisper_header(width), int(half))
    return old.whisper_file(tensors(width, half=half), header, TOKENS, MEL)

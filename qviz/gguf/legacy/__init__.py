"""Model files from before GGUF: GGML, GGMF and GGJT of LLaMA, and those of whisper.cpp.

The format was young and had no version at first, then three in ten days; `blocks` tells what changed. `read` opens any
of these files as a mapping from name to `QTensor`, so they decode, list and plot like a GGUF file; `convert` makes a
GGUF file of a LLaMA model.
"""

from __future__ import annotations

from qviz.gguf.legacy.blocks import LAYOUTS, LegacyFormat, repack, scale_error
from qviz.gguf.legacy.reader import LegacyFile, LegacyVocabulary, is_legacy, read
from qviz.gguf.legacy.to_gguf import convert

__all__ = [
    "LAYOUTS",
    "LegacyFile",
    "LegacyFormat",
    "LegacyVocabulary",
    "convert",
    "is_legacy",
    "read",
    "repack",
    "scale_error",
]

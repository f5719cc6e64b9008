"""What a file that is not GGUF seems to be, so that the error can say what to do about it."""

from __future__ import annotations

from typing import Any

_LEGACY = "a {} file from before GGUF; open it with qviz.gguf.legacy.read, or run `qviz convert` on it"

# Four-byte numbers of the years before GGUF, stored little-endian: their letters stand in reverse.
_STARTS = (
    (b"lmgg", _LEGACY.format("GGML")),
    (b"fmgg", _LEGACY.format("GGMF")),
    (b"tjgg", _LEGACY.format("GGJT")),
    (b"algg", "a GGLA file (a LoRA adapter from before GGUF)"),
    (b"nsgg", "a llama.cpp session file"),
    (b"FUGG", "GGUF with its magic number reversed: the program that wrote it swapped bytes"),
    (b"PK\x03\x04", "a zip archive, such as a PyTorch checkpoint; convert it to GGUF first"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; run `git lfs pull`"),
    (b"\x1f\x8b", "gzip data; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "zstd data; unpack it first"),
    (b"\xfd7zXZ", "xz data; unpack it first"),
    (b"\x80\x02", "a Python pickle, such as an old PyTorch checkpoint; convert it to GGUF first"),
    (b"\x89HDF", "an HDF5 file; convert it to GGUF first"),
    (b"{", "JSON text"),
    (b"\0\0\0\0", "zeros: an unfinished download, or space that was reserved and never written"),
)


def looks_like(buffer: Any) -> str:
    """``" (it looks like ...)"``, or an empty string.

    Parameters
    ----------
    buffer : bytes-like
        The file; only its first bytes are looked at.
    """
    head = bytes(buffer[:512])
    if head[8:10] == b'{"' and 2 <= int.from_bytes(head[:8], "little") < 1 << 32:
        return " (it looks like safetensors; run `qviz convert` on the folder of the model)"
    if head.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html", b"<?xml")):
        return " (it looks like a web page: the link led to a page, not to the file)"
    return next((f" (it looks like {what})" for start, what in _STARTS if head.startswith(start)), "")

"""A set of byte strings in which any part of a text is found in constant time, however long.

A hash of the whole text is kept for each of its beginnings; the hash of a part follows from two of them
(``h(ab) = h(a) · B^len(b) + h(b)`` modulo a prime). So a token of 200 kB costs no more to look for than one of two
bytes, and only what seems equal is compared byte by byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz._machine.kernels import kernel

_PRIME = 2**31 - 1  # products of two residues fit an int64
_BASE = 1_000_003


@dataclass(frozen=True)
class Strings:
    """Byte strings by content.

    Attributes
    ----------
    blob : uint8
        All of them, one after the other.
    starts : int64 (n + 1,)
        Where each begins, and the end of the last.
    slots : int64 (2^k, 4)
        A hash table, at most half full. In a row: size (0 in a free one), hash, where the string begins, its number.
    powers : int64
        ``B^k`` for each k up to the longest string.
    """

    blob: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int64]
    powers: npt.NDArray[np.int64]

    @classmethod
    def of(cls, strings: Sequence[bytes]) -> Strings:
        """Make them from strings, none of them empty and no two alike."""
        blob = np.frombuffer(b"".join(strings), np.uint8)
        starts = np.zeros(len(strings) + 1, np.int64)
        np.cumsum([len(string) for string in strings], out=starts[1:])
        slots = np.zeros((1 << max(3, (2 * len(strings)).bit_length()), 4), np.int64)
        _fill(blob, starts, slots)
        return cls(blob, starts, slots, _powers(int(np.diff(starts).max(initial=0)) + 1))


@kernel
def hash_text(text: Any) -> Any:
    """Hash of each beginning of a text: int64, one more than there are bytes."""
    hashes = np.empty(len(text) + 1, np.int64)
    hashes[0] = 0
    for i in range(len(text)):
        hashes[i + 1] = (hashes[i] * _BASE + text[i] + 1) % _PRIME
    return hashes


@kernel
def find(text: Any, hashes: Any, start: Any, stop: Any, blob: Any, slots: Any, powers: Any) -> Any:
    """Number of the string that equals ``text[start:stop]``, -1 if there is none."""
    size = stop - start
    if size >= len(powers):
        return -1
    key = (hashes[stop] - hashes[start] * powers[size]) % _PRIME
    slot = key & (len(slots) - 1)
    while slots[slot, 0]:
        if slots[slot, 1] == key and slots[slot, 0] == size:
            first, k = slots[slot, 2], 0
            while k < size and blob[first + k] == text[start + k]:
                k += 1
            if k == size:
                return slots[slot, 3]
        slot = (slot + 1) & (len(slots) - 1)
    return -1


@kernel
def _powers(n: Any) -> Any:
    powers = np.ones(n, np.int64)
    for k in range(1, n):
        powers[k] = powers[k - 1] * _BASE % _PRIME
    return powers


@kernel
def _fill(blob: Any, starts: Any, slots: Any) -> None:
    for index in range(len(starts) - 1):
        key = np.int64(0)
        for k in range(starts[index], starts[index + 1]):
            key = (key * _BASE + blob[k] + 1) % _PRIME
        slot = key & (len(slots) - 1)
        while slots[slot, 0]:
            slot = (slot + 1) & (len(slots) - 1)
        slots[slot, 0], slots[slot, 1] = starts[index + 1] - starts[index], key
        slots[slot, 2], slots[slot, 3] = starts[index], index

"""Damage to the bytes of a file, or to one value of its JSON."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

PIECES = [b"[", b"{", b'"', b"\\", b"\xff", b"\0", b"NaN", b"null", b"-1", b"1e999", b"\xed\xa0\x80"]
NUMBERS = [0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, 2**63, 2**64 - 1]
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 0.5, -0.0, 1e300, float("nan"), float("inf"), 2**31, 2**63, 10**20),
    *("", "a", "4", "<s>", "\u2581", "\ud800", "\0", "x" * 300, [], {}, [[]], {"": {}}, [None], ["a", "b"], [1, 2]),
)


def damaged(raw: bytes, rng: random.Random) -> bytes:
    """A few bits, numbers or stretches of bytes changed, taken away or doubled."""
    data = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            width = rng.choice((1, 4, 8))
            data[at : at + width] = (rng.choice(NUMBERS) % 256**width).to_bytes(width, "little")
        elif kind == 2:
            del data[at : at + rng.randrange(1, 50)]
        elif kind == 3:
            data[at:at] = data[at : at + rng.randrange(1, 50)]
        else:
            data[at:at] = rng.choice(PIECES)
    return bytes(data)


def damaged_json(raw: bytes, rng: random.Random) -> bytes | None:
    """Some values of a JSON text replaced, moved or taken away; None if it is no JSON text of several values."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        where, key = _somewhere(value, rng)
        if where is None:
            return None
        other, name = _somewhere(value, rng)
        kind = rng.randrange(4)
        if kind == 0:
            del where[key]
        elif kind == 1 and other is not None:
            where[key] = copy.deepcopy(other[name])
        elif kind == 2 and isinstance(where, dict):
            where[str(rng.choice(ODD))] = where.pop(key)
        else:
            where[key] = copy.deepcopy(rng.choice(ODD))
    return json.dumps(value).encode()


def _somewhere(value: Any, rng: random.Random) -> tuple[Any, Any]:
    """A container and a key in it; each level is as likely as the next, however many values it has."""
    found: tuple[Any, Any] = (None, None)
    while isinstance(value, dict | list) and value and (found[0] is None or rng.random() < 0.7):
        key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        found, value = (value, key), value[key]
    return found

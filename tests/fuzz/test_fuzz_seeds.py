"""Inputs that a fuzzer kept are tried on their reader, and some that are damaged at random.

``QVIZ_FUZZ=10000`` damages each seed so many times.
"""

import contextlib
import os
import random
from pathlib import Path

import pytest
from fuzz_readers import READERS

from qviz.errors import QvizError

SEEDS = sorted(path for path in (Path(__file__).parent / "seeds").rglob("*") if path.is_file())
DAMAGED = int(os.environ.get("QVIZ_FUZZ", "20"))
PIECES = [b"[", b"{", b'"', b"\\", b"\xff", b"\0", b"NaN", b"null", b"-1", b"1e999", b"\xed\xa0\x80"]
NUMBERS = [0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, 2**63, 2**64 - 1]


def damage(raw, rng):
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


def test_every_reader_has_seeds_and_they_are_small():
    assert {path.parent.name for path in SEEDS} == set(READERS)
    assert sum(path.stat().st_size for path in SEEDS) < 200_000


@pytest.mark.parametrize("seed", SEEDS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_reader_opens_or_refuses(seed, tmp_path):
    read, raw = READERS[seed.parent.name], seed.read_bytes()
    rng = random.Random(seed.name)
    for data in [raw, *(damage(raw, rng) for _ in range(DAMAGED))]:
        try:
            with contextlib.suppress(QvizError):
                read(data, tmp_path)
        except Exception:
            (tmp_path / "found").write_bytes(data)  # pytest keeps the folder
            raise

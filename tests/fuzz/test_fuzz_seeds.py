"""Inputs that a fuzzer kept are tried on their reader, and some that are damaged at random.

``QVIZ_FUZZ=10000`` damages each seed so many times.
"""

import contextlib
import os
import random
import zipfile
from pathlib import Path

import pytest
from damage import damaged, damaged_json
from fuzz_readers import JSON, READERS

from qviz.errors import QvizError

SEEDS = sorted(path for path in (Path(__file__).parent / "seeds").rglob("*") if path.is_file())
KEPT = sorted((Path(__file__).parent / "kept").glob("*.zip"))
DAMAGED = int(os.environ.get("QVIZ_FUZZ", "20"))


def test_every_reader_has_seeds_and_they_are_small():
    assert {path.parent.name for path in SEEDS} == {path.stem for path in KEPT} == set(READERS)
    assert sum(path.stat().st_size for path in SEEDS) < 200_000


@pytest.mark.parametrize("seed", SEEDS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_reader_opens_or_refuses(seed, tmp_path):
    read, raw = READERS[seed.parent.name], seed.read_bytes()
    rng = random.Random(seed.name)
    inputs = [raw, *(damaged(raw, rng) for _ in range(DAMAGED))]
    if seed.parent.name in JSON:
        inputs += [damaged_json(raw, rng) or b"" for _ in range(DAMAGED)]
    for data in inputs:
        try:
            with contextlib.suppress(QvizError):
                read(data, tmp_path)
        except Exception:
            (tmp_path / "found").write_bytes(data)  # pytest keeps the folder
            raise


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_what_a_fuzzer_kept(path, tmp_path):
    """Inputs that each reached something that none before them did, as ``run_atheris.py --keep`` left them."""
    with zipfile.ZipFile(path) as archive:
        inputs = {name: archive.read(name) for name in archive.namelist()}
    assert len(inputs) >= 10
    for name, data in inputs.items():
        try:
            with contextlib.suppress(QvizError):
                READERS[path.stem](data, tmp_path)
        except Exception as error:
            error.add_note(f"input {name} of {path.name}")
            raise

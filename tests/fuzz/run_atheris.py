"""Fuzz one reader, or each in turn: ``make fuzz``, ``make fuzz READER=gguf SECONDS=3600``.

What ends in anything but a `QvizError`, takes more than ten seconds, or more than two gigabytes, is written into
``artifacts/fuzz``; so is each input that reached something new. ``run_atheris.py READER --keep`` puts the fewest of
these that reach as much into ``kept/READER.zip``, where the next run begins and `test_fuzz_seeds` tries them.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Whose branches are followed
READING = [
    "qviz._files",
    "qviz.gguf",
    "qviz.checkpoints",
    "qviz.calibration.imatrix",
    "qviz.course.lesson.progress_file",
    "qviz.course.lesson.bank",
    "qviz.architectures",
    "qviz.transformer.tokenizer",
    "fuzz_readers",
]
_LIMITS = ["-timeout=10", "-rss_limit_mb=2048", "-max_len=65536"]
_SMALL = 2000  # bytes of what is kept; larger inputs reach little that none of these does


def compiled() -> list[str]:
    """Every module that holds kernels, and every other room: atheris follows all that an included package imports."""
    rooms = [path for path in sorted((HERE.parents[1] / "qviz").rglob("*.py")) if path.name != "__init__.py"]
    names = {".".join(path.relative_to(HERE.parents[1]).with_suffix("").parts): path for path in rooms}
    return [
        name
        for name, path in names.items()
        if not name.startswith(tuple(READING)) or "\n@kernel" in path.read_text(encoding="utf-8")
    ]


def _fuzz(reader: str, flags: list[str]) -> None:
    """One run of libFuzzer, which may start this script again with flags of its own."""
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is not installed here; run: pip install 'qviz-toolkit[fuzz]' (Python 3.11 to 3.13)")
    sys.path.insert(0, str(HERE))
    from damage import damaged_json

    with atheris.instrument_imports(include=READING, exclude=compiled()):
        from fuzz_readers import JSON, READERS

        from qviz.errors import QvizError

    folder = Path(tempfile.mkdtemp(prefix="qviz-fuzz-"))

    def once(data: bytes) -> None:
        with contextlib.suppress(QvizError):
            READERS[reader](data, folder)

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        """Every other input of a reader of JSON is damaged value by value."""
        changed = damaged_json(data, random.Random(seed)) if seed % 2 else None
        if changed is None or len(changed) > most:
            changed = atheris.Mutate(data, most)
        return changed

    for seed in sorted((HERE / "seeds" / reader).iterdir()):  # kernels are compiled before the clock runs
        once(seed.read_bytes())
    ours = {"custom_mutator": mutated} if reader in JSON else {}
    atheris.Setup([str(_again(reader)), *_LIMITS, *flags], once, **ours)
    atheris.Fuzz()


def _again(reader: str) -> Path:
    """A command that libFuzzer can start: this script, for a reader."""
    command = Path(tempfile.mkdtemp(prefix="qviz-fuzz-")) / "again"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {reader} "$@"\n', "utf-8")
    command.chmod(0o700)
    return command


def _corpus(reader: str) -> tuple[Path, list[str]]:
    """Where findings go, and the folders of inputs that are known."""
    found = HERE.parent.parent / "artifacts" / "fuzz" / reader
    (found / "corpus").mkdir(parents=True, exist_ok=True)
    if (kept := HERE / "kept" / f"{reader}.zip").exists():
        zipfile.ZipFile(kept).extractall(found / "corpus")
    return found, [str(found / "corpus"), str(HERE / "seeds" / reader)]


def _run(reader: str, seconds: int) -> int:
    """Fuzz for so long, beginning anew each minute: of every input, atheris keeps some kilobytes."""
    found, known = _corpus(reader)
    end = time.monotonic() + seconds
    while (left := round(end - time.monotonic())) > 0:
        flags = [f"-max_total_time={min(left, 60)}", "-print_final_stats=1", f"-artifact_prefix={found}/", *known]
        if code := _started(reader, flags):
            return code
    return 0


def _started(reader: str, flags: list[str]) -> int:
    """Its exit status; libFuzzer ends without clearing up, so what it writes for a while goes where it is swept."""
    with tempfile.TemporaryDirectory(prefix="qviz-fuzz-") as scratch:
        command = [sys.executable, __file__, reader, *flags]
        return subprocess.run(command, env={**os.environ, "TMPDIR": scratch}).returncode


def _keep(reader: str) -> None:
    """The fewest small inputs that reach what all of them do; written so that the same inputs make the same bytes."""
    _, known = _corpus(reader)
    with tempfile.TemporaryDirectory() as folder:
        small, merged = Path(folder) / "small", Path(folder) / "merged"
        small.mkdir()
        merged.mkdir()
        for path in (path for place in known for path in Path(place).iterdir() if path.stat().st_size <= _SMALL):
            shutil.copy(path, small)
        if _started(reader, ["-merge=1", str(merged), str(small)]):
            sys.exit(f"the inputs of {reader} could not be merged")
        inputs = {hashlib.sha1(raw).hexdigest()[:12]: raw for raw in (path.read_bytes() for path in merged.iterdir())}
    (HERE / "kept").mkdir(exist_ok=True)
    with zipfile.ZipFile(HERE / "kept" / f"{reader}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in sorted(inputs.items()):
            archive.writestr(zipfile.ZipInfo(name), raw, zipfile.ZIP_DEFLATED)


def main() -> None:
    """Fuzz the reader that is named, or all, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", nargs="?", default="")
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--keep", action="store_true", help="put what was found to reach something new into kept/")
    given, flags = parser.parse_known_args()
    if flags:
        return _fuzz(given.reader, flags)
    readers = [given.reader] if given.reader else sorted(path.name for path in (HERE / "seeds").iterdir())
    if given.keep:
        for reader in readers:
            _keep(reader)
        return None
    if failed := [reader for reader in readers if _run(reader, given.seconds)]:
        sys.exit(f"something was found in: {', '.join(failed)}; see artifacts/fuzz")


if __name__ == "__main__":
    main()

"""Fuzz one reader, or each in turn: ``make fuzz``, ``make fuzz READER=gguf SECONDS=3600``.

What ends in anything but a `QvizError`, takes more than ten seconds, or more than two gigabytes, is written into
``artifacts/fuzz``. Inputs that reached something new are kept there, too; copy small ones into ``seeds/``.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import subprocess
import sys
import tempfile
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
]
READING += ["qviz.transformer.tokenizer", "fuzz_readers"]


def compiled() -> list[str]:
    """Every module that holds kernels, and every other room: atheris follows all that an included package imports."""
    rooms = [path for path in sorted((HERE.parents[1] / "qviz").rglob("*.py")) if path.name != "__init__.py"]
    names = {".".join(path.relative_to(HERE.parents[1]).with_suffix("").parts): path for path in rooms}
    return [
        name
        for name, path in names.items()
        if not name.startswith(tuple(READING)) or "\n@kernel" in path.read_text(encoding="utf-8")
    ]


def _fuzz(reader: str, seconds: int) -> None:
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
    found = HERE.parent.parent / "artifacts" / "fuzz" / reader
    (found / "corpus").mkdir(parents=True, exist_ok=True)

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
    options = ["-timeout=10", "-rss_limit_mb=2048", "-max_len=65536", f"-max_total_time={seconds}"]
    options += ["-print_final_stats=1", f"-artifact_prefix={found}/"]
    options += [str(found / "corpus"), str(HERE / "seeds" / reader)]
    ours = {"custom_mutator": mutated} if reader in JSON else {}
    atheris.Setup([sys.argv[0], *options], once, **ours)
    atheris.Fuzz()


def main() -> None:
    """Fuzz here if a reader is named, else each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", nargs="?", default="")
    parser.add_argument("--seconds", type=int, default=300)
    given = parser.parse_args()
    if given.reader:
        return _fuzz(given.reader, given.seconds)
    readers = sorted(path.name for path in (HERE / "seeds").iterdir())
    failed = [
        reader
        for reader in readers
        if subprocess.run([sys.executable, __file__, reader, f"--seconds={given.seconds}"]).returncode
    ]
    if failed:
        sys.exit(f"something was found in: {', '.join(failed)}; see artifacts/fuzz")


if __name__ == "__main__":
    main()

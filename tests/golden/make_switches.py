"""Write ``switches.json``: digests of what llama.cpp's own ``llama-quantize`` makes with its switches.

Run ``python tests/golden/make_switches.py path/to/llama-quantize`` after a case in ``switch_cases.py`` is added. It was
made with llama.cpp 0c1e570, built for plain SSE2 from the sources in llama-cpp-python 0.3.36.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from switch_cases import CASES, digests, prepare  # noqa: E402


def main(program: str) -> None:
    """Run every case."""
    found = {}
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as where:
            folder = Path(where)
            source, matrix = prepare(folder, case)
            given = ["--imatrix", matrix.name] if matrix is not None else []
            out = folder / "out"
            out.mkdir()
            call = [program, *given, *case.arguments, source.name, "out/new.gguf", case.recipe, "2"]
            done = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=False)
            found[name] = digests(out) if done.returncode == 0 else "refused"
            print(name, done.returncode, list(found[name]) if done.returncode == 0 else done.stdout[-300:])
    (HERE / "switches.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])

"""Write ``split.json``: digests of the files that llama.cpp's gguf-split makes of models here.

Run ``python tests/golden/make_split.py PATH/TO/llama-gguf-split``; it was made with llama.cpp's commit 0c1e570, as
shipped in the sdist of llama-cpp-python 0.3.36.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from split_models import CASES, MODELS  # noqa: E402


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(tool: str) -> None:
    found = {}
    for name, make in MODELS.items():
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            source = make(folder)
            for options in CASES[name]:
                subprocess.run([tool, "--split", *options.split(), source, folder / "part"], check=True)
                parts = sorted(folder.glob("part-*.gguf"))
                subprocess.run([tool, "--merge", parts[0], folder / "merged.gguf"], check=True)
                found[f"{name} {options}"] = [*(digest(part) for part in parts), digest(folder / "merged.gguf")]
                for path in (*parts, folder / "merged.gguf"):
                    path.unlink()
    (HERE / "split.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])

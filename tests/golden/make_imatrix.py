"""Write ``imatrix.gguf``: what llama.cpp's llama-imatrix finds on the small model in F32; print the .dat form's digest.

Run ``python tests/golden/make_imatrix.py PATH/TO/llama-imatrix``; it was made with llama.cpp's commit 0c1e570, as
shipped in the sdist of llama-cpp-python 0.3.36.
"""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from split_models import tiny_in_f32  # noqa: E402

from qviz import gguf, models  # noqa: E402

OPTIONS = ["--chunks", "3", "-c", "256", "-b", "256", "-ub", "256", "-t", "1", "--no-ppl", "-fit", "off", "-fa", "off"]


def main(tool: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = tiny_in_f32()
        gguf.write(folder / "model.gguf", model.metadata, model)
        (folder / "cal.txt").write_text(models.calibration_text()[:6000])
        command = [str(Path(tool).resolve()), "-m", "model.gguf", "-f", "cal.txt", *OPTIONS]
        subprocess.run([*command, "-o", HERE / "imatrix.gguf"], cwd=folder, check=True)
        subprocess.run([*command, "-o", "imatrix.dat", "--output-format", "dat"], cwd=folder, check=True)
        print(hashlib.sha256((folder / "imatrix.dat").read_bytes()).hexdigest())


if __name__ == "__main__":
    main(sys.argv[1])

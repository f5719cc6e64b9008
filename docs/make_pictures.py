"""Draw the README's pictures: the real explorers, in a real JupyterLab, photographed.

Run ``python docs/make_pictures.py [NAME ...]``. Needs the ``test`` extra and a Chromium on the PATH.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from browser.lab import Lab, NotebookPage, browser  # noqa: E402

MODEL = 'import qviz; from qviz.widgets import *; model = qviz.load("smollm2-slices")'
EXPLORERS = {
    "bits": 'BitsExplorer(model, "token_embd.weight", bits=4)',
    "block": 'BlockExplorer(model, "blk.0.attn_q.weight")',
    "gptq": "GPTQExplorer()",
    "balance": """
rows = qviz.measure.recipe_table(max_tokens=10_000, speed=False)
balance = BalanceExplorer(rows, budget=6, files=qviz.measure.best_files())
balance.controls["imatrix"].value = balance.controls["best"].value = True
balance""",
}


def main() -> None:
    """Photograph each explorer by itself."""
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        lab = Lab(Path(folder))
        try:
            for name in sys.argv[1:] or EXPLORERS:
                code = EXPLORERS[name]
                notebook = NotebookPage(
                    chromium, lab, lab.notebook(f"{name}.ipynb", MODEL, code), width=1280, height=2200
                )
                notebook.run_all()
                notebook.views(name).wait_for()
                notebook.page.wait_for_timeout(1000)
                explorer = notebook.page.locator(".jp-OutputArea .qviz-explorer")
                explorer.screenshot(path=HERE / "pictures" / f"{name}.png")
                notebook.close()
        finally:
            lab.stop()


if __name__ == "__main__":
    main()

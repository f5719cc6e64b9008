"""How much memory a student needs: the kernel of each lesson and exercise, and the server beside it.

    python benchmarks/memory.py [--docs] [NAME ...]

Each notebook runs once in a kernel of its own. *Peak* is the most the kernel ever held, *resident* what it holds at the
end, *own* the part of that which no other process shares, another student's kernel among them: what one more student
costs a server. The first lesson, and that of the whole model, also run with nothing compiled or measured yet, as on a
new account; and with a Chromium on the PATH the first is opened in a JupyterLab, whose server is then measured.
``--docs`` writes the table into docs/teaching.md. Linux only: the numbers come from /proc.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
PAGE = NOTEBOOKS.parent / "docs" / "teaching.md"
BEGIN, END = "<!-- memory: written by benchmarks/memory.py --docs -->", "<!-- end of memory -->"
sys.path.insert(0, str(NOTEBOOKS.parent / "tests"))


def memory(process: int | str) -> dict[str, float]:
    """Peak, resident and own memory of a process, in MiB."""
    folder = Path("/proc") / str(process)
    lines = [*(folder / "status").read_text().splitlines(), *(folder / "smaps_rollup").read_text().splitlines()[1:]]
    kib = {key: float(rest.split()[0]) for key, _, rest in (line.partition(":") for line in lines) if " kB" in rest}
    own = kib["Private_Clean"] + kib["Private_Dirty"]
    return {"peak": kib["VmHWM"] / 1024, "resident": kib["VmRSS"] / 1024, "own": own / 1024}


@contextlib.contextmanager
def opened(path: Path, **environment: str) -> Iterator[NotebookClient]:
    """One notebook that ran from top to bottom in a kernel of its own, which is still there."""
    notebook = nbformat.read(path, 4)
    quiet = ["--IPKernelApp.log_level=ERROR"]
    where = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(notebook, timeout=3600, resources=where, extra_arguments=quiet)
    with client.setup_kernel(env=os.environ | environment):
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
        yield client


def run(path: Path, **environment: str) -> dict[str, float]:
    """What a notebook took."""
    start = time.perf_counter()
    with opened(path, **environment) as client:
        return {"seconds": time.perf_counter() - start, **memory(client.km.provisioner.pid)}


def server() -> dict[str, dict[str, float]]:
    """The server of a JupyterLab, before and after lesson 00 was opened and run in it; empty without a browser."""
    try:
        from browser.lab import Lab, NotebookPage, browser, chromium
    except ImportError:
        return {}
    if chromium() is None:
        return {}
    with tempfile.TemporaryDirectory() as folder, browser() as found:
        lab = Lab(Path(folder))
        try:
            idle = memory(lab.process.pid)
            page = NotebookPage(found, lab, lab.copy(NOTEBOOKS / "00_start_here.ipynb"))
            page.run_all()
            return {"JupyterLab, just started": idle, "JupyterLab, one lesson open": memory(lab.process.pid)}
        finally:
            lab.stop()


def measure(names: list[str]) -> dict[str, dict[str, float]]:
    """Everything, printed as it comes."""
    found: dict[str, dict[str, float]] = {}

    def tell(name: str, at: dict[str, float]) -> None:
        found[name] = at
        took = f"{at['seconds']:10.1f}" if "seconds" in at else ""
        print(f"{name:40}{at['peak']:8.0f}{at['resident']:10.0f}{at['own']:8.0f}{took}", flush=True)

    print(f"{'MiB':40}{'peak':>8}{'resident':>10}{'own':>8}{'seconds':>10}")
    with opened(NOTEBOOKS / "00_start_here.ipynb"):  # somebody else's kernel, to share with
        _measure(names, tell)
    return found


def _measure(names: list[str], tell: Callable[[str, dict[str, float]], None]) -> None:
    for path in [*sorted(NOTEBOOKS.glob("[0-9]*.ipynb")), *sorted(NOTEBOOKS.glob("exercises/source/*/*.ipynb"))]:
        name = path.stem if path.parent == NOTEBOOKS else f"exercises/{path.stem}"
        if not names or name.startswith(tuple(names)):
            tell(name, run(path))
    if not names:
        for name in ("00_start_here", "10_whole_model"):
            with tempfile.TemporaryDirectory() as cache:
                fresh = {"NUMBA_CACHE_DIR": f"{cache}/numba", "QVIZ_CACHE": f"{cache}/models"}
                tell(f"{name}, nothing compiled or measured", run(NOTEBOOKS / f"{name}.ipynb", **fresh))
        for what, at in server().items():
            tell(what, at)


def write(found: dict[str, dict[str, float]]) -> None:
    """Put the table into the teacher's page, between its two marks."""
    rows = ["| MiB | peak | at the end | its own | exercises: peak |", "|---|---|---|---|---|"]
    for name, at in found.items():
        if not name.startswith("exercises/"):
            other = found.get(f"exercises/{name}")
            cells = [f"{at[key]:.0f}" for key in ("peak", "resident", "own")]
            cells.append(f"{other['peak']:.0f}" if other else "")
            rows.append(f"| {name.replace('_', ' ')} | {' | '.join(cells)} |")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + "\n" + "\n".join(rows) + "\n" + END + after, encoding="utf-8")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("names", nargs="*", help="beginnings of names, such as 05 or exercises/05; all unless given")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/teaching.md")
    args = parser.parse_args()
    found = measure(args.names)
    if args.docs:
        write(found)


if __name__ == "__main__":
    main()

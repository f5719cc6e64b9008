"""Execute the lessons and write them back in one canonical form, so that running this twice changes no byte.

    python notebooks/build.py                  all of them, and the sources of the exercises
    python notebooks/build.py 00 04            lessons whose name starts so
    python notebooks/build.py exercises/04     exercises whose name starts so; exercises/ for all of them
    python notebooks/build.py --check          write nothing; exit 1 if a file would change
    python notebooks/build.py --prose 05       only words have changed: nothing runs, outputs stay as they are
    python notebooks/build.py --redraw 05      draw all stills anew, as after a change of a painter

To change a lesson, edit it in JupyterLab, save it, and run this. Each runs in a fresh kernel, in this folder. Kept are
the cells, their tags, and what they show; dropped are what differs between two runs or two machines (random cell ids,
times, the Python version) and widget models, which mean nothing without the kernel that made them: a widget is
stored as its text and a still (`stills.py`), which is drawn anew when what it shows has changed. A cell tagged
`nbval-ignore-output` shows what was measured, such as seconds: its stored output stays as it is until its source
changes (or its outputs are cleared). Then it is measured, and only on a quiet machine: times that were taken beside
other work contradict the text around them (`--busy` takes them all the same).
"""

from __future__ import annotations

import argparse
import base64
import difflib
import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))  # where this is run from elsewhere
import stills

PAGES = ("choosing.ipynb", "glossary.ipynb", "exercises/exercises.ipynb")
NOTEBOOKS = ("[0-9]*.ipynb", *PAGES, "exercises/source/*/*.ipynb")
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
PLOTLY = "application/vnd.plotly.v1+json"
STILLS = ("image/png", "image/jpeg")
KEPT_METADATA = (*STILLS, "still")
MEASURED = "nbval-ignore-output"  # the tag of cells whose outputs nobody compares
BUSY = 0.5  # programs at work for each core, beyond which times are not stored
SECONDS_A_CELL = 300  # the first use of a kernel may compile for a while


class BuildError(Exception):
    """A lesson that cannot be built; says which cell and why."""


def build(path: Path, busy: bool = False, redraw: bool = False, draw: bool = True) -> str:
    """Run a notebook and give its canonical text.

    Parameters
    ----------
    path : pathlib.Path
        The notebook; it is not changed.
    busy : bool
        Measure although other work is going on.
    redraw : bool
        Draw every still anew, whether or not what it shows has changed.
    draw : bool
        Draw stills at all; without it those that would have to be drawn are left out. Exercises have none: students
        get them without outputs.

    Returns
    -------
    str

    Raises
    ------
    BuildError
        Not a notebook; a cell failed, or wrote to stderr, where warnings end up; times would be stored that were taken
        on a busy machine; a still cannot be drawn.
    """
    notebook = _read(path)
    measured = _measured(notebook)
    new = [
        i for i, cell in enumerate(notebook.cells) if MEASURED in cell.metadata.get("tags", ()) and i not in measured
    ]
    if new and not busy and _others_at_work() > BUSY:
        raise BuildError(
            f"{path.name}: cells {', '.join(map(str, new))} measure this machine, and it is busy: "
            f"{_others_at_work():.1f} programs a core are at work. Wait until it is quiet, or say --busy"
        )
    before = _outputs_by_id(notebook)
    shown = _execute(notebook, path)
    for index, outputs in measured.items():
        notebook.cells[index].outputs = outputs
    _add_stills(notebook, before, shown, path.name, redraw, draw and "exercises" not in path.parts)
    return canonical(notebook, path.name)


def reword(path: Path) -> str:
    """The canonical text of a notebook of which only words have changed; nothing runs.

    Parameters
    ----------
    path : pathlib.Path

    Returns
    -------
    str

    Raises
    ------
    BuildError
        Not a notebook; code has changed since its outputs were made.
    """
    notebook = _read(path)
    ids: dict[str, int] = {}
    for index, cell in enumerate(notebook.cells):
        source = _source(cell)
        if not source or cell.cell_type != "code":
            continue
        if cell.get("id") != _cell_id("code", source, ids) or cell.get("execution_count") is None:
            raise BuildError(f"{path.name}: the code of cell {index} has changed, so it must run: leave out --prose")
    return canonical(notebook, path.name)


def _others_at_work() -> float:
    """Programs that were at work during the last minute, for each core; 0 where the system does not tell."""
    return os.getloadavg()[0] / (os.cpu_count() or 1) if hasattr(os, "getloadavg") else 0.0


def canonical(notebook: Any, name: str) -> str:
    """The text of an executed notebook without anything that differs from run to run.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
    name : str
        What to call it in an error.

    Returns
    -------
    str

    Raises
    ------
    BuildError
        A cell wrote to stderr.
    """
    cells: list[dict[str, Any]] = []
    ids: dict[str, int] = {}
    count = 0
    for index, cell in enumerate(notebook.cells):
        source = _source(cell)
        if not source:
            continue
        clean = {"cell_type": cell.cell_type, "id": _cell_id(cell.cell_type, source, ids), "source": source}
        clean["metadata"] = {"tags": sorted(cell.metadata["tags"])} if cell.metadata.get("tags") else {}
        if "nbgrader" in cell.metadata:  # what makes a cell an exercise or its check
            clean["metadata"]["nbgrader"] = cell.metadata["nbgrader"]
        if cell.cell_type == "code":
            count += 1
            clean |= {"execution_count": count, "outputs": [_output(o, count, name, index) for o in cell.outputs]}
        cells.append(clean)
    built = {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    text: str = nbformat.writes(nbformat.from_dict(built))  # type: ignore[no-untyped-call]
    return text.rstrip("\n") + "\n"


def _read(path: Path) -> Any:
    try:
        notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        nbformat.validate(notebook, relax_add_props=True)
    except FileNotFoundError:
        raise BuildError(f"{path.name}: no such notebook") from None
    except Exception as error:  # nbformat raises a dozen kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BuildError(f"{path.name} is not a notebook of format 4: {reason}") from None
    return notebook


Shown = dict[tuple[int, int], stills.Widget]  # (cell, output) -> what was displayed there when the cell had run


def _execute(notebook: Any, path: Path) -> Shown:
    """Run all cells, away from the user's own IPython settings and answers."""
    client = NotebookClient(
        notebook,
        kernel_name=METADATA["kernelspec"]["name"],
        resources={"metadata": {"path": str(path.parent)}},
        timeout=SECONDS_A_CELL,
        store_widget_state=True,  # for the stills; `canonical` drops it
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    )
    shown: Shown = {}
    with tempfile.TemporaryDirectory() as profile:

        def keep(cell: Any, cell_index: int, **_: Any) -> None:
            for i, output in enumerate(cell.get("outputs", ())):
                if WIDGET_VIEW in output.get("data", ()):
                    root = output.data[WIDGET_VIEW]["model_id"]
                    shown[cell_index, i] = stills.widget(root, client.widget_state, client.widget_buffers, profile)

        client.on_cell_executed = keep
        own = {"IPYTHONDIR": profile, "QVIZ_PROGRESS": str(Path(profile) / "progress.json"), "QVIZ_UNLOCKED": ""}
        try:
            client.execute(env=os.environ | own)
        except CellExecutionError as error:
            raise BuildError(f"{path.name}: a cell failed\n{error}") from None
        except CellTimeoutError as error:
            raise BuildError(f"{path.name}: a cell ran for more than {SECONDS_A_CELL} s\n{error}") from None
        except DeadKernelError:
            raise BuildError(f"{path.name}: the kernel died; was there enough memory?") from None
    return shown


def _outputs_by_id(notebook: Any) -> dict[str, list[Any]]:
    """Stored outputs of the code cells, by the id that `canonical` gives each."""
    found: dict[str, list[Any]] = {}
    ids: dict[str, int] = {}
    for cell in notebook.cells:
        if source := _source(cell):
            found[_cell_id(cell.cell_type, source, ids)] = list(cell.get("outputs", ()))
    return found


def _add_stills(notebook: Any, before: dict[str, list[Any]], shown: Shown, name: str, redraw: bool, draw: bool) -> None:
    """Give each widget and chart its still: the stored one if it shows the same, else a new one."""
    due: list[tuple[int, Any, Any, dict[str, Any]]] = []
    ids: dict[str, int] = {}
    measured = False  # numbers behind a measurement differ with every run, and what was measured is kept
    for index, cell in enumerate(notebook.cells):
        if not (source := _source(cell)):
            continue
        old = before[_cell_id(cell.cell_type, source, ids)]
        measured = measured or MEASURED in cell.metadata.get("tags", ())
        for i, output in enumerate(cell.get("outputs", ())):
            thing = shown.get((index, i)) or output.get("data", {}).get(PLOTLY)
            if thing is None:
                continue
            sign = stills.signature(thing)
            stored = old[i] if i < len(old) and "still" in old[i].get("metadata", ()) else None
            if stored is not None and not redraw and stills.same(stored.metadata["still"], sign, numbers=not measured):
                output.data.update({mime: stored.data[mime] for mime in STILLS if mime in stored.data})
                output.metadata = stored.metadata
            else:
                due.append((index, output, thing, sign))
    if not due or not draw:
        return
    try:
        with stills.painter() as painter:
            for index, output, thing, sign in due:
                try:
                    mime, picture = painter.draw(thing)
                except stills.StillError as error:
                    raise BuildError(f"{name}: cell {index}: {error}") from None
                output.data[mime] = base64.b64encode(picture).decode() + "\n"
                output.metadata = {mime: {"alt": stills.words(thing) or output.data["text/plain"]}, "still": sign}
    except stills.StillError as error:
        raise BuildError(f"{name}: {error}") from None


def _measured(notebook: Any) -> dict[int, Any]:
    """Stored outputs that differ with every run, of cells whose source is the one that made them."""
    found: dict[int, Any] = {}
    ids: dict[str, int] = {}
    for index, cell in enumerate(notebook.cells):
        source = _source(cell)
        same = bool(source) and cell.get("id") == _cell_id(cell.cell_type, source, ids)
        if same and MEASURED in cell.metadata.get("tags", ()) and cell.get("outputs"):
            found[index] = list(cell.outputs)
    return found


def _source(cell: Any) -> str:
    """A cell's text without space that nobody sees; empty for a cell that is dropped."""
    return "\n".join(line.rstrip() for line in cell.source.strip().splitlines())


def _cell_id(kind: str, source: str, seen: dict[str, int]) -> str:
    """An id from the content: editing one cell leaves the ids of the others alone."""
    digest = hashlib.sha256(f"{kind}\n{source}".encode()).hexdigest()[:12]
    seen[digest] = seen.get(digest, 0) + 1
    return digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


def _output(output: Any, count: int, name: str, index: int) -> dict[str, Any]:
    if output.output_type == "stream":
        if output.name != "stdout":
            raise BuildError(f"{name}: cell {index} wrote to stderr, which a lesson must not:\n{output.text}")
        return {"output_type": "stream", "name": "stdout", "text": output.text}
    data = {mime: content for mime, content in output.data.items() if mime != WIDGET_VIEW}
    metadata = {key: output.metadata[key] for key in KEPT_METADATA if key in output.metadata}
    clean = {"output_type": output.output_type, "data": data, "metadata": metadata}
    if output.output_type == "execute_result":
        clean["execution_count"] = count
    return clean


def lessons(names: list[str]) -> list[Path]:
    """The notebooks that `names` are the beginnings of; all, with pages and exercises, if there are none.

    Raises
    ------
    BuildError
        A name fits none.
    """
    found = [path for kind in NOTEBOOKS for path in sorted(FOLDER.glob(kind))]
    if not names:
        return found
    chosen = []
    for name in names:
        *folders, start = name.replace("\\", "/").removeprefix("./").split("/")
        kind = "exercises" in folders
        fitting = [path for path in found if (path.parent != FOLDER) == kind and path.name.startswith(start)]
        if not fitting:
            raise BuildError(f"no lesson {name!r}; there are {', '.join(map(_title, found))}")
        chosen += [path for path in fitting if path not in chosen]
    return chosen


def _title(path: Path) -> str:
    return path.stem if path.parent == FOLDER else f"exercises/{path.stem}"


def _differences(before: str, after: str, name: str, most: int = 40) -> str:
    diff = list(difflib.unified_diff(before.splitlines(), after.splitlines(), name, f"{name}, built", n=1, lineterm=""))
    shown = [line if len(line) <= 160 else line[:157] + "..." for line in diff[:most]]
    if len(diff) > most:
        shown.append(f"... and {len(diff) - most} more lines")
    return "\n".join(shown)


def main(arguments: list[str] | None = None) -> int:
    """Build or check; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("names", nargs="*", help="beginnings of names, such as 00 or 04_ggml_blocks.ipynb")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file would change")
    parser.add_argument("--prose", action="store_true", help="only words have changed: run nothing, keep the outputs")
    parser.add_argument("--redraw", action="store_true", help="draw all stills anew, as after a change of a painter")
    parser.add_argument("--busy", action="store_true", help="store new times although the machine is busy")
    args = parser.parse_args(arguments)
    stale = 0
    try:
        for path in lessons(args.names):
            before = path.read_text(encoding="utf-8")
            draw = path.parent == FOLDER and not args.check  # what students get of an exercise has no outputs
            after = reword(path) if args.prose else build(path, args.busy, args.redraw, draw)
            if before == after:
                print(f"{_title(path)}.ipynb: unchanged, {len(after.encode()):,} bytes")
            elif args.check:
                stale += 1
                print(f"{_title(path)}.ipynb: not as built; run python notebooks/build.py {_title(path)}")
                print(_differences(before, after, path.name))
            else:
                scratch = path.with_suffix(".tmp")
                scratch.write_text(after, encoding="utf-8", newline="\n")
                scratch.replace(path)
                print(f"{_title(path)}.ipynb: written, {len(after.encode()):,} bytes")
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())

"""The browser's side of the pictures, as the one module and the one style sheet that anywidget takes.

`static/layer/*.js` is what painters share, `static/painters/*.js` holds one picture a file, `static/view.js` puts them
on the page; a room of the course keeps the painters of its own pictures beside them. They are ES modules that a
browser, node and a linter read as they stand. Joined, each is a function that returns what it exports, called after
those that it imports: no bundler, nothing to build and nothing to download.
"""

from __future__ import annotations

import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
STATIC = PACKAGE / "widgets" / "static"

_IMPORT = re.compile(r'^import (\{[^}]*\}) from "([^"]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|class) (\w+))", re.MULTILINE)
_PAINTER = re.compile(r"^export function ([A-Z]\w*)", re.MULTILINE)


def painters() -> dict[str, Path]:
    """Find the painters.

    Returns
    -------
    dict of str to pathlib.Path
        Name of a painter, which is that of the figure it draws -> its file.

    Examples
    --------
    >>> painters()["BlockLens"].name
    'block_lens.js'
    """
    files = [*(STATIC / "painters").glob("*.js"), *PACKAGE.glob("course/*/painters/*.js")]
    files.sort(key=lambda path: path.name)
    return {name: path for path in files for name in _PAINTER.findall(path.read_text(encoding="utf-8"))}


def module() -> str:
    """Join all JavaScript into one ES module, whose default export is what anywidget asks for.

    Examples
    --------
    >>> "export default { render }" in module(), "import {" in module()
    (True, False)
    """
    kinds = ", ".join(f"{name}: {_handle(path)}.{name}" for name, path in painters().items())
    return joined(STATIC / "view.js", *painters().values(), given=f"const KINDS = {{ {kinds} }};")


def joined(entry: Path, *others: Path, given: str = "") -> str:
    """Join a file with all that it imports, and with other files, into one ES module.

    Parameters
    ----------
    entry : pathlib.Path
        What it exports, the module exports.
    others : pathlib.Path
        Files that `given` needs.
    given : str
        JavaScript that runs before `entry`.

    Returns
    -------
    str
    """
    order: list[Path] = []
    for path in (*others, entry):
        _visit(path, order)
    parts = [_wrapped(path) for path in order if path != entry]
    return "\n".join(["const modules = {};", *parts, *filter(None, [given]), _body(entry)])


def styles() -> str:
    """Join all style sheets; `view.css` comes first, so that a picture's own sheet can change what it says."""
    sheets = [*STATIC.glob("*.css"), *PACKAGE.glob("course/*/painters/*.css")]
    sheets.sort(key=lambda path: (path.name != "view.css", path.name))
    return "\n".join(path.read_text(encoding="utf-8") for path in sheets)


def _visit(path: Path, order: list[Path]) -> None:
    """Put a file into the order in which files run: behind those that it imports."""
    if path in order:
        return
    for _, other in _IMPORT.findall(path.read_text(encoding="utf-8")):
        _visit((path.parent / other).resolve(), order)
    order.append(path)


def _handle(path: Path) -> str:
    return f'modules["{path.relative_to(PACKAGE).as_posix()}"]'


def _body(path: Path) -> str:
    def bound(match: re.Match[str]) -> str:
        return f"const {match[1]} = {_handle((path.parent / match[2]).resolve())};\n"

    return _EXPORT.sub("", _IMPORT.sub(bound, path.read_text(encoding="utf-8")))


def _wrapped(path: Path) -> str:
    exported = ", ".join(_EXPORT.findall(path.read_text(encoding="utf-8")))
    return f"{_handle(path)} = (() => {{\n{_body(path)}return {{ {exported} }};\n}})();"

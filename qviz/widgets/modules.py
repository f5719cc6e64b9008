"""The browser's side of the pictures, as the one module and the one style sheet that anywidget takes.

`static/layer/*.js` is what painters share, `static/painters/*.js` holds one picture a file, `static/view.js` puts them
on the page. They are ES modules that a browser, node and a linter read as they stand. Joining them drops imports and
exports: no bundler, nothing to build and nothing to download.
"""

from __future__ import annotations

import re
from pathlib import Path

STATIC = Path(__file__).parent / "static"

_IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=function|const|class)", re.MULTILINE)
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
    files = sorted((STATIC / "painters").glob("*.js"))
    return {name: path for path in files for name in _PAINTER.findall(path.read_text(encoding="utf-8"))}


def module() -> str:
    """Join all JavaScript into one ES module, whose default export is what anywidget asks for.

    Examples
    --------
    >>> "export default { render }" in module(), "import {" in module()
    (True, False)
    """
    parts = [_inner(path) for folder in ("layer", "painters") for path in sorted((STATIC / folder).glob("*.js"))]
    kinds = f"const KINDS = {{ {', '.join(painters())} }};\n"
    return "\n".join([*parts, kinds, _inner(STATIC / "view.js")])


def styles() -> str:
    """Join all style sheets; `view.css` comes first, so that a picture's own sheet can change what it says."""
    sheets = sorted(STATIC.glob("*.css"), key=lambda path: (path.name != "view.css", path.name))
    return "\n".join(path.read_text(encoding="utf-8") for path in sheets)


def _inner(path: Path) -> str:
    return _EXPORT.sub("", _IMPORT.sub("", path.read_text(encoding="utf-8")))

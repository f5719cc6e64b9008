"""Where a command takes a model, it takes a name (``tiny``) or the path of a file."""

from __future__ import annotations

from pathlib import Path


def known(name: str) -> bool:
    """Whether this is the name of a model, rather than of a file."""
    from qviz import models

    return name in models.KNOWN or name in models.SHIPPED


def file_of(name: str) -> Path:
    """The file of a model, as `qviz.load` understands names.

    Raises
    ------
    ModelNotFoundError
        Neither a known name nor a file; lists the names.
    GGUFError
        A file that is no GGUF file, or a damaged one.
    """
    from qviz import models

    with models.load(name).file as file:
        return file.path

"""Models that are made here, of what a package holds in another layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from qviz.checkpoints import whisper
from qviz.models.material import mel_filters


def _whisper(folder: Path, out: Path) -> None:
    whisper.convert(folder, out, mel_filters(80))


MAKERS: Mapping[str, Callable[[Path, Path], None]] = MappingProxyType({"whisper": _whisper})
"""Name -> what makes a model of a folder with its parts."""

"""What the scripts that cut slices out of a model share: a command line, and making sure what they cut from."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

from qviz import models
from qviz.errors import QvizError


def run(what: str, model: str, output: str, cut: Callable[[Path, str, Path], Path]) -> None:
    """Cut from the command line: ``cut(source, sha256, output)``, once the source is the one that `model` names."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("source", type=Path, nargs="?", help="the whole model; fetched if not given")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name(output))
    args = parser.parse_args()
    try:
        source = args.source or models.fetch(model)
        digest, expected = hashlib.sha256(source.read_bytes()).hexdigest(), models.KNOWN[model].sha256
        if digest != expected:
            raise QvizError(f"{source} is another file: sha256 {digest}, expected {expected}")
        path = cut(source, digest, args.output)
    except (QvizError, OSError) as error:
        sys.exit(f"error: {error}")
    raw = path.read_bytes()
    print(f"{path}: {len(raw)} bytes, sha256 {hashlib.sha256(raw).hexdigest()}")

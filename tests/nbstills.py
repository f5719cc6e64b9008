"""The builder of the notebooks and its stills, as modules; they are scripts beside the notebooks, and no package."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "notebooks"))
import build
import stills

__all__ = ["build", "stills"]

"""Shared fixtures."""

import os
import tempfile
from pathlib import Path

# nobody's own progress is read or written by a test
os.environ["QVIZ_PROGRESS"] = str(Path(tempfile.mkdtemp(prefix="qviz-progress-")) / "progress.json")

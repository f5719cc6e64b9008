"""Shared fixtures."""

import os
import tempfile

# nobody's own progress is read or written by a test
os.environ["QVIZ_PROGRESS"] = os.path.join(tempfile.mkdtemp(prefix="qviz-progress-"), "progress.json")  # noqa: PTH118

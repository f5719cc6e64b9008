"""Shared fixtures."""

import os
import signal
import tempfile
from pathlib import Path

# nobody's own progress is read or written by a test
os.environ["QVIZ_PROGRESS"] = str(Path(tempfile.mkdtemp(prefix="qviz-progress-")) / "progress.json")

# A shell starts what runs in the background with interrupts ignored, and children inherit that: a test that interrupts
# a process of its own would wait in vain. (A handler written in Python is the default again in a child.)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

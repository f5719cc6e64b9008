"""Run every test, in three stages: all of them, whatever fails in one.

    python tests/stages.py [NAME ...]

The exit code is 0 only if every stage passed. At the end stands a table of the stages, and the last line of each.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# A kernel of the first stage is compiled once: its cache serves the other two.
SPREAD = ("-n", str(min(CORES, 8)), "--dist", "loadscope")
STAGES = {
    "tests": ("-m", "not browser", *SPREAD),
    "browser": ("-m", "browser", "tests/browser"),
    "lessons": ("--nbval", "notebooks/", *SPREAD),
}
QUICK = {"quick": ("-m", "not browser and not slow", *SPREAD)}


def told(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a command and pass on what it says.

    Returns
    -------
    code, last : int, str
        Its exit code, and the last line that is not empty.
    """
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as job:
        assert job.stdout is not None
        end = b""
        while part := os.read(job.stdout.fileno(), 1 << 16):
            sys.stdout.buffer.write(part)
            sys.stdout.buffer.flush()
            end = (end + part)[-4096:]
        code = job.wait()
    lines = [line for line in end.decode(errors="replace").splitlines() if line.strip()]
    return code, lines[-1] if lines else ""


def main(names: Sequence[str]) -> int:
    """Run the stages of these names, or the three that stand for every test."""
    stages = STAGES | QUICK
    if unknown := [name for name in names if name not in stages]:
        print(f"no stage {unknown[0]!r}; there are {', '.join(stages)}", file=sys.stderr)
        return 2
    environment = os.environ | {"COLUMNS": str(shutil.get_terminal_size().columns)}
    colour = ["--color=yes"] if sys.stdout.isatty() and "NO_COLOR" not in os.environ else []
    rows, worst = [], 0
    try:
        for name in names or STAGES:
            print(f"== {name}", flush=True)
            start = time.monotonic()
            code, last = told([sys.executable, "-m", "pytest", *colour, *stages[name]], environment)
            rows.append((name, code, time.monotonic() - start, last))
            worst = max(worst, abs(code))
    except KeyboardInterrupt:
        worst = 128 + signal.SIGINT
    print(f"\n{'stage':<10}{'result':<12}{'seconds':>8}")
    for name, code, seconds, _ in rows:
        print(f"{name:<10}{'passed' if code == 0 else f'failed ({code})':<12}{seconds:8.0f}")
    for *_, last in rows:
        print(last)
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

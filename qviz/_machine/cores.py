"""How many cores this process may use: not how many the machine has."""

from __future__ import annotations

import functools
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


@functools.cache
def allowed() -> int:
    """Cores that the operating system lets this process run on at the same time: its affinity, and a container's quota.

    Examples
    --------
    >>> 1 <= allowed() <= os.cpu_count()
    True
    """
    if hasattr(os, "process_cpu_count"):  # from Python 3.13 on; it also knows PYTHON_CPU_COUNT
        count = os.process_cpu_count() or 1
    elif hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota = _quota()
    return count if quota is None else max(1, min(count, quota))


def _quota(cgroups: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int | None:
    """A container's share of time in whole cores, rounded up, or None; of nested cgroups the tightest counts."""
    try:
        lines = own.read_text("utf-8").splitlines()
    except (OSError, UnicodeError):
        lines = []
    inner = next((line[3:].strip("/") for line in lines if line.startswith("0::")), "")
    here = cgroups / inner
    folders = [here, *here.parents] if inner and ".." not in inner else [cgroups]
    quotas = [_cores(folder / "cpu.max") for folder in folders if folder.is_relative_to(cgroups)]
    quotas.append(_cores(cgroups / "cpu/cpu.cfs_quota_us", cgroups / "cpu/cpu.cfs_period_us"))  # cgroups 1
    return min((n for n in quotas if n is not None), default=None)


def _cores(*files: Path) -> int | None:
    try:
        quota, period = " ".join(file.read_text("ascii") for file in files).split()
        return -(-int(quota) // int(period)) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
        return None

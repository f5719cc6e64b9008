"""Tests that compare floats, the exercises' verdicts and the lessons, as other processors would compute them.

    python tests/machines.py [--rows N] [--again] [NAME ...]

Which instructions a kernel is compiled for, which kernels OpenBLAS uses, and how many threads share the work decide in
which order floats are summed, and so their last bits. Four kinds of processor, four of OpenBLAS and one or two threads
make 32 settings; the 16 rows here hold each pair of two of these values at least once, and the first four each value.
One more row runs the kernels as plain Python. What this machine has no instructions for is named, and left out.

A row that passed is not run again until a source changes, so that a run may be stopped and taken up. The table is kept
in artifacts/machines.md, what the tests said in artifacts/machines/.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "artifacts" / "machines"
CACHE = Path(sys.prefix) / "numba" / "machines"

_V2 = "cx16 popcnt sahf sse sse2 sse3 ssse3 sse4.1 sse4.2"
_V3 = f"{_V2} avx avx2 bmi bmi2 f16c fma lzcnt movbe"
_V4 = f"{_V3} avx512f avx512bw avx512cd avx512dq avx512vl"
# What numba may use; how Linux calls what a machine must have for it. A processor's own extras (AMD's sse4a, say) are
# taken away, so that one of another make can run its code.
PROCESSORS = {
    "x86-64-v2": (_V2, "sse4_2 popcnt"),
    "haswell": (_V3, "avx2 fma f16c bmi2 movbe"),
    "skylake-avx512": (_V4, "avx512bw avx512cd avx512dq avx512vl"),
    "znver4": (
        f"{_V4} avx512vnni avx512vbmi avx512vbmi2 avx512bitalg avx512vpopcntdq avx512ifma avx512bf16 gfni vaes",
        "avx512_vnni avx512vbmi avx512_vbmi2 avx512_bitalg avx512_vpopcntdq avx512ifma avx512_bf16 gfni vaes",
    ),
}
WITHOUT = {"znver4": "sse4a clzero mwaitx rdpru prfchw"}
BLAS = {"Nehalem": "sse4_2", "Haswell": "avx2 fma", "SkylakeX": "avx512bw avx512vl", "Zen": "avx2 fma"}

FLOATS = ("-m", "floats and not browser", "-p", "no:nbval")
LESSONS = ("--nbval", "notebooks/")
# Kernels as plain Python: rooms whose tests end within minutes so (the bytes of formats: tests/machine/test_plain.py)
_ROOMS = ("grids", "methods/test_gptq.py", "methods/test_obs.py", "test_metrics.py")
PLAIN = ("-m", "floats", "-p", "no:nbval", *(f"tests/{room}" for room in _ROOMS))


@dataclass(frozen=True)
class Setting:
    """One row of the table."""

    processor: str
    blas: str
    threads: int

    @property
    def name(self) -> str:
        return f"{self.processor}, {self.blas}, {self.threads} thread{'s' * (self.threads > 1)}"

    @property
    def environment(self) -> dict[str, str]:
        given = {"OPENBLAS_CORETYPE": self.blas, "OPENBLAS_NUM_THREADS": str(self.threads)}
        if self.processor == "plain Python":
            return given | {"NUMBA_DISABLE_JIT": "1"}
        features = [f"+{name}" for name in PROCESSORS[self.processor][0].split()]
        features += [f"-{name}" for name in WITHOUT.get(self.processor, "").split()]
        return given | {
            "NUMBA_CPU_NAME": self.processor,
            "NUMBA_CPU_FEATURES": ",".join(features),
            # compiled code depends on the processor alone, so rows of one kind share it; and as in the Makefile, on all
            # of the sources
            "NUMBA_CACHE_DIR": str(CACHE / f"{self.processor}-{digest('qviz')}"),
        }

    def lacking(self, flags: set[str]) -> list[str]:
        """What this machine would need to run it."""
        wanted = PROCESSORS.get(self.processor, ("", ""))[1].split() + BLAS[self.blas].split()
        missing = sorted(set(wanted) - flags)
        return missing + ["a second core"] * (self.threads > len(cores()))


def settings() -> list[Setting]:
    """Every pair of two values, each value within the first four rows; plain Python last."""
    found = []
    for shift in range(4):
        for i, processor in enumerate(PROCESSORS):
            j = (i + shift) % 4
            found.append(Setting(processor, list(BLAS)[j], 1 + (i // 2 + j) % 2))
    return [*found, Setting("plain Python", "Haswell", 1)]


def cores() -> list[int]:
    """Cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def flags() -> set[str]:
    """What the processor can do, as Linux calls it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())


@cache
def digest(*folders: str) -> str:
    """Of all sources in these folders."""
    found = hashlib.sha256()
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".toml", ".json", ".ipynb"):
                found.update(path.read_bytes())
    return found.hexdigest()[:16]


def run(setting: Setting) -> dict[str, object]:
    """One row: what each part said last, and its exit code."""
    KEPT.mkdir(parents=True, exist_ok=True)
    row: dict[str, object] = {"passed": True}
    parts = {"tests": PLAIN} if setting.processor == "plain Python" else {"tests": FLOATS, "lessons": LESSONS}
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores()[: setting.threads])  # children inherit it
    measured = tempfile.TemporaryDirectory(prefix="qviz-measured-")  # no table that another row measured
    try:
        environment = os.environ | setting.environment | {"QVIZ_CACHE": str(Path(measured.name, "models"))}
        for part, arguments in parts.items():
            log = KEPT / f"{setting.name.replace(', ', '-').replace(' ', '-')}-{part}.log"
            workers = ["-n", str(setting.threads), "--dist", "loadscope"]
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, *workers]
            start = time.monotonic()
            with log.open("w", encoding="utf-8") as out:
                code = subprocess.call(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
            lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
            row[part] = f"{lines[-1].strip('= ') if lines else 'nothing'}"
            row[f"{part} seconds"] = round(time.monotonic() - start)
            row["passed"] = bool(row["passed"]) and code == 0
    finally:
        measured.cleanup()
        os.sched_setaffinity(0, allowed)
    return row


def table(rows: dict[str, dict[str, object]]) -> str:
    """The rows as Markdown."""
    lines = ["| setting | result | tests | lessons and exercises |", "|---|---|---|---|"]
    for name, row in rows.items():
        result = str(row.get("lacking") or ("passed" if row["passed"] else "FAILED"))
        lines.append(f"| {name} | {result} | {row.get('tests', '')} | {row.get('lessons', '')} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run what is asked for, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("names", nargs="*", help="parts of the names of rows, such as haswell; all unless given")
    parser.add_argument("--rows", type=int, default=None, help="only the first so many")
    parser.add_argument("--again", action="store_true", help="also rows that passed already")
    args = parser.parse_args()
    if not hasattr(os, "sched_getaffinity") or not Path("/proc/cpuinfo").exists():
        print("this needs Linux, to give a row its own number of cores")
        return 2
    kept, state, rows = KEPT.with_suffix(".json"), digest("qviz", "tests", "notebooks"), {}
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    chosen = [s for s in settings() if not args.names or any(name in s.name for name in args.names)][: args.rows]
    for setting in chosen:
        if lacking := setting.lacking(flags()):
            rows[setting.name] = {"passed": True, "lacking": f"not here: it needs {', '.join(lacking)}"}
            continue
        before = known.get(setting.name, {})
        if args.again or before.get("sources") != state or not before.get("passed"):
            print(f"== {setting.name}", flush=True)
            known[setting.name] = run(setting) | {"sources": state}
            kept.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        rows[setting.name] = known[setting.name]
        KEPT.with_suffix(".md").write_text(table(rows), encoding="utf-8")
    print(table(rows))
    return 0 if all(row["passed"] for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

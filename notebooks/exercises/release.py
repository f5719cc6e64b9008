"""Make what students get: the exercises without solutions and without hidden checks, in ``release/``.

    python notebooks/exercises/release.py               all of them
    python notebooks/exercises/release.py 04 05         those whose name starts so
    python notebooks/exercises/release.py --course DIR  in another folder, to which source/ is copied first

nbgrader does the work; ``pip install 'qviz-toolkit[grade]'`` brings it. Nothing in ``source/`` is changed, and a file
that is already in the other folder's ``source/`` stays as it is.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def release(course: Path, names: list[str]) -> int:
    """Generate; the number of exercises that could not be made."""
    try:
        from nbgrader.apps import NbGraderAPI
        from traitlets.config import Config
    except ImportError:
        sys.exit("error: nbgrader is missing; run: pip install 'qviz-toolkit[grade]'")
    # nbgrader starts `alembic` by name when it makes its gradebook
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    config = Config()
    settings = (course / "nbgrader_config.py").read_text(encoding="utf-8")
    exec(compile(settings, "nbgrader_config.py", "exec"), {"get_config": lambda: config})
    config.CourseDirectory.root = str(course)
    failed = 0
    for name in names:
        done = NbGraderAPI(config=config).generate_assignment(name, force=True, create=True)
        print(f"release/{name}" if done["success"] else f"{name} failed:\n{done.get('log') or done.get('error')}")
        failed += not done["success"]
    return failed


def copy(course: Path) -> None:
    """Bring the sources and settings into another folder."""
    for file in [HERE / "nbgrader_config.py", *sorted((HERE / "source").glob("*/*.ipynb"))]:
        to = course / file.relative_to(HERE)
        if not to.exists():
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, to)


def main(arguments: list[str] | None = None) -> int:
    """Make the files; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("names", nargs="*", help="beginnings of names, such as 04")
    parser.add_argument("--course", type=Path, default=HERE, help="the course's folder; this one unless given")
    args = parser.parse_args(arguments)
    course = args.course.resolve()
    if course != HERE:
        copy(course)
    found = sorted(folder.name for folder in (course / "source").glob("*") if folder.is_dir())
    chosen = [name for name in found if not args.names or name.startswith(tuple(args.names))]
    if missing := [start for start in args.names if not any(name.startswith(start) for name in found)]:
        sys.exit(f"error: no exercise {missing[0]!r}; there are {', '.join(found)}")
    return 1 if release(course, chosen) else 0


if __name__ == "__main__":
    sys.exit(main())

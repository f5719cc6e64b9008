"""Models split over several files: ``name-00001-of-00003.gguf`` and so on.

Each part is a GGUF file of its own with ``split.no`` (from 0), ``split.count`` and ``split.tensors.count``
(tensors of all parts); everything else about the model stands in the first.
"""

from __future__ import annotations

import re
from pathlib import Path

from qviz.errors import GGUFError, shortened
from qviz.gguf.reader import Part

_NAME = re.compile(r"(?P<prefix>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)
NUMBER, COUNT, TENSORS = "split.no", "split.count", "split.tensors.count"


def open_parts(path: Path) -> tuple[Part, ...]:
    """Open a file and, if it is one part of a split model, all the others.

    Raises
    ------
    GGUFError
        A part is missing, appears twice, or belongs to another model.
    """
    opened = Part(path)
    parts = [opened]
    try:
        if (count := _number(opened, COUNT)) > 1:
            for sibling in _siblings(opened, count):
                if sibling != path:
                    parts.append(Part(sibling))  # noqa: PERF401 - if the next one fails, this is closed
            parts.sort(key=lambda part: part.path.name)
            _check(parts, count)
    except BaseException:
        for part in parts:
            part.close()
        raise
    return tuple(parts)


def _number(part: Part, key: str, default: int = 0) -> int:
    value = part.metadata.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise GGUFError(f"{key} is not a count", path=part.path, found=value, expected="a whole number, 0 or more")
    return value


def _siblings(part: Part, count: int) -> list[Path]:
    """Paths of all parts, from the name of one."""
    match = _NAME.fullmatch(part.path.name)
    number = _number(part, NUMBER) + 1
    if match is None:
        raise GGUFError(
            f"this is part {number} of {count} of a split model, and its name does not lead to the others",
            path=part.path,
            found=part.path.name,
            expected=f"a name that ends in -{number:05d}-of-{count:05d}.gguf; rename the parts",
        )
    if int(match["count"]) != count:
        raise GGUFError(
            f"{COUNT} does not agree with the file's name",
            path=part.path,
            found=count,
            expected=int(match["count"]),
        )
    paths = [part.path.with_name(f"{match['prefix']}-{i:05d}-of-{count:05d}.gguf") for i in range(1, count + 1)]
    missing = [p.name for p in paths if not p.exists()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise GGUFError(
            f"{len(missing)} of the {count} parts of this model are missing",
            path=part.path,
            found=f"no {', '.join(missing[:3])}{more}",
            expected="all parts in one folder",
        )
    return paths


def _check(parts: list[Part], count: int) -> None:
    names: dict[str, Path] = {}
    for index, part in enumerate(parts):
        if (number := _number(part, COUNT)) != count:
            _mixed(part, COUNT, number, count)
        if (number := _number(part, NUMBER)) != index:
            _mixed(part, NUMBER, number, index)
        if part.layout != parts[0].layout:
            _mixed(part, "the version or byte order", part.layout, parts[0].layout)
        for name in part.tensor_info:
            if name in names:
                raise GGUFError(f"tensor {shortened(name)} is also in {names[name].name!r}", path=part.path)
            names[name] = part.path
    declared = _number(parts[0], TENSORS, len(names))
    if declared != len(names):
        raise GGUFError(
            f"the parts do not hold as many tensors as {TENSORS} says; they may be of different models",
            path=parts[0].path,
            found=len(names),
            expected=declared,
        )


def _mixed(part: Part, what: str, found: object, expected: object) -> None:
    raise GGUFError(
        f"this part does not belong here, {what} is wrong: a copy, or a part of another model",
        path=part.path,
        found=found,
        expected=expected,
    )

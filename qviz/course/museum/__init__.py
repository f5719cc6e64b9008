"""The bug museum: faults that shipped in quantization software, run again on real weights.

One file a fault, in ``exhibits/``. To add one, copy the file most like it and edit it: the package finds it, and
``tests/course/museum`` tests it from then on: that the blind test lets the fault through, that the sharp one does not,
and that the fault can be seen on real weights.

>>> for exhibit in EXHIBITS.values():
...     print(exhibit.threads[0].name)  # doctest: +ELLIPSIS
paiml/aprender#2115
...
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

from qviz._arguments import check_calls, check_records
from qviz.course.museum import exhibits
from qviz.course.museum.exhibit import Diagnosis, Exhibit, Number, Thread, Trial, output_error, source, weight_error
from qviz.errors import MuseumError, shortened

# From what stands in a file to what a method does; others follow in alphabetical order.
_TOUR = (
    "q3k-scales",
    "min-sign",
    "q4k-sub-blocks",
    "reversed-dims",
    "ignored-alignment",
    "zero-point-label",
    "zero-point-borrow",
    "zero-point-missing",
    "symmetric-positive",
    "stale-inverse",
    "block-index",
    "group-restart",
    "identity-fallback",
    "awq-without-abs",
    "awq-half-precision",
    "not-a-copy",
)


def _find() -> Mapping[str, Exhibit]:
    by_name: dict[str, Exhibit] = {}
    for module in pkgutil.iter_modules(exhibits.__path__):
        exhibit: Exhibit = importlib.import_module(f"{exhibits.__name__}.{module.name}").EXHIBIT
        if exhibit.name.replace("-", "_") != module.name:
            raise MuseumError(f"exhibit {shortened(exhibit.name)} stands in {module.name}.py; give both the same name")
        by_name[exhibit.name] = exhibit
    order = sorted(by_name, key=lambda name: (_TOUR.index(name) if name in _TOUR else len(_TOUR), name))
    return {name: by_name[name] for name in order}


EXHIBITS: Mapping[str, Exhibit] = _find()
"""Name -> exhibit, in the order of a tour."""


def get(name: str) -> Exhibit:
    """Find an exhibit.

    Raises
    ------
    MuseumError
        None has that name.

    Examples
    --------
    >>> get("block-index")
    <Exhibit block-index: No error, no warning, other weights than the paper's>
    """
    if name not in EXHIBITS:
        raise MuseumError(f"no exhibit {shortened(name)}; there are {', '.join(EXHIBITS)}")
    return EXHIBITS[name]


__all__ = [
    "EXHIBITS",
    "Diagnosis",
    "Exhibit",
    "Number",
    "Thread",
    "Trial",
    "get",
    "output_error",
    "source",
    "weight_error",
]

check_calls(globals(), __all__, MuseumError)
check_records(globals(), __all__, MuseumError)

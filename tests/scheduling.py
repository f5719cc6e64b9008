"""Which tests one process runs, one after the other."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling


def measures(nodeid: str) -> bool:
    """Whether a test runs a lesson that measures whole models: the second of them finds what the first has kept."""
    return "/test_lessons_in_lab.py::test_a_lesson_runs[1" in nodeid and nodeid.split("[1", 1)[1][0] in "01"


class Together(LoadScopeScheduling):
    """Hands out tests to processes: those of a file stay together, or of a room, or are each alone."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        # a kernel that two processes want at once is compiled twice, and compiling is what a first run is slow for
        if file.startswith("tests/formats/") or "[qviz.formats." in nodeid:
            return "formats"
        if measures(nodeid):
            return "lessons that measure whole models"
        # each other lesson has a page of its own, and takes long
        return nodeid if file.endswith("/test_lessons_in_lab.py") else file

"""Fixtures of the browser tests: one server and one browser for all, a page for each notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser.lab import Lab, NotebookPage, browser, chromium
from browser.stage import Stage
from playwright.sync_api import Browser
from scheduling import measures

from qviz.widgets.base import Explorer

REPOSITORY = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not measures(item.nodeid))  # what takes longest begins first
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("browser")
            if chromium() is None:
                item.add_marker(pytest.mark.skip(reason="no Chromium or Chrome on the PATH; install one to run it"))


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    server = Lab(tmp_path_factory.mktemp("lab"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def chrome() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Where pictures of each widget are kept, for a person to look at."""
    folder = REPOSITORY / "artifacts" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def open_notebook(lab: Lab, chrome: Browser) -> Iterator[Callable[..., NotebookPage]]:
    """``open_notebook(path, **options)``: a copy of a notebook in JupyterLab, or of one in the server's folder."""
    opened: list[NotebookPage] = []

    def open_(path: Path | str, **options: float) -> NotebookPage:
        name = lab.copy(path) if isinstance(path, Path) else path
        opened.append(NotebookPage(chrome, lab, name, **options))
        return opened[-1]

    yield open_
    for notebook in opened:
        notebook.close()


@pytest.fixture
def stage(chrome: Browser) -> Iterator[Callable[..., Stage]]:
    """``stage(explorer, **options)``: its picture on a bare page."""
    opened: list[Stage] = []

    def open_(explorer: Explorer, **options: bool) -> Stage:
        opened.append(Stage(chrome, explorer, **options))
        return opened[-1]

    yield open_
    for one in opened:
        assert one.problems == []
        one.close()

"""Fixtures of the browser tests: one server and one browser for all, a page for each notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gallery
import pytest
from browser.lab import Lab, NotebookPage, browser, chromium
from browser.stage import Stage
from playwright.sync_api import Browser
from scheduling import measures

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


@pytest.fixture(scope="session")
def pages() -> Iterator[dict[float, NotebookPage]]:
    """Pages with JupyterLab that are open, by their scale, which is all that cannot be changed later."""
    opened: dict[float, NotebookPage] = {}
    yield opened
    for page in opened.values():
        page.close()


@pytest.fixture
def open_notebook(
    lab: Lab, chrome: Browser, pages: dict[float, NotebookPage], request: pytest.FixtureRequest
) -> Iterator[Callable[..., NotebookPage]]:
    """``open_notebook(path, **options)``: a copy of a notebook in JupyterLab, or of one in the server's folder.

    A test that fails leaves no page and no kernel to the next one.
    """
    failed = request.session.testsfailed

    def open_(path: Path | str, *, scale: float = 1, **options: Any) -> NotebookPage:
        name = lab.copy(path) if isinstance(path, Path) else path
        if scale in pages:
            pages[scale].switch(name, **options)
        else:
            options.pop("kept", None)
            pages[scale] = NotebookPage(chrome, lab, name, scale=scale, **options)
        return pages[scale]

    yield open_
    if request.session.testsfailed > failed:
        for page in pages.values():
            page.close()
        pages.clear()


@pytest.fixture(scope="session")
def made() -> dict[str, Any]:
    """What the gallery makes its widgets of."""
    names: dict[str, Any] = {}
    exec(gallery.SETUP, names)
    return names


@pytest.fixture(scope="session")
def bare_page(chrome: Browser) -> Iterator[Stage]:
    page = Stage(chrome)
    yield page
    page.close()


@pytest.fixture
def stage(bare_page: Stage) -> Iterator[Callable[..., Stage]]:
    """``stage(explorer, **options)``: its picture on a bare page, instead of the one that was there."""
    bare_page.problems.clear()
    yield bare_page.show
    assert bare_page.problems == []

"""A real JupyterLab in a real browser: what the browser tests and the latency benchmark stand on."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import nbformat
import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

import qviz

PATIENCE = 240  # seconds: on a busy machine a browser is slow, and waiting costs nothing where it is not

# What makes a kernel as good as new for another notebook
EMPTY = "import ipywidgets; ipywidgets.Widget.close_all(); get_ipython().reset(new_session=False, aggressive=False)"

_OURS = Path(qviz.__file__).parent / "cli" / "static"  # what `qviz lab` sets
_SETTINGS = json.loads((_OURS / "labconfig" / "default_setting_overrides.json").read_text(encoding="utf-8"))
_SETTINGS["@jupyterlab/notebook-extension:tracker"]["windowingMode"] = "none"  # cells out of sight are drawn too


def chromium() -> str | None:
    """The system's Chromium or Chrome, if there is one."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))
    return next((path for path in found if path), None)


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        # as root, in a container, Chromium has no sandbox
        found = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


def as_users() -> dict[str, str]:
    """The environment without what conftest.py set for tests alone."""
    return {name: value for name, value in os.environ.items() if name != "QVIZ_COMPILE"}


class Lab:
    """A JupyterLab server with settings, data and runtime folders of its own."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "work"
        self.root.mkdir(parents=True)
        self.progress = folder / "progress.json"  # the student's
        config = folder / "config"
        (config / "labconfig").mkdir(parents=True)
        shutil.copytree(_OURS / "jupyter_server_config.d", config / "jupyter_server_config.d")
        (config / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(_SETTINGS))
        # as `qviz lab` does: nbgrader, which the tests need, would add its buttons
        page = {"disabledExtensions": {"@jupyter/nbgrader": True}}
        (config / "labconfig" / "page_config.json").write_text(json.dumps(page))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        folders = {
            "JUPYTER_CONFIG_DIR": config,
            "JUPYTER_DATA_DIR": folder / "data",
            "JUPYTER_RUNTIME_DIR": folder / "runtime",
            "JUPYTERLAB_SETTINGS_DIR": folder / "settings",
            "JUPYTERLAB_WORKSPACES_DIR": folder / "workspaces",
            "IPYTHONDIR": folder / "ipython",
            "QVIZ_PROGRESS": self.progress,
        }
        self.log = folder / "server.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={self.port}"),
                    *(f"--ServerApp.root_dir={self.root}", "--ServerApp.port_retries=0"),
                    *("--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True"),
                    "--LabApp.expose_app_in_browser=True",
                ],
                env=as_users() | {name: str(path) for name, path in folders.items()},
                stdout=log,
                stderr=log,
            )
        self._wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.url}/api/status", timeout=5).close()
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"JupyterLab did not start; its log:\n{self.log.read_text()}")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def notebook(self, name: str, *cells: str) -> str:
        """Write a notebook of code cells into the server's folder."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, self.root / name)
        return name

    def copy(self, path: Path) -> str:
        """Copy a notebook into the server's folder, so that opening it cannot change it."""
        shutil.copy(path, self.root / path.name)
        return path.name


class NotebookPage:
    """A notebook, open in the browser.

    Attributes
    ----------
    page : playwright Page
    problems : list of str
        Uncaught errors of the page, and console errors that a qviz module caused.
    """

    def __init__(
        self,
        browser: Browser,
        lab: Lab,
        name: str,
        *,
        width: int = 1280,
        height: int = 900,
        scale: float = 1,
        motion: bool = False,  # whether pictures move, as they do for most people
    ):
        self.lab, self.name = lab, name
        self.context = browser.new_context(
            viewport={"width": width, "height": height},
            device_scale_factor=scale,
            reduced_motion="no-preference" if motion else "reduce",
        )
        self.context.set_default_timeout(1000 * PATIENCE)
        self.page: Page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(f"page error: {error}"))
        self.page.on("console", self._console)
        self.open()

    def _console(self, message: Any) -> None:
        # JupyterLab itself logs a few errors on a good day; what an anywidget throws carries its blob's name
        if message.type == "error" and ("anywidget" in message.text or "blob:" in message.text):
            self.problems.append(f"console: {message.text}")

    def open(self) -> None:
        self.page.goto(f"{self.lab.url}/doc/tree/{self.name}?reset")
        self._wait_for_kernel()

    def _wait_for_kernel(self) -> None:
        self.page.wait_for_function(
            """() => {
                const panel = window.jupyterapp?.shell?.currentWidget;
                return panel?.context?.isReady && panel.sessionContext?.isReady;
            }""",
        )
        self.page.evaluate("async () => await window.jupyterapp.shell.currentWidget.sessionContext.ready")

    def switch(
        self, name: str, *, width: int = 1280, height: int = 900, motion: bool = False, kept: bool = True
    ) -> None:
        """Close this notebook and open another on the same page: loading JupyterLab costs more than most tests.

        With `kept` it gets this one's kernel, emptied: names and widgets are gone, imported modules are not.
        """
        page = self.page
        page.mouse.move(0, 0)
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(reduced_motion="no-preference" if motion else "reduce")
        if page.evaluate("document.body.dataset.jpThemeLight") != "true":
            self.theme("JupyterLab Light")
        if kept := kept and self.has_kernel():
            assert self.python(EMPTY) == ""
        page.evaluate(
            """async ([path, kept]) => {
                const { commands, shell } = window.jupyterapp;
                const old = shell.currentWidget;
                const id = old.sessionContext.session?.kernel?.id;
                if (id && !kept) await old.sessionContext.shutdown();
                old.dispose(); // first: the other may have the same path
                await commands.execute('docmanager:open', { path, ...(kept && { kernel: { id } }) });
            }""",
            [name, kept],
        )
        self.name, self.problems = name, []
        self._wait_for_kernel()
        assert page.locator(".jp-Notebook").count() == 1

    def has_kernel(self) -> bool:
        """Whether the notebook has a kernel that lives."""
        return self.page.evaluate(
            """() => {
                const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel;
                return Boolean(kernel) && !['dead', 'terminating'].includes(kernel.status);
            }"""
        )

    def run_all(self, timeout: float = PATIENCE) -> None:
        """Run every cell and wait until the kernel rests."""
        self.page.evaluate("async () => await window.jupyterapp.commands.execute('notebook:run-all-cells')")
        self.wait_idle(timeout)
        self.page.wait_for_function(
            """() => document.querySelectorAll('.jp-OutputArea .qviz-explorer').length
                  === document.querySelectorAll('.jp-OutputArea .qviz[data-layout]').length"""
        )

    def shown(self, kind: str) -> Self:
        """Run all cells, none of which may fail, and wait for a view of that kind."""
        self.run_all()
        assert self.cell_errors() == []
        self.views(kind).first.wait_for()
        return self

    def wait_idle(self, timeout: float = PATIENCE) -> None:
        self.page.wait_for_function(
            """() => window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'""",
            timeout=1000 * timeout,
            polling=100,  # a look before each frame would keep a core from the kernel
        )

    def cell_errors(self) -> list[str]:
        """Error outputs of all cells."""
        return self.page.evaluate(
            """() => window.jupyterapp.shell.currentWidget.content.widgets
                .flatMap((cell) => cell.model.outputs ? cell.model.outputs.toJSON() : [])
                .filter((output) => output.output_type === 'error')
                .map((output) => `${output.ename}: ${output.evalue}`)"""
        )

    def code_cells(self) -> list[str]:
        """Source of every code cell."""
        return self.page.evaluate(
            """() => window.jupyterapp.shell.currentWidget.content.widgets
                .filter((cell) => cell.model.type === 'code').map((cell) => cell.model.sharedModel.getSource())"""
        )

    def theme(self, name: str) -> None:
        """Switch JupyterLab's theme, e.g. to ``"JupyterLab Dark"``."""
        self.page.evaluate(
            "async (theme) => await window.jupyterapp.commands.execute('apputils:change-theme', { theme })", name
        )
        light = "false" if "Dark" in name else "true"
        self.page.wait_for_function("(light) => document.body.dataset.jpThemeLight === light", arg=light)
        self.pause(300)

    def reload(self) -> None:
        """Reload the page, as a student does; the kernel keeps running."""
        self.save()
        self.page.goto("about:blank")
        self.open()

    def save(self) -> None:
        self.page.evaluate("async () => await window.jupyterapp.commands.execute('docmanager:save')")

    def python(self, code: str) -> str:
        """Run code in the notebook's kernel and return what it prints."""
        return self.page.evaluate(
            """async (code) => {
                const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                const future = kernel.requestExecute({ code, store_history: false });
                let text = '';
                future.onIOPub = ({ header, content }) => {
                    if (header.msg_type === 'stream') text += content.text;
                    if (header.msg_type === 'error') text += content.traceback.join('\\n');
                };
                await future.done;
                return text;
            }""",
            code,
        )

    def views(self, layout: str) -> Any:
        """The drawn views of one explorer kind (``"bits"``, ``"tensor"``, ``"block"``)."""
        return self.page.locator(f".jp-OutputArea .qviz[data-layout={layout}]")

    def turn_to(self, title: str) -> None:
        """Open a page of an explorer by its tab."""
        self.page.get_by_role("tab", name=title, exact=True).first.click()

    def pixels(self, canvas: Any) -> str:
        """A canvas's content, as a data URL: equal strings are equal pictures."""
        return canvas.evaluate("(node) => node.toDataURL()")

    def wait_until(self, condition: Callable[[], bool], what: str, timeout: float = PATIENCE) -> None:
        deadline, pause = time.monotonic() + timeout, 20
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {timeout} s in vain for {what}")
            self.page.wait_for_timeout(pause)
            pause = min(2 * pause, 320)  # milliseconds

    def pause(self, milliseconds: int) -> None:
        """Wait by the page's own clock, and for what it then draws: what it had to do by then is done."""
        self.page.evaluate(
            """async (milliseconds) => {
                await new Promise((done) => setTimeout(done, milliseconds));
                for (const _ of [1, 2]) await new Promise(requestAnimationFrame);
            }""",
            milliseconds,
        )

    def close(self) -> None:
        self.context.close()


def colours(locator: Any) -> int:
    """How many different colours a part of a page shows."""
    image = np.asarray(Image.open(BytesIO(locator.screenshot())).convert("RGB"))
    return len(np.unique(image.reshape(-1, 3), axis=0))


def cut(view: Any, besides: str) -> list[str]:
    """What of a view is wider than its place, and texts that are cut; `besides`: selectors of what may be."""
    found: list[str] = view.evaluate(
        """(root, besides) => [...root.querySelectorAll('*')].filter((node) =>
            !node.closest(besides) &&
            (node.getBoundingClientRect().right > root.getBoundingClientRect().right + 1 ||
             (node.children.length === 0 && node.tagName !== 'CANVAS' && node.scrollWidth > node.clientWidth + 1
              && getComputedStyle(node).display !== 'inline')))
            .map((node) => `${node.className}: ${node.textContent}`)""",
        besides,
    )
    return found

"""`qviz show`: a lesson as a page for a projector, in a real Chromium that has no network."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from io import BytesIO

import numpy as np
import pytest
from browser.lab import PATIENCE, as_users
from PIL import Image


@pytest.fixture
def served(tmp_path):
    """The address of lesson 00, served by the command itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folders = {f"JUPYTER_{name}_DIR": str(tmp_path / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    log = tmp_path / "log"
    with log.open("w") as out:
        command = [sys.executable, "-m", "qviz", "show", "00", "--no-browser", f"--port={port}"]
        env = as_users() | folders | {"IPYTHONDIR": str(tmp_path / "ipython")}
        server = subprocess.Popen(command, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/static/", timeout=5).close()
                break
            except urllib.error.HTTPError:
                break  # it answers
            except OSError:
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()  # the command alone, as a supervisor does; the rest ends with it
        try:
            server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            raise
        with pytest.raises(OSError):  # noqa: PT011 - whatever the system says: nobody listens
            socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_a_lesson_is_shown_without_a_network(served, chrome, screenshots):
    context = chrome.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(1000 * PATIENCE)
    page, problems, outside = context.new_page(), [], []
    page.on("pageerror", lambda error: problems.append(str(error)))

    def only_here(route):
        if route.request.url.startswith((served, "data:", "blob:")):
            route.continue_()
        else:
            outside.append(route.request.url)
            route.abort()

    page.route("**/*", only_here)
    page.goto(served)
    explorer = page.locator(".qviz-explorer").first
    canvas = explorer.locator("canvas").first
    canvas.wait_for()
    page.wait_for_function("document.querySelectorAll('.qviz-explorer canvas').length >= 4")
    assert page.locator("h1").first.inner_text().startswith("Start here")
    assert "import qviz" not in page.locator("body").inner_text(), "code is for another occasion"

    def drawn():
        return len(
            np.unique(np.asarray(Image.open(BytesIO(canvas.screenshot())).convert("RGB")).reshape(-1, 3), axis=0)
        )

    deadline = time.monotonic() + PATIENCE
    while drawn() < 20:
        assert time.monotonic() < deadline, "the canvas stays blank"
    before = canvas.evaluate("(node) => node.toDataURL()")
    handle = explorer.locator(".noUi-handle").first
    handle.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("([node, old]) => node.toDataURL() !== old", arg=[canvas.element_handle(), before])
    explorer.screenshot(path=screenshots / "voila_00.png")
    page.evaluate("window.scrollTo(0, 0)")
    page.screenshot(path=screenshots / "voila_00_page.png")
    context.close()
    assert outside == [], "the page asked the network for something"
    assert problems == []

"""Stills of widgets: what a page shows of them before anything runs.

A notebook file keeps no widgets, only outputs; so beside the text of an explorer stands a PNG of it, which GitHub, VS
Code, nbviewer, `jupyter nbconvert` and JupyterLab show. A headless Chromium draws it, with the painters and cards that
draw it in JupyterLab, from the state that the kernel sent; only the controls around the picture are the browser's own.

Two machines do not draw the same pixels: their fonts differ, and the last bits of numbers. So a still is drawn anew
only if what it shows has changed: `signature` says what that is, and is stored with it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

PAGE = Path(__file__).with_name("stills.html")
MOST_BYTES = 80_000
WIDTH, SHARPNESS = 1100, 1.25  # CSS pixels across, and pixels of the file for each
ONCE = 1 / SHARPNESS
# What makes a picture smaller, until it is small enough: (its scale, kind of file, colours of its palette or quality).
SMALLER = (
    *((1, "image/png", colours) for colours in (256, 128, 64)),
    *((1, "image/jpeg", quality) for quality in (85, 75)),
    *((ONCE, "image/jpeg", quality) for quality in (85, 75, 60, 50)),
    *((0.8 * ONCE, "image/jpeg", quality) for quality in (60, 50, 40)),
)
NEAR = 0.05  # numbers of two machines that are closer than this, relative, draw the same picture
PATIENCE = 60_000  # milliseconds
_MODEL = "IPY_MODEL_"


class StillError(Exception):
    """A picture that cannot be drawn; says why."""


@dataclass(frozen=True)
class Widget:
    """A widget as the kernel described it: its own state and those of all widgets in it.

    Attributes
    ----------
    root : str
        Id of the model that is displayed.
    models : dict of str to dict
        States by id; bytes are ``{"base64": text}``.
    """

    root: str
    models: dict[str, dict[str, Any]]


def widget(root: str, states: Mapping[str, Any], buffers: Mapping[str, Any], home: str = "") -> Widget:
    """Collect what is needed to draw a widget.

    Parameters
    ----------
    root : str
    states, buffers : mapping
        `widget_state` and `widget_buffers` of a NotebookClient.
    home : str
        A folder of this machine alone, written as ``~``.
    """
    models: dict[str, dict[str, Any]] = {}

    def collect(id: str) -> None:
        if id in models or id not in states:
            return
        text = json.dumps(states[id])
        state = models[id] = json.loads(text.replace(home, "~") if home else text)
        for path, buffer in buffers.get(id, {}).items():
            place = state
            *parents, last = path
            for part in parents:
                place = place[part]
            place[last] = {"base64": buffer["data"]}
        for child in [*state.get("children", ()), state.get("layout"), state.get("style")]:
            if isinstance(child, str) and child.startswith(_MODEL):
                collect(child.removeprefix(_MODEL))

    collect(root)
    return Widget(root, models)


def signature(shown: Widget | Mapping[str, Any]) -> dict[str, str]:
    """What a still shows, so coarsely that two machines agree, and so finely that a change is seen.

    Parameters
    ----------
    shown : Widget, or a plotly figure as JSON

    Returns
    -------
    dict
        ``"of"`` is a digest of everything but numbers; ``"numbers"`` are those that are drawn, or for an array its mean
        and its root mean square.
    """
    words: list[Any] = []
    numbers: list[float] = []
    if not isinstance(shown, Widget):
        return {"of": hashlib.sha256(json.dumps(_text(shown), sort_keys=True).encode()).hexdigest()[:16], "numbers": ""}
    for state in shown.models.values():
        if state.get("_model_name") in ("LayoutModel", None) or str(state["_model_name"]).endswith("StyleModel"):
            continue
        words.append([state["_model_name"], *(_text(state.get(k)) for k in ("description", "_options_labels", "data"))])
        words.append([state.get("index"), state.get("disabled")])
        value = state.get("value")
        if isinstance(value, int | float) and not isinstance(value, bool):
            numbers.append(float(value))
        else:
            words.append(_text(value))
        if isinstance(frame := state.get("frame"), dict):
            words.append(_shown(_raw(frame), numbers))
    digest = hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:16]
    return {"of": digest, "numbers": " ".join(f"{x:.3g}" for x in numbers)}


def same(a: Mapping[str, str], b: Mapping[str, str], numbers: bool = True) -> bool:
    """Whether two signatures are of the same picture: the same words and, if asked, nearly all numbers alike."""
    x, y = (np.array(sign["numbers"].split(), float) for sign in (a, b))
    if a["of"] != b["of"] or not numbers:
        return a["of"] == b["of"]
    if x.shape != y.shape:
        return False
    off = np.abs(x - y) > NEAR * np.maximum(np.abs(x), np.abs(y)) + 1e-9
    return int(off.sum()) <= len(x) / 30


def words(shown: Widget | Mapping[str, Any]) -> str:
    """What a picture says, for those who do not see it; empty where it has no words."""
    if not isinstance(shown, Widget):
        return ""
    frames = [state["frame"] for state in shown.models.values() if isinstance(state.get("frame"), dict)]
    said = [json.loads(raw[4 : 4 + struct.unpack_from("<I", raw)[0]])["summary"] for raw in map(_raw, frames)]
    return " ".join(said)


def _raw(buffer: Mapping[str, str]) -> bytes:
    return base64.b64decode(buffer["base64"])


def _text(value: Any) -> Any:
    """Texts without the digits in them: a readout may say 31.4 dB here and 31.5 there."""
    if isinstance(value, str):
        return re.sub(r"[\d.,\u202f]+", "#", value)
    if isinstance(value, Mapping):
        return {key: _text(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_text(part) for part in value]
    return value


def _shown(frame: bytes, numbers: list[float]) -> Any:
    """The words of a packed scene; its numbers are appended to `numbers`."""
    (length,) = struct.unpack_from("<I", frame)
    body = frame[4 + length :]
    scene = json.loads(frame[4 : 4 + length])

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            if "$" not in value:
                return {key: walk(part) for key, part in value.items()}
            array = np.frombuffer(body, value["$"], value["n"] // np.dtype(value["$"]).itemsize, value["at"])
            array = array[np.isfinite(array)].astype(float)
            if array.size:
                numbers.extend((float(array.mean()), float(np.sqrt(np.square(array).mean()))))
            return [value["$"], value.get("shape", []) and len(value["shape"])]
        if isinstance(value, list):
            return [walk(part) for part in value]
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int | float):
            numbers.append(float(value))
            return "#"
        return _text(value)

    for readout in scene["readouts"]:
        numbers.extend(float(n) for n in re.findall(r"\d+(?:\.\d+)?", readout["value"].replace("\u202f", "")))
    return walk({key: scene[key] for key in ("layout", "panels", "readouts", "status")})


class Painter:
    """Draws stills; one Chromium for all of them, started for the first."""

    def __init__(self, browser: Any) -> None:
        self._context = browser.new_context(
            viewport={"width": WIDTH + 40, "height": 900}, device_scale_factor=SHARPNESS, reduced_motion="reduce"
        )

    def draw(self, shown: Widget | Mapping[str, Any]) -> tuple[str, bytes]:
        """A widget, or a plotly figure, as `small` makes it.

        Raises
        ------
        StillError
            Its picture raised an error, or is too large.
        """
        if isinstance(shown, Widget):
            return self._photograph("draw", {"root": shown.root, "models": shown.models})
        return self._photograph("plot", shown)

    def _photograph(self, function: str, argument: Any) -> tuple[str, bytes]:
        from playwright.sync_api import Error

        page = self._context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        try:
            page.set_content(PAGE.read_text(encoding="utf-8"))
            if function == "plot":
                page.add_script_tag(path=_plotly())
            page.evaluate(f"(given) => {function}(given, {WIDTH})", argument)
            page.wait_for_function("() => document.body.dataset.drawn === 'yes'", timeout=PATIENCE)
            if problems:
                raise StillError("; ".join(problems))
            return small(page.locator("#still").screenshot(type="png", animations="disabled"))
        except Error as error:
            raise StillError(str(error).splitlines()[0]) from None
        finally:
            page.close()


def small(png: bytes) -> tuple[str, bytes]:
    """The same picture in at most `MOST_BYTES`; always the same bytes for the same pixels.

    Returns
    -------
    tuple
        ``"image/png"``, or ``"image/jpeg"`` where a PNG would be too large, as for pictures of thousands of weights;
        and the file.
    """
    from PIL import Image

    whole = Image.open(io.BytesIO(png)).convert("RGB")
    for scale, mime, fineness in SMALLER:
        picture = whole
        if scale != 1:
            picture = whole.resize((round(scale * whole.width), round(scale * whole.height)), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        if mime == "image/png":
            few_colours(picture, fineness).save(out, "PNG", optimize=True)
        else:
            picture.save(out, "JPEG", quality=fineness, optimize=True)
        if out.tell() <= MOST_BYTES:
            return mime, out.getvalue()
    raise StillError(f"the still takes {out.tell():,} bytes at its poorest; {MOST_BYTES:,} are allowed")


def few_colours(picture: Image.Image, colours: int) -> Image.Image:
    """The same picture in so many colours; the most common ones, of paper and cards, stay exactly what they are."""
    from PIL import Image

    red, green, blue = np.asarray(picture.convert("RGB"), np.int32).reshape(-1, 3).T
    found, which, counts = np.unique(red << 16 | green << 8 | blue, return_inverse=True, return_counts=True)
    found = np.stack([found >> 16, found >> 8 & 255, found & 255], axis=1)
    kept = found[np.argsort(-counts, kind="stable")[: colours // 4]]
    others = picture.quantize(colours - len(kept), method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    palette = np.concatenate([kept, np.reshape(others.getpalette(), (-1, 3))[: colours - len(kept)]])
    exact = palette.astype(np.float32)  # squares of distances are whole numbers below 2**24, but for what all share
    near = np.empty(len(found), np.uint8)
    for part in np.array_split(np.arange(len(found)), 1 + len(found) // 4096):
        far = np.square(exact).sum(axis=1) - 2 * (found[part].astype(np.float32) @ exact.T)
        near[part] = far.argmin(axis=1)
    few = Image.fromarray(near[which.reshape(picture.height, picture.width)])
    few.putpalette(palette.astype(np.uint8).tobytes())
    return few


@contextmanager
def painter() -> Iterator[Painter]:
    """A painter of stills.

    Raises
    ------
    StillError
        There is no Chromium or Chrome on the PATH.
    """
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        raise StillError("stills are drawn by Chromium or Chrome, and there is none on the PATH; install one")
    with sync_playwright() as playwright:
        # as root, in a container, Chromium has no sandbox
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield Painter(browser)
        finally:
            browser.close()


def _plotly() -> Path:
    import plotly

    return Path(plotly.__file__).parent / "package_data" / "plotly.min.js"

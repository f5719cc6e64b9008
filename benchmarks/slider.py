"""Key press -> paint of every explorer, in a real JupyterLab, beside a floor that never leaves the browser.

    python benchmarks/slider.py [--moves 24] [--json FILE]

Each explorer works on 1024 × 1024 weights; the floor does the same kind of work (round groups of 128, count errors,
draw 256 × 256 pixels) in JavaScript, with the weights sent once. Moves of all of them take turns, so that a busy
machine slows them alike; then the ratio tells more than the milliseconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from browser.lab import Lab, NotebookPage, browser

SETUP = """
import anywidget, numpy as np, traitlets
import qviz
from qviz.widgets import BitsExplorer, BlockExplorer, TensorExplorer
weights = np.random.default_rng(0).standard_normal((1024, 1024)).astype(np.float32)

class Floor(anywidget.AnyWidget):
    weights = traitlets.Bytes().tag(sync=True)
    _esm = '''
    export default { render({ model, el }) {
      const sent = model.get("weights");
      const x = new Float32Array(sent.buffer.slice(sent.byteOffset, sent.byteOffset + sent.byteLength));
      const slider = Object.assign(document.createElement("input"), { type: "range", min: 2, max: 8, value: 4 });
      slider.id = "floor";
      slider.dataset.lmSuppressShortcuts = "true";
      const canvas = Object.assign(document.createElement("canvas"), { width: 256, height: 256 });
      const context = canvas.getContext("2d");
      const y = new Float32Array(x.length);
      slider.addEventListener("input", () => {
        const top = 2 ** slider.value - 1;
        for (let g = 0; g < x.length; g += 128) {
          let low = 0, high = 0;
          for (let i = g; i < g + 128; i++) { low = Math.min(low, x[i]); high = Math.max(high, x[i]); }
          const scale = (high - low) / top, zero = Math.round(-low / scale);
          for (let i = g; i < g + 128; i++)
            y[i] = scale * (Math.min(top, Math.max(0, Math.round(x[i] / scale) + zero)) - zero);
        }
        const counts = new Int32Array(256);
        for (let i = 0; i < x.length; i++) counts[Math.min(255, Math.max(0, (y[i] - x[i] + 3) * 42.6 | 0))]++;
        const image = context.createImageData(256, 256);
        for (let r = 0; r < 256; r++) for (let c = 0; c < 256; c++) {
          let most = 0;
          for (let i = 0; i < 4; i++) for (let j = 0; j < 4; j++) {
            const at = (4 * r + i) * 1024 + 4 * c + j;
            most = Math.max(most, Math.abs(y[at] - x[at]));
          }
          image.data.set([255 * most, 128, 0, 255], 4 * (256 * r + c));
        }
        context.putImageData(image, 0, 0);
        el.dispatchEvent(new CustomEvent("qviz-drawn", { bubbles: true }));
      });
      el.append(slider, canvas);
    } };
    '''
"""

CELLS = (
    "Floor(weights=weights.tobytes())",
    "BitsExplorer(weights)",
    "TensorExplorer(weights)",
    "BlockExplorer(qviz.quantize(weights, 'Q4_0'))",
)

SUBJECTS = {  # name -> what takes the keys
    "all in JavaScript": "#floor",
    "BitsExplorer": ".qviz-explorer .noUi-handle[aria-label='Bits']",
    "TensorExplorer": ".qviz-explorer select:has(option[data-value^='Q4_0'])",
    "BlockExplorer": ".qviz-explorer .noUi-handle[aria-label='Block in the row']",
}

CLOCK = """() => {
    window.paints = [];
    let pressed = null;
    document.addEventListener('keydown', () => { pressed = performance.now(); }, true);
    document.addEventListener('qviz-drawn', () => {
        if (pressed === null) return;
        const start = pressed;
        pressed = null;
        requestAnimationFrame(() => {
            const channel = new MessageChannel();  // its message comes right after the frame was painted
            channel.port1.onmessage = () => window.paints.push(performance.now() - start);
            channel.port2.postMessage(null);
        });
    }, true);
}"""


def move(book: NotebookPage, selector: str, key: str) -> float:
    """Press a key; milliseconds until the frame that it caused is painted."""
    book.page.evaluate("window.paints.length = 0")
    book.page.keyboard.press(key)
    book.page.wait_for_function("window.paints.length > 0", timeout=10_000, polling=20)
    book.page.wait_for_timeout(60)  # a hand rests, too
    return book.page.evaluate("window.paints[0]")


def measure(moves: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in SUBJECTS}
    with tempfile.TemporaryDirectory() as folder, browser() as chrome:
        lab = Lab(Path(folder))
        try:
            book = NotebookPage(chrome, lab, lab.notebook("slider.ipynb", SETUP, *CELLS), height=1600, motion=True)
            book.run_all()
            if problems := book.cell_errors() + book.problems:
                raise SystemExit("\n".join(problems))
            book.page.locator(SUBJECTS["BlockExplorer"]).wait_for()
            book.page.evaluate(CLOCK)
            forth_and_back = ["ArrowRight"] * 4 + ["ArrowLeft"] * 4
            for turn in range(-1, -(-moves // 8)):  # the first turn compiles what each format needs
                for name, selector in SUBJECTS.items():
                    book.page.locator(selector).first.focus()
                    for key in forth_and_back:
                        if name == "TensorExplorer":
                            key = {"ArrowRight": "ArrowDown", "ArrowLeft": "ArrowUp"}[key]
                        elapsed = move(book, selector, key)
                        if turn >= 0:
                            found[name].append(elapsed)
        finally:
            lab.stop()
    return found


def summary(times: list[float]) -> dict[str, Any]:
    ordered = sorted(times)
    return {
        "moves": len(times),
        "median_ms": round(statistics.median(times), 1),
        "p95_ms": round(ordered[min(len(times) - 1, int(0.95 * len(times)))], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moves", type=int, default=24, help="moves of each subject")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    results = {name: summary(times) for name, times in measure(options.moves).items()}
    floor = results["all in JavaScript"]
    print(
        f"{'key press -> paint, 1024 × 1024 weights':40} {'moves':>5} {'median':>8} {'p95':>8}   × floor (median, p95)"
    )
    for name, found in results.items():
        ratios = [found[key] / floor[key] for key in ("median_ms", "p95_ms")]
        found["ratio_median"], found["ratio_p95"] = (round(ratio, 2) for ratio in ratios)
        print(
            f"{name:40} {found['moves']:5} {found['median_ms']:5.1f} ms {found['p95_ms']:5.1f} ms"
            f"   {ratios[0]:.2f}, {ratios[1]:.2f}"
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

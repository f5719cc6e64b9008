import { role } from "./colour.js";
import { h } from "./dom.js";

// A canvas as wide as its place and as sharp as the screen. `draw` gets a context in CSS pixels.
export function surface(height, draw) {
  const canvas = h("canvas", { role: "img" });
  canvas.style.height = `${height}px`;
  const redraw = () => {
    const width = canvas.clientWidth;
    if (!width) return;
    const ratio = window.devicePixelRatio || 1;
    const size = [Math.round(width * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, canvas.clientHeight);
    draw(context, width, canvas.clientHeight);
  };
  new ResizeObserver(redraw).observe(canvas);
  return { canvas, redraw };
}

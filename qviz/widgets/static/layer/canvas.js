// A canvas as wide as its place and as sharp as the screen, and the strokes that pictures are made of.
import { h } from "./dom.js";

// `draw` gets a context in CSS pixels, the width and the height.
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

// The middle of the pixel at `at`: a line of one pixel stays sharp there.
export const sharp = (at) => Math.round(at) + 0.5;

export function line(c, x1, y1, x2, y2) {
  c.beginPath();
  c.moveTo(x1, y1);
  c.lineTo(x2, y2);
  c.stroke();
}

// Lines [x1, y1, x2, y2] in one stroke: where they overlap, a faint one stays as faint as a single one.
export function lines(c, segments) {
  c.beginPath();
  for (const [x1, y1, x2, y2] of segments) {
    c.moveTo(x1, y1);
    c.lineTo(x2, y2);
  }
  c.stroke();
}

// A line through points [x, y]; null lifts the pen.
export function polyline(c, points) {
  c.beginPath();
  let pen = false;
  for (const point of points) {
    if (point === null) pen = false;
    else if (pen) c.lineTo(...point);
    else {
      c.moveTo(...point);
      pen = true;
    }
  }
  c.stroke();
}

export function dashed(c, pattern, paint) {
  c.setLineDash(pattern);
  paint();
  c.setLineDash([]);
}

export function faint(c, alpha, paint) {
  c.globalAlpha = alpha;
  paint();
  c.globalAlpha = 1;
}

export function clipped(c, x, y, width, height, paint) {
  c.save();
  c.beginPath();
  c.rect(x, y, width, height);
  c.clip();
  paint();
  c.restore();
}

// A filled circle, with a rim in the colour of strokes that lifts it off what lies behind.
export function dot(c, x, y, radius, rim = true) {
  c.beginPath();
  c.arc(x, y, radius, 0, 2 * Math.PI);
  if (rim) {
    c.lineWidth = 1.5;
    c.stroke();
  }
  c.fill();
}

export function ring(c, x, y, radius) {
  c.beginPath();
  c.arc(x, y, radius, 0, 2 * Math.PI);
  c.stroke();
}

// A frame that is seen on black, on white, and on itself; `thick` is its line, and what stands out on both sides.
export function framed(c, box, colour, around, thick = 1.5, rim = 1) {
  for (const [stroke, width] of [
    [around, thick + 2 * rim],
    [colour, thick],
  ]) {
    c.strokeStyle = stroke;
    c.lineWidth = width;
    c.strokeRect(...box);
  }
}

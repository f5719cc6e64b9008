// What pictures of a matrix of weights share: blocks, cross hairs, the place of a weight, the numbers of their colours.
import { line, sharp } from "./canvas.js";
import { within } from "./keys.js";
import { signed } from "./pixels.js";
import { number } from "./text.js";

// Rows and columns of weights under a pixel (see matrix.py).
export const steps = ({ window: part, pixels }) => [
  Math.ceil(part.rows / pixels.shape[0]),
  Math.ceil(part.columns / pixels.shape[1]),
];

// Lines between blocks, where there is room for them.
export function blocks(c, part, block, width, height, ink) {
  if (block <= 1 || width / (part.columns / block) < 24) return;
  c.strokeStyle = ink.ink;
  c.globalAlpha = 0.55;
  c.lineWidth = 1;
  for (let column = block - (part.left % block); column < part.columns; column += block) {
    const at = sharp((column / part.columns) * width);
    line(c, at, 0, at, height);
  }
  c.globalAlpha = 1;
}

// Cross hairs around a pixel.
export function hairs(c, x, y, half, ink) {
  for (const [colour, thick] of [
    [ink.paper, 4],
    [ink.ink, 1.5],
  ]) {
    c.strokeStyle = colour;
    c.lineWidth = thick;
    c.beginPath();
    for (const [dx, dy] of [
      [1, 0],
      [-1, 0],
      [0, 1],
      [0, -1],
    ]) {
      c.moveTo(x + dx * half, y + dy * half);
      c.lineTo(x + dx * (half + 9), y + dy * (half + 9));
    }
    c.rect(x - half, y - half, 2 * half, 2 * half);
    c.stroke();
  }
}

// The pointer is kept as a weight, not as a pixel: it stays where it is when the picture zooms.
export function weightAt({ window: part }, row, column) {
  return {
    row: within(Math.floor(row), part.top + part.rows - 1, part.top),
    column: within(Math.floor(column), part.left + part.columns - 1, part.left),
  };
}

// First and last code of the bar of an image's colours, and the numbers under it.
export const codes = ({ colours }) => (colours === "diverging" ? [0, 254] : [1, 254]);

export function marks({ colours, limit }) {
  if (colours === "diverging") return signed(limit);
  return [limit / 1024, limit / 32, limit].map((v, i) => (i ? "" : "≤ ") + number(v, 2));
}

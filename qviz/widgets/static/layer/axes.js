// Axes, grid lines with their numbers, and histograms.
import { line, sharp } from "./canvas.js";
import { number, ticks } from "./text.js";

// A horizontal axis with ticks and numbers below it.
export function axis(c, scale, low, high, y, width, ink) {
  c.strokeStyle = ink.soft;
  c.fillStyle = ink.soft;
  c.lineWidth = 1;
  c.font = ink.font;
  c.textAlign = "center";
  c.textBaseline = "top";
  c.beginPath();
  c.moveTo(0, y + 0.5);
  c.lineTo(width, y + 0.5);
  for (const value of ticks(low, high, Math.max(3, width / 110))) {
    const x = sharp(scale(value));
    c.moveTo(x, y);
    c.lineTo(x, y + 5);
    const text = number(value);
    const half = c.measureText(text).width / 2;
    if (x - half >= 0 && x + half <= width) c.fillText(text, x, y + 8);
  }
  c.stroke();
}

// Horizontal grid lines from `left` to `right`, each with its number at the left.
export function rules(c, ink, values, y, [left, right], text = number, gap = 8) {
  c.strokeStyle = ink.line;
  c.fillStyle = ink.soft;
  c.lineWidth = 1;
  c.textAlign = "right";
  c.textBaseline = "middle";
  for (const value of values) {
    const at = sharp(y(value));
    line(c, left, at, right, at);
    c.fillText(text(value), left - gap, at);
  }
}

export const percent = (share) => `${Math.round(100 * share)} %`;

// Whole numbers under an axis, as many as fit.
export function wholes(c, ink, last, x, y, width, most = 90) {
  c.fillStyle = ink.soft;
  c.textAlign = "center";
  c.textBaseline = "top";
  for (const j of ticks(0, last, Math.max(3, width / most))) if (Number.isInteger(j)) c.fillText(String(j), x(j), y);
}

// A word at the left and one at the right end of a line of text.
export function ends(c, ink, y, [left, first], [right, last] = []) {
  c.fillStyle = ink.soft;
  c.textBaseline = "top";
  c.textAlign = "left";
  c.fillText(first, left, y);
  if (!last) return;
  c.textAlign = "right";
  c.fillText(last, right, y);
}

// The outline of a histogram's bars, closed along `base`; `y` gives the height of a count.
export function outline(c, scale, { counts, low, high }, base, y) {
  const step = (high - low) / counts.length;
  c.beginPath();
  c.moveTo(scale(low), base);
  for (let i = 0; i < counts.length; i++) {
    const top = y(counts[i]);
    c.lineTo(scale(low + i * step), top);
    c.lineTo(scale(low + (i + 1) * step), top);
  }
  c.lineTo(scale(high), base);
}

const highest = (counts, least) => counts.reduce((peak, n) => Math.max(peak, n), least);

function filled(c, fill, alpha, stroke, thick) {
  c.globalAlpha = alpha;
  c.fillStyle = fill;
  c.fill();
  c.globalAlpha = 1;
  if (!stroke) return;
  c.strokeStyle = stroke;
  c.lineWidth = thick;
  c.stroke();
}

// A histogram as a filled outline that reaches `height` at its peak.
export function area(c, scale, histogram, base, height, fill, stroke) {
  const peak = highest(histogram.counts, 1);
  outline(c, scale, histogram, base, (n) => base - (height * n) / peak);
  filled(c, fill.colour, fill.alpha, stroke, 1.25);
}

// A histogram on a logarithmic scale: a single value shows, too.
export function hill(c, scale, histogram, [top, base], fill, alpha, stroke) {
  const peak = Math.log(highest(histogram.counts, 2));
  outline(c, scale, histogram, base, (n) => (n ? base - (base - top) * (0.06 + (0.94 * Math.log(n)) / peak) : base));
  filled(c, fill, alpha, stroke, 1);
}

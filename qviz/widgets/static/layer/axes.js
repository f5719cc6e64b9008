import { number, ticks } from "./text.js";

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
    const x = Math.round(scale(value)) + 0.5;
    c.moveTo(x, y);
    c.lineTo(x, y + 5);
    const text = number(value);
    const half = c.measureText(text).width / 2;
    if (x - half >= 0 && x + half <= width) c.fillText(text, x, y + 8);
  }
  c.stroke();
}

// A histogram as a filled outline that reaches `height` at its peak.
export function area(c, scale, histogram, base, height, fill, stroke) {
  const { counts, low, high } = histogram;
  let peak = 1;
  for (const n of counts) peak = Math.max(peak, n);
  const step = (high - low) / counts.length;
  c.beginPath();
  c.moveTo(scale(low), base);
  for (let i = 0; i < counts.length; i++) {
    const y = base - (height * counts[i]) / peak;
    c.lineTo(scale(low + i * step), y);
    c.lineTo(scale(low + (i + 1) * step), y);
  }
  c.lineTo(scale(high), base);
  c.globalAlpha = fill.alpha;
  c.fillStyle = fill.colour;
  c.fill();
  c.globalAlpha = 1;
  if (stroke) {
    c.strokeStyle = stroke;
    c.lineWidth = 1.25;
    c.stroke();
  }
}

export function dot(c, x, y, radius, halo = true) {
  c.beginPath();
  c.arc(x, y, radius, 0, 2 * Math.PI);
  if (halo) {
    c.lineWidth = 1.5;
    c.stroke();
  }
  c.fill();
}

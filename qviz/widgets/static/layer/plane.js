// The plane of every picture of size against damage: logarithmic axes, and what lies beyond the budget in the shade.
import { rules } from "./axes.js";
import { dot, line, polyline, ring } from "./canvas.js";
import { logTicks, number, ticks } from "./text.js";

// Where sizes are written: many digits within a power of ten, round steps where the largest is close to the smallest.
function sizes(least, most) {
  if (most / least < 2) return ticks(least, most, 6);
  const found = [];
  for (let power = Math.floor(Math.log10(least)); power <= Math.log10(most); power++) {
    for (const digit of [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9]) found.push(digit * 10 ** power);
  }
  return found;
}

export function sizeAndDamage(c, ink, plane, { x, y, low, high, least, most, left, right, top, base, width, foot }) {
  const wall = x(plane.budget);
  c.fillStyle = ink.line;
  c.globalAlpha = 0.45;
  c.fillRect(wall, top, Math.max(0, width - right - wall), base - top);
  c.globalAlpha = 1;
  rules(c, ink, logTicks(low, high), y, [left, width - right], (v) => number(v, 3, 1e-6));
  c.textAlign = "center";
  c.textBaseline = "top";
  let free = -Infinity;
  for (const size of sizes(least, most)) {
    const at = x(size);
    if (at < Math.max(left, free) || at > width - right) continue;
    c.fillText(number(size), at, base + foot);
    free = at + 48;
  }
  c.textAlign = "right";
  c.fillText(`${plane.across}, logarithmic →`, width - right, base + foot + 20);
  c.textAlign = "left";
  c.fillText(`↑ ${plane.upwards}, logarithmic`, left, base + foot + 20);
  c.strokeStyle = ink.soft;
  c.lineWidth = 2;
  line(c, wall, top, wall, base);
}

// The line along the formats that nothing beats at their size.
export function frontier(c, ink, points) {
  c.strokeStyle = ink.ok;
  c.lineWidth = 2;
  polyline(c, points);
}

// A format as a point; the best one within the budget has a ring.
export function format(c, ink, [x, y], colour, radius, best) {
  c.fillStyle = colour;
  c.strokeStyle = ink.card;
  dot(c, x, y, radius);
  if (best) marked(c, ink, x, y);
}

// The ring around the best of many.
export function marked(c, ink, x, y, radius = 10) {
  c.strokeStyle = ink.ok;
  c.lineWidth = 2.5;
  ring(c, x, y, radius);
}

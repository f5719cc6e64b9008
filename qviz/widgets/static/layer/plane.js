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

// What is written below the plane, [left, right]: as much of it as fits beside each other; `wide` measures a text.
export function captions({ upwards, across }, room, wide) {
  const both = [
    [`↑ ${upwards}, logarithmic`, `${across}, logarithmic →`],
    [`↑ ${upwards}`, `${across} →`],
    [`↑ ${upwards.split(/,| from /)[0]}`, `${across} →`],
  ];
  return both.find(([left, right]) => wide(left) + wide(right) + 24 <= room) ?? both[2];
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
  const [up, over] = captions(plane, width - right - left, (text) => c.measureText(text).width);
  c.fillText(over, width - right, base + foot + 20);
  c.textAlign = "left";
  c.fillText(up, left, base + foot + 20);
  c.strokeStyle = ink.soft;
  c.lineWidth = 2;
  line(c, wall, top, wall, base);
}

// Where a hand takes the wall; `grip` is what it holds, or may take.
export function handle(c, ink, x, y, grip) {
  c.fillStyle = grip ? ink.ink : ink.soft;
  c.beginPath();
  c.roundRect(x - 5, y - 11, 10, 22, 5);
  c.fill();
  c.strokeStyle = ink.card;
  c.lineWidth = 1.25;
  for (const at of [-1.75, 1.75]) line(c, x + at, y - 5, x + at, y + 5);
  if (!grip) return;
  c.strokeStyle = ink.ink;
  c.lineWidth = 1.5;
  c.beginPath();
  c.roundRect(x - 8, y - 14, 16, 28, 8);
  c.stroke();
}

// No name crosses the wall or its handle: [left, top, width, height] of both.
export const wallBoxes = (x, top, base) => [
  [x - 3, top, 6, base - top],
  [x - 9, top - 1, 18, 26],
];

// The line along the formats that nothing beats at their size.
export function frontier(c, ink, points, colour = ink.ok, width = 2) {
  c.strokeStyle = colour;
  c.lineWidth = width;
  polyline(c, points);
}

// A square, standing on a corner if `turned`.
function square(c, x, y, radius, turned) {
  c.beginPath();
  for (let k = 0; k < 4; k++) {
    const angle = (k + (turned ? 0 : 0.5)) * (Math.PI / 2);
    c.lineTo(x + 1.25 * radius * Math.cos(angle), y + 1.25 * radius * Math.sin(angle));
  }
  c.closePath();
  c.lineWidth = 1.5;
  c.stroke();
  c.fill();
}

// A format as a point; the best one within the budget has a ring. Each way of making files has a shape of its own.
export function format(c, ink, [x, y], colour, radius, best, series = 0) {
  c.fillStyle = colour;
  c.strokeStyle = ink.card;
  if (series) square(c, x, y, radius, series === 1);
  else dot(c, x, y, radius);
  if (best) marked(c, ink, x, y);
}

// The ring around the best of many.
export function marked(c, ink, x, y, radius = 10) {
  c.strokeStyle = ink.ok;
  c.lineWidth = 2.5;
  ring(c, x, y, radius);
}

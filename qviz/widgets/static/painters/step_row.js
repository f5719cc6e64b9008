// One row of weights around the cursor: where each began, where it is now, and the levels that it may take. The weight
// whose turn it is falls onto a level; then arcs carry its error to the weights that it pushes.
import { ends, rules } from "../layer/axes.js";
import { dashed, dot, faint, line, ring, sharp } from "../layer/canvas.js";
import { picture } from "../layer/picture.js";
import { clicked, stepped, waiting } from "../layer/steps.js";
import { ticks } from "../layer/text.js";

const [left, right, top, base] = [56, 10, 24, 178];
const MOST_ARCS = 20;
const THICKEST = 9; // CSS pixels, for the largest share

function across(row, width) {
  const cell = (width - left - right) / row.original.length;
  return { cell, x: (j) => left + (j + 0.5) * cell };
}

// The levels of each column's group: lines, or a band where they stand too close.
function levels(c, row, { cell, x }, y, current, ink) {
  c.fillStyle = ink["level-fill"];
  const half = cell * 0.36;
  row.original.forEach((_, j) => {
    if (!Number.isFinite(row.steps[j])) return;
    const bottom = row.bottoms[j];
    if (Math.abs(y(0) - y(row.steps[j])) < 3) {
      const high = y(Math.min(row.high, bottom + row.steps[j] * (row.levels - 1)));
      const low = y(Math.max(row.low, bottom));
      faint(c, 0.14, () => c.fillRect(x(j) - half, high, 2 * half, low - high));
      return;
    }
    c.globalAlpha = j === current ? 0.95 : 0.42;
    for (let k = 0; k < row.levels; k++) {
      const level = bottom + row.steps[j] * k;
      if (level >= row.low && level <= row.high) c.fillRect(x(j) - half, y(level) - 0.75, 2 * half, 1.5);
    }
  });
  c.globalAlpha = 1;
  c.strokeStyle = ink.soft;
  dashed(c, [3, 3], () => {
    for (const start of row.groups) {
      const at = sharp(left + (start - row.first) * cell);
      line(c, at, top, at, base);
    }
  });
}

// Arcs from the weight that has fallen to those that make up for it: as thick as their share, those that count most.
function arcs(c, row, { x }, y, current, ink) {
  const from = [x(current), y(row.now[current])];
  const strongest = Array.from(row.shares.keys())
    .filter((j) => row.shares[j] > 0.002)
    .sort((a, b) => row.shares[b] - row.shares[a])
    .slice(0, MOST_ARCS);
  const most = row.shares[strongest[0]];
  c.strokeStyle = ink.changed;
  c.lineCap = "round";
  if (row.pushed === 0) return;
  for (const j of strongest.reverse()) {
    const to = [x(j), y(row.now[j])];
    const high = Math.max(top - 8, Math.min(from[1], to[1]) - 18 - 0.22 * (to[0] - from[0]));
    c.lineWidth = Math.max(0.6, (THICKEST * row.shares[j]) / most) * (row.pushed ?? 1);
    c.beginPath();
    c.moveTo(...from);
    c.quadraticCurveTo((from[0] + to[0]) / 2, high, ...to);
    c.stroke();
  }
  c.lineCap = "butt";
}

// From where a weight began to where it is; then the weight whose turn it is, and its fall.
function weights(c, row, { cell, x }, y, current, ink) {
  const size = Math.min(4, cell * 0.3);
  row.original.forEach((began, j) => {
    const [from, to] = [y(began), y(row.now[j])];
    c.strokeStyle = j <= current ? ink.level : ink.weight;
    c.lineWidth = j === current ? 1 : 1.5;
    faint(c, 0.6, () => line(c, x(j), from, x(j), j === current ? y(row.before[j]) : to));
    c.strokeStyle = ink.soft;
    c.lineWidth = 1.25;
    ring(c, x(j), from, size);
    if (j === current) return;
    c.fillStyle = j < current ? ink.level : ink.weight;
    c.strokeStyle = ink.card;
    dot(c, x(j), to, size);
  });
  const [from, to] = [y(row.before[current]), y(row.now[current])];
  const large = Math.min(6, cell * 0.38);
  c.strokeStyle = ink.changed;
  c.lineWidth = 3;
  line(c, x(current), from, x(current), to);
  c.lineWidth = 1.5;
  ring(c, x(current), from, large);
  c.strokeStyle = ink.card;
  c.fillStyle = ink.changed;
  dot(c, x(current), to, large + 1);
}

// Whose turn it is: a band over all of its height, and the words above it.
function turn(c, row, { cell, x }, current, ink, width) {
  c.fillStyle = ink.changed;
  faint(c, 0.16, () => c.fillRect(x(current) - cell / 2, top - 6, cell, base - top + 6));
  const words = "its turn";
  const half = c.measureText(words).width / 2;
  c.textAlign = "center";
  c.textBaseline = "bottom";
  c.fillText(words, Math.min(width - right - half, Math.max(left + half, x(current))), top - 8);
}

function columns(c, row, { cell, x }, current, ink) {
  c.textAlign = "center";
  c.textBaseline = "top";
  const every = [1, 2, 4, 5, 8, 10].find((n) => n * cell >= 34) ?? 20;
  row.original.forEach((_, j) => {
    const shown = row.first + j;
    if (j !== current && (shown % every || Math.abs(j - current) * cell < 34)) return;
    c.fillStyle = j === current ? ink.ink : ink.soft;
    c.fillText(String(shown), x(j), base + 6);
  });
}

// A step as it happens: first the weight falls, then its error reaches the others.
export function stepping(from, to, t) {
  if (from.first !== to.first || from.row !== to.row || from.column === to.column) return to;
  const current = to.column - to.first;
  const [fall, push] = [Math.min(1, 2 * t), Math.max(0, 2 * t - 1)];
  const now = to.now.map((value, j) => to.before[j] + (value - to.before[j]) * (j === current ? fall : push));
  return { ...to, now, pushed: push };
}

export function StepRow(host, view) {
  const it = picture(host, view, {
    height: 220,
    hint: "Arrow keys choose column and row",
    moves: stepping,
    draw(c, row, { width, ink }) {
      const place = across(row, width);
      const y = (v) => base - ((base - top) * (v - row.low)) / (row.high - row.low);
      const current = row.column - row.first;
      const end = left + Math.min(row.original.length, row.waits - row.first) * place.cell;
      waiting(c, end, width - right, top, base - top, ink, "waits until the batch ends");
      rules(c, ink, ticks(row.low, row.high, 4), y, [left, width - right]);
      turn(c, row, place, current, ink, width);
      levels(c, row, place, y, current, ink);
      faint(c, 0.55, () => arcs(c, row, place, y, current, ink));
      weights(c, row, place, y, current, ink);
      columns(c, row, place, current, ink);
      ends(c, ink, base + 26, [left, "column, in processing order →"]);
    },
  });
  stepped(it.canvas, view, () => ({ column: it.figure.column, row: it.figure.row, n: it.panel.options.n }));
  clicked(it.canvas, view, ({ x, width }) => {
    const j = Math.floor((x - left) / across(it.figure, width).cell);
    return j >= 0 && j < it.figure.original.length ? it.figure.first + j : undefined;
  });
  return it;
}

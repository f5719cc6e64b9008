// One row of weights around the cursor: where each began, where it is now, and the levels that it may take.
import { ends, rules } from "../layer/axes.js";
import { dashed, dot, faint, line, ring, sharp } from "../layer/canvas.js";
import { picture } from "../layer/picture.js";
import { clicked, stepped, waiting } from "../layer/steps.js";
import { ticks } from "../layer/text.js";

const [left, right, top, base] = [56, 10, 10, 170];

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
  const large = Math.min(5.5, cell * 0.36);
  c.strokeStyle = ink.changed;
  c.lineWidth = 3;
  line(c, x(current), from, x(current), to);
  c.strokeStyle = ink.card;
  c.fillStyle = ink.weight;
  dot(c, x(current), from, large);
  c.fillStyle = ink.level;
  dot(c, x(current), to, large);
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

export function StepRow(host, view) {
  const it = picture(host, view, {
    height: 212,
    hint: "Arrow keys choose column and row",
    draw(c, row, { width, ink }) {
      const place = across(row, width);
      const y = (v) => base - ((base - top) * (v - row.low)) / (row.high - row.low);
      const current = row.column - row.first;
      c.fillStyle = ink.line;
      faint(c, 0.6, () => c.fillRect(left + current * place.cell, top, place.cell, base - top));
      const end = left + Math.min(row.original.length, row.waits - row.first) * place.cell;
      waiting(c, end, width - right, top, base - top, ink, "waits until the batch ends");
      rules(c, ink, ticks(row.low, row.high, 4), y, [left, width - right]);
      levels(c, row, place, y, current, ink);
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

import { dot } from "../layer/axes.js";
import { role } from "../layer/colour.js";
import { gptqSteers, gptqWaiting } from "../layer/steps.js";
import { surface } from "../layer/surface.js";
import { number, ticks } from "../layer/text.js";

// One row of weights around the cursor: where each began, where it is now, and the levels that it may take.
export function StepRow(host, view) {
  let row;
  let panel;
  const [left, right, top, base] = [56, 10, 12, 320];
  const across = (width) => {
    const cell = (width - left - right) / row.original.length;
    return { cell, x: (j) => left + (j + 0.5) * cell };
  };
  const { canvas, redraw } = surface(366, (c, width) => {
    if (!row) return;
    const ink = view.ink();
    const changed = role(host, "changed");
    const { cell, x } = across(width);
    const y = (v) => base - ((base - top) * (v - row.low)) / (row.high - row.low);
    const inside = (v) => v >= row.low && v <= row.high;
    const current = row.column - row.first;
    const last = row.original.length;
    c.font = ink.font;

    c.fillStyle = ink.line;
    c.globalAlpha = 0.6;
    c.fillRect(left + current * cell, top, cell, base - top);
    c.globalAlpha = 1;
    const end = Math.min(last, row.waits - row.first);
    gptqWaiting(c, left + end * cell, width - right, top, base - top, ink, "waits until the batch ends");

    c.strokeStyle = ink.line;
    c.fillStyle = ink.soft;
    c.lineWidth = 1;
    c.textAlign = "right";
    c.textBaseline = "middle";
    for (const value of ticks(row.low, row.high, 6)) {
      const at = Math.round(y(value)) + 0.5;
      c.beginPath();
      c.moveTo(left, at);
      c.lineTo(width - right, at);
      c.stroke();
      c.fillText(number(value), left - 8, at);
    }

    // levels of each column's group
    c.fillStyle = ink["level-fill"];
    for (let j = 0; j < last; j++) {
      if (!Number.isFinite(row.steps[j])) continue;
      const gap = Math.abs(y(0) - y(row.steps[j]));
      const half = cell * 0.36;
      if (gap < 3) {
        c.globalAlpha = 0.14;
        const [high, low] = [row.bottoms[j] + row.steps[j] * (row.levels - 1), row.bottoms[j]];
        const [a, b] = [y(Math.min(row.high, high)), y(Math.max(row.low, low))];
        c.fillRect(x(j) - half, a, 2 * half, b - a);
        continue;
      }
      c.globalAlpha = j === current ? 0.95 : 0.42;
      for (let k = 0; k < row.levels; k++) {
        const level = row.bottoms[j] + row.steps[j] * k;
        if (inside(level)) c.fillRect(x(j) - half, y(level) - 0.75, 2 * half, 1.5);
      }
    }
    c.globalAlpha = 1;
    c.strokeStyle = ink.soft;
    c.setLineDash([3, 3]);
    for (const start of row.groups) {
      const at = Math.round(left + (start - row.first) * cell) + 0.5;
      c.beginPath();
      c.moveTo(at, top);
      c.lineTo(at, base);
      c.stroke();
    }
    c.setLineDash([]);

    // from where a weight began to where it is
    for (let j = 0; j < last; j++) {
      const [from, to] = [y(row.original[j]), y(row.now[j])];
      c.strokeStyle = j <= current ? ink.level : ink.weight;
      c.lineWidth = j === current ? 1 : 1.5;
      c.globalAlpha = 0.6;
      c.beginPath();
      c.moveTo(x(j), from);
      c.lineTo(x(j), j === current ? y(row.before[j]) : to);
      c.stroke();
      c.globalAlpha = 1;
      c.strokeStyle = ink.soft;
      c.lineWidth = 1.25;
      c.beginPath();
      c.arc(x(j), from, Math.min(4, cell * 0.3), 0, 2 * Math.PI);
      c.stroke();
      if (j === current) continue;
      c.fillStyle = j < current ? ink.level : ink.weight;
      c.strokeStyle = ink.card;
      dot(c, x(j), to, Math.min(4, cell * 0.3));
    }
    // the weight whose turn it is, and its fall
    const [from, to] = [y(row.before[current]), y(row.now[current])];
    c.strokeStyle = changed;
    c.lineWidth = 3;
    c.beginPath();
    c.moveTo(x(current), from);
    c.lineTo(x(current), to);
    c.stroke();
    c.strokeStyle = ink.card;
    c.fillStyle = ink.weight;
    dot(c, x(current), from, Math.min(5.5, cell * 0.36));
    c.fillStyle = ink.level;
    dot(c, x(current), to, Math.min(5.5, cell * 0.36));

    c.textAlign = "center";
    c.textBaseline = "top";
    const every = [1, 2, 4, 5, 8, 10].find((n) => n * cell >= 34) ?? 20;
    for (let j = 0; j < last; j++) {
      const shown = row.first + j;
      if (j !== current && (shown % every || Math.abs(j - current) * cell < 34)) continue;
      c.fillStyle = j === current ? ink.ink : ink.soft;
      c.fillText(String(shown), x(j), base + 6);
    }
    c.fillStyle = ink.soft;
    c.textAlign = "left";
    c.fillText("column, in processing order →", left, base + 26);
  });
  host.append(canvas);
  gptqSteers(canvas, view, () => ({ column: row.column, row: row.row, n: panel.options.n }));
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const j = Math.floor((event.clientX - box.left - left) / across(box.width).cell);
    if (j >= 0 && j < row.original.length) view.send({ event: "step", column: row.first + j });
  });
  return {
    show(next) {
      panel = next;
      row = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label} Arrow keys choose column and row.`);
      redraw();
    },
    redraw,
  };
}

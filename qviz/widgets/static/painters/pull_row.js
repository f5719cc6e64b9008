import { gptqSteers, gptqWaiting } from "../layer/steps.js";
import { surface } from "../layer/surface.js";
import { number, ticks } from "../layer/text.js";

// Row i of U as bars; what the explicit formula gives, as points on their tips.
export function PullRow(host, view) {
  let pull;
  let panel;
  const [left, right, top, base] = [56, 10, 14, 190];
  const { canvas, redraw } = surface(236, (c, width) => {
    if (!pull) return;
    const ink = view.ink();
    const n = pull.pull.length;
    const cell = (width - left - right) / n;
    const x = (j) => left + j * cell;
    const middle = (top + base) / 2;
    const y = (v) => middle - ((base - top) / 2) * Math.min(1, Math.max(-1, v / (1.1 * pull.limit)));
    c.font = ink.font;
    gptqWaiting(c, x(pull.waits), width - right, top, base - top, ink, "");
    c.lineWidth = 1;
    c.strokeStyle = ink.line;
    c.fillStyle = ink.soft;
    c.textAlign = "right";
    c.textBaseline = "middle";
    for (const value of ticks(-1.1 * pull.limit, 1.1 * pull.limit, 6)) {
      const at = Math.round(y(value)) + 0.5;
      c.beginPath();
      c.moveTo(left, at);
      c.lineTo(width - right, at);
      c.stroke();
      c.fillText(`${number(100 * value)} %`, left - 6, at);
    }
    c.fillStyle = ink.weight;
    const wide = Math.max(1, cell - (cell > 3 ? 1 : 0));
    for (let j = 0; j < n; j++) {
      const tip = y(-pull.pull[j]);
      c.fillRect(x(j), Math.min(middle, tip), wide, Math.abs(tip - middle));
    }
    c.fillStyle = ink.level;
    const size = Math.max(2.2, Math.min(4, cell * 0.8));
    pull.explicit.forEach((v, j) => {
      if (j > pull.column) c.fillRect(x(j) + wide / 2 - size / 2, y(-v) - size / 2, size, size);
    });
    c.strokeStyle = ink.ink;
    c.lineWidth = 2;
    c.beginPath();
    c.moveTo(x(pull.column) + wide / 2, top);
    c.lineTo(x(pull.column) + wide / 2, base);
    c.stroke();
    c.fillStyle = ink.soft;
    c.textAlign = "center";
    c.textBaseline = "top";
    for (const j of ticks(0, n - 1, Math.max(3, width / 90))) if (Number.isInteger(j)) c.fillText(String(j), x(j) + wide / 2, base + 6);
    c.textAlign = "left";
    c.fillText("column, in processing order →", left, base + 26);
  });
  host.append(canvas);
  gptqSteers(canvas, view, () => ({ column: pull.column, row: -1, n: pull.pull.length }));
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const j = Math.floor(((event.clientX - box.left - left) / (box.width - left - right)) * pull.pull.length);
    if (j >= 0 && j < pull.pull.length) view.send({ event: "step", column: j });
  });
  return {
    show(next) {
      panel = next;
      pull = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label} Arrow keys choose a column.`);
      redraw();
    },
    redraw,
  };
}

import { dot } from "../layer/axes.js";
import { gptqSteers } from "../layer/steps.js";
import { surface } from "../layer/surface.js";
import { ticks } from "../layer/text.js";

// Two running losses; what is past in full strength, what is to come faint.
export function LossRace(host, view) {
  let race;
  let panel;
  const [left, right, top, base] = [56, 10, 14, 190];
  const { canvas, redraw } = surface(236, (c, width) => {
    if (!race) return;
    const ink = view.ink();
    const n = race.ours.length;
    let most = 1;
    for (const line of [race.ours, race.nearest]) for (const v of line) if (Number.isFinite(v)) most = Math.max(most, v);
    most = Math.min(most, 4) * 1.06; // a loss that explodes leaves the picture, and the readout says how far
    const x = (j) => left + ((width - left - right) * j) / Math.max(1, n - 1);
    const y = (v) => base - ((base - top) * v) / most;
    c.font = ink.font;
    c.lineWidth = 1;
    c.strokeStyle = ink.line;
    c.fillStyle = ink.soft;
    c.textAlign = "right";
    c.textBaseline = "middle";
    for (const value of ticks(0, most, 5)) {
      const at = Math.round(y(value)) + 0.5;
      c.beginPath();
      c.moveTo(left, at);
      c.lineTo(width - right, at);
      c.stroke();
      c.fillText(`${Math.round(100 * value)} %`, left - 6, at);
    }
    c.save();
    c.beginPath();
    c.rect(left - 2, top - 6, width - left - right + 4, base - top + 8);
    c.clip();
    for (const [line, colour] of [[race.nearest, ink.level], [race.ours, ink.weight]]) {
      c.strokeStyle = colour;
      for (const [first, last, alpha, wide] of [[race.column, n - 1, 0.35, 1.5], [0, race.column, 1, 2.5]]) {
        c.globalAlpha = alpha;
        c.lineWidth = wide;
        c.beginPath();
        for (let j = first; j <= last; j++) j === first ? c.moveTo(x(j), y(line[j])) : c.lineTo(x(j), y(line[j]));
        c.stroke();
      }
      c.globalAlpha = 1;
      c.fillStyle = colour;
      c.strokeStyle = ink.card;
      dot(c, x(race.column), y(line[race.column]), 5);
    }
    c.restore();
    c.strokeStyle = ink.soft;
    c.lineWidth = 1;
    c.beginPath();
    c.moveTo(x(race.column), top);
    c.lineTo(x(race.column), base);
    c.stroke();
    c.fillStyle = ink.soft;
    c.textAlign = "center";
    c.textBaseline = "top";
    for (const j of ticks(0, n - 1, Math.max(3, width / 90))) if (Number.isInteger(j)) c.fillText(String(j), x(j), base + 6);
    c.textAlign = "left";
    c.fillText("columns rounded so far →", left, base + 26);
  });
  host.append(canvas);
  gptqSteers(canvas, view, () => ({ column: race.column, row: -1, n: race.ours.length }));
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const j = Math.round(((event.clientX - box.left - left) / (box.width - left - right)) * (race.ours.length - 1));
    view.send({ event: "step", column: Math.min(race.ours.length - 1, Math.max(0, j)) });
  });
  return {
    show(next) {
      panel = next;
      race = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label} Arrow keys choose a column.`);
      redraw();
    },
    redraw,
  };
}

import { dot } from "../layer/axes.js";
import { surface } from "../layer/surface.js";
import { number, ticks } from "../layer/text.js";

// Decibels over iterations; the others as level lines.
export function LloydCurve(host, view) {
  let curve;
  let panel;
  const [left, right, top, base] = [40, 12, 14, 320];
  const across = (width) => (k) => left + 8 + ((width - left - right - 16) * k) / Math.max(1, curve.decibels.length - 1);
  const { canvas, redraw } = surface(370, (c, width) => {
    if (!curve) return;
    const ink = view.ink();
    const x = across(width);
    const known = [...curve.decibels, ...curve.others].filter(Number.isFinite);
    const low = Math.min(...known) - 0.8;
    const high = Math.max(...known) + 0.8;
    const y = (db) => base - ((base - top) * (db - low)) / (high - low);
    c.font = ink.font;
    c.lineWidth = 1;
    c.strokeStyle = ink.line;
    c.fillStyle = ink.soft;
    c.textAlign = "right";
    c.textBaseline = "middle";
    for (const value of ticks(low, high, 7)) {
      const at = Math.round(y(value)) + 0.5;
      c.beginPath();
      c.moveTo(left, at);
      c.lineTo(width - right, at);
      c.stroke();
      c.fillText(number(value), left - 6, at);
    }
    c.textAlign = "left";
    c.textBaseline = "top";
    c.fillText("dB ↑   iteration →", 2, base + 26);
    c.textAlign = "center";
    const every = ticks(0, Math.max(1, curve.decibels.length - 1), Math.max(2, width / 70)).filter(Number.isInteger);
    for (const k of every) c.fillText(String(k), x(k), base + 7);

    // names stand on their lines, and make room for one another
    const order = Array.from(curve.names.keys()).sort((a, b) => curve.others[b] - curve.others[a]);
    let free = -Infinity;
    for (const i of order) {
      if (!Number.isFinite(curve.others[i])) continue;
      const at = y(curve.others[i]);
      c.strokeStyle = ink.ink;
      c.lineWidth = 1.25;
      c.setLineDash([5, 4]);
      c.beginPath();
      c.moveTo(left, at);
      c.lineTo(width - right, at);
      c.stroke();
      c.setLineDash([]);
      const line = Math.max(at - 9, free);
      free = line + 15;
      const text = c.measureText(curve.names[i]).width;
      c.fillStyle = ink.card;
      c.globalAlpha = 0.8;
      c.fillRect(width - right - text - 3, line - 7, text + 4, 14);
      c.globalAlpha = 1;
      c.fillStyle = ink.ink;
      c.textAlign = "right";
      c.textBaseline = "middle";
      c.fillText(curve.names[i], width - right - 1, line);
    }

    c.strokeStyle = ink.level;
    c.lineWidth = 2.5;
    c.beginPath();
    let pen = false;
    curve.decibels.forEach((db, k) => {
      if (!Number.isFinite(db)) return; // exact: beyond any scale
      if (pen) c.lineTo(x(k), y(db));
      else c.moveTo(x(k), y(db));
      pen = true;
    });
    c.stroke();
    const db = curve.decibels[curve.current];
    c.fillStyle = ink.weight;
    c.strokeStyle = ink.card;
    dot(c, x(curve.current), Number.isFinite(db) ? y(db) : top, 6.5);
  });
  canvas.tabIndex = 0;
  canvas.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take the arrow keys
  host.append(canvas);

  const choose = (k) => view.send({ event: "iteration", iteration: Math.min(curve.decibels.length - 1, Math.max(0, k)) });
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const x = across(box.width);
    choose(Math.round((event.clientX - box.left - x(0)) / (x(1) - x(0) || 1)));
  });
  canvas.addEventListener("keydown", (event) => {
    const k = curve.current;
    const last = curve.decibels.length - 1;
    const to = { ArrowLeft: k - 1, ArrowDown: k - 1, ArrowRight: k + 1, ArrowUp: k + 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    choose(to);
    event.preventDefault();
    event.stopPropagation();
  });
  return {
    show(next) {
      panel = next;
      curve = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}. Arrow keys step through the iterations.`);
      redraw();
    },
    redraw,
  };
}

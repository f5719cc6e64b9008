import { dot } from "../layer/axes.js";
import { role } from "../layer/colour.js";
import { keyed, walked } from "../layer/keys.js";
import { surface } from "../layer/surface.js";
import { number, ticks } from "../layer/text.js";

export function AlphaCurve(host, view) {
  let curve;
  let panel;
  const [left, right, top, base] = [52, 14, 14, 196];
  const last = () => curve.alphas.length - 1;
  const across = (width) => (k) => left + 10 + ((width - left - right - 20) * k) / Math.max(1, last());
  const { canvas, redraw } = surface(244, (c, width) => {
    if (!curve) return;
    const ink = view.ink();
    const ok = role(host, "ok");
    const x = across(width);
    // far beyond plain rounding only the fact matters
    const most = Math.min(2.5, Math.max(1, ...curve.calibration, ...curve.heldout) * 1.06);
    const y = (v) => base - ((base - top) * Math.min(v, most)) / most;
    c.font = ink.font;
    c.lineWidth = 1;
    c.textAlign = "right";
    c.textBaseline = "middle";
    for (const value of ticks(0, most, 5)) {
      const at = Math.round(y(value)) + 0.5;
      c.strokeStyle = ink.line;
      c.beginPath();
      c.moveTo(left, at);
      c.lineTo(width - right, at);
      c.stroke();
      c.fillStyle = ink.soft;
      c.fillText(`${Math.round(100 * value)} %`, left - 8, at);
    }
    c.strokeStyle = ink.soft;
    c.setLineDash([4, 3]);
    c.beginPath();
    c.moveTo(left, Math.round(y(1)) + 0.5);
    c.lineTo(width - right, Math.round(y(1)) + 0.5);
    c.stroke();
    c.setLineDash([]);
    for (const [values, colour] of [
      [curve.calibration, ink.level],
      [curve.heldout, ink.weight],
    ]) {
      c.strokeStyle = colour;
      c.lineWidth = 2;
      c.beginPath();
      values.forEach((v, k) => (k ? c.lineTo(x(k), y(v)) : c.moveTo(x(k), y(v))));
      c.stroke();
      c.fillStyle = colour;
      c.strokeStyle = ink.card;
      values.forEach((v, k) => dot(c, x(k), y(v), k === curve.current ? 6.5 : 3.5));
    }
    c.strokeStyle = ok;
    c.lineWidth = 2.5;
    c.beginPath();
    c.arc(x(curve.best), y(curve.calibration[curve.best]), 10.5, 0, 2 * Math.PI);
    c.stroke();
    c.textBaseline = "top";
    c.textAlign = "center";
    const every = width < 380 ? 5 : 2;
    for (let k = 0; k <= last(); k += every) {
      c.fillStyle = ink.soft;
      c.fillText(number(curve.alphas[k], 2), x(k), base + 8);
    }
    c.textAlign = "left";
    c.fillText("alpha", left, base + 28);
    c.textAlign = "right";
    c.fillText("dashed: plain rounding", width - right, base + 28);
  });
  const choose = (alpha) => view.send({ event: "alpha", alpha });
  keyed(canvas, (event) => {
    const to = walked(event, curve.current, last());
    if (to !== undefined) choose(to);
    return to !== undefined;
  });
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const x = across(box.width);
    choose(Math.min(last(), Math.max(0, Math.round((event.clientX - box.left - x(0)) / (x(1) - x(0) || 1)))));
  });
  host.append(canvas);
  return {
    show(next) {
      panel = next;
      curve = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}. Arrow keys choose an alpha.`);
      redraw();
    },
    redraw,
  };
}

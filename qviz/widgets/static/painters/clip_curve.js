import { dot } from "../layer/axes.js";
import { role } from "../layer/colour.js";
import { surface } from "../layer/surface.js";
import { ticks } from "../layer/text.js";

export function ClipCurve(host, view) {
  let clip;
  const [left, right, top, base] = [52, 14, 14, 196];
  const { canvas, redraw } = surface(244, (c, width) => {
    if (!clip) return;
    const ink = view.ink();
    const ok = role(host, "ok");
    const n = clip.tried.length;
    const slot = (width - left - right) / n;
    const x = (k) => left + slot * (k + 0.5);
    const most = Math.min(3, Math.max(1, ...clip.loss) * 1.08);
    const y = (v) => base - ((base - top) * Math.min(v, most)) / most;
    c.font = ink.font;
    c.lineWidth = 1;
    // how many groups took each part, behind the curve
    const all = clip.counts.reduce((a, b) => a + b, 0) || 1;
    const peak = Math.max(...clip.counts, 1);
    c.textAlign = "center";
    clip.counts.forEach((count, k) => {
      const high = (0.62 * (base - top) * count) / peak;
      c.fillStyle = ink.soft;
      c.globalAlpha = 0.22;
      c.fillRect(x(k) - slot * 0.36, base - high, slot * 0.72, high);
      c.globalAlpha = 1;
    });
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
    c.strokeStyle = ink.level;
    c.lineWidth = 2;
    c.beginPath();
    clip.loss.forEach((v, k) => (k ? c.lineTo(x(k), y(v)) : c.moveTo(x(k), y(v))));
    c.stroke();
    c.strokeStyle = ink.card;
    c.fillStyle = ink.level;
    clip.loss.forEach((v, k) => dot(c, x(k), y(v), k === clip.chosen ? 6.5 : 4));
    c.strokeStyle = ok;
    c.lineWidth = 2.5;
    c.beginPath();
    c.arc(x(clip.chosen), y(clip.loss[clip.chosen]), 10.5, 0, 2 * Math.PI);
    c.stroke();
    c.textBaseline = "top";
    c.textAlign = "center";
    const every = slot < 34 ? 2 : 1;
    c.fillStyle = ink.soft;
    for (let k = 0; k < n; k += every) c.fillText(`${Math.round(100 * clip.tried[k])} %`, x(k), base + 8);
    c.textAlign = "left";
    c.fillText("kept of the largest weight", left, base + 28);
    c.textAlign = "right";
    c.fillText(`unclipped: ${Math.round((100 * clip.counts[0]) / all)} % of the groups`, width - right, base + 28);
  });
  host.append(canvas);
  return {
    show(panel) {
      clip = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}`);
      redraw();
    },
    redraw,
  };
}

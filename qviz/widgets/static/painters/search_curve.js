import { dot } from "../layer/axes.js";
import { role } from "../layer/colour.js";
import { surface } from "../layer/surface.js";
import { number, ticks } from "../layer/text.js";

// The error of every candidate as points, the best so far as a line of steps.
export function SearchCurve(host, view) {
  let curve;
  let panel;
  const [left, right, top, base] = [58, 14, 22, 176];
  const across = (width) => {
    const n = Math.max(1, curve.errors.length - 1);
    return (k) => left + 12 + ((width - left - right - 24) * k) / n;
  };
  const { canvas, redraw } = surface(226, (c, width) => {
    if (!curve) return;
    const ink = view.ink();
    const ok = role(host, "ok");
    const x = across(width);
    const known = Array.from(curve.errors).filter(Number.isFinite);
    const most = Math.max(...known, curve.relative ? 1 : 0) * 1.08 || 1;
    const y = (error) => base - ((base - top) * error) / most;

    c.font = ink.font;
    c.lineWidth = 1;
    c.strokeStyle = ink.line;
    c.fillStyle = ink.soft;
    c.textAlign = "right";
    c.textBaseline = "middle";
    for (const value of ticks(0, most, 4)) {
      const at = Math.round(y(value)) + 0.5;
      c.beginPath();
      c.moveTo(left, at);
      c.lineTo(width - right, at);
      c.stroke();
      c.fillText(curve.relative ? `${Math.round(100 * value)} %` : number(value), left - 8, at);
    }
    if (curve.relative) {
      c.strokeStyle = ink.soft;
      c.setLineDash([4, 3]);
      c.beginPath();
      c.moveTo(left, Math.round(y(1)) + 0.5);
      c.lineTo(width - right, Math.round(y(1)) + 0.5);
      c.stroke();
      c.setLineDash([]);
      c.textAlign = "right";
      c.textBaseline = "top";
      c.fillText(`dashed: ${curve.baseline}`, width - right, base + 28); // below, where no point can be
    }

    // the steps of the best so far, up to the candidate on show in full strength
    c.strokeStyle = ok;
    c.lineWidth = 2;
    for (const [first, last, alpha] of [[0, curve.current, 1], [curve.current, curve.errors.length - 1, 0.3]]) {
      c.globalAlpha = alpha;
      c.beginPath();
      for (let k = first; k <= last; k++) {
        const level = y(curve.errors[curve.best[k]]);
        if (k === first) c.moveTo(x(k), level);
        else {
          c.lineTo(x(k), y(curve.errors[curve.best[k - 1]]));
          c.lineTo(x(k), level);
        }
      }
      c.stroke();
    }
    c.globalAlpha = 1;

    curve.errors.forEach((error, k) => {
      if (!Number.isFinite(error)) return;
      const on = k === curve.current;
      c.fillStyle = on ? ink.weight : ink.level;
      c.strokeStyle = ink.card;
      dot(c, x(k), y(error), on ? 7 : 4.5);
    });
    c.strokeStyle = ok;
    c.lineWidth = 2.5;
    c.beginPath();
    c.arc(x(curve.winner), y(curve.errors[curve.winner]), 10, 0, 2 * Math.PI);
    c.stroke();

    c.fillStyle = ink.soft;
    c.textAlign = "center";
    c.textBaseline = "top";
    const every = Math.ceil((curve.errors.length * 24) / width);
    for (let k = 0; k < curve.errors.length; k += every) {
      c.fillStyle = k === curve.current ? ink.weight : ink.soft;
      c.fillText(String(k), x(k), base + 8);
    }
    c.fillStyle = ink.soft;
    c.textAlign = "left";
    c.fillText("candidate", left, base + 28);
  });
  canvas.tabIndex = 0;
  canvas.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take the arrow keys
  host.append(canvas);

  const choose = (k) => view.send({ event: "candidate", candidate: Math.min(curve.errors.length - 1, Math.max(0, k)) });
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const x = across(box.width);
    const nearest = Math.round((event.clientX - box.left - x(0)) / (x(1) - x(0) || 1));
    choose(nearest);
  });
  canvas.addEventListener("keydown", (event) => {
    const k = curve.current;
    const to = { ArrowLeft: k - 1, ArrowDown: k - 1, ArrowRight: k + 1, ArrowUp: k + 1, Home: 0, End: curve.errors.length - 1 }[event.key];
    if (to === undefined) return;
    choose(to);
    event.preventDefault();
    event.stopPropagation();
  });
  return {
    show(next) {
      panel = next;
      curve = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}. Arrow keys choose a candidate.`);
      redraw();
    },
    redraw,
  };
}

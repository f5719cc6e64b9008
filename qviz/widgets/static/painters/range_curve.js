import { dot } from "../layer/axes.js";
import { role } from "../layer/colour.js";
import { surface } from "../layer/surface.js";
import { number } from "../layer/text.js";

// Clipping, rounding, and both together, against the width of the range.
export function RangeCurve(host, view) {
  let curve;
  let panel;
  const [left, right, top, base] = [56, 14, 14, 184];
  const across = (width) => (share) => left + (width - left - right) * share;
  const { canvas, redraw } = surface(236, (c, width) => {
    if (!curve) return;
    const ink = view.ink();
    const [ok, changed] = [role(host, "ok"), role(host, "changed")];
    const x = across(width);
    const totals = Array.from(curve.clipping, (clip, i) => clip + curve.rounding[i]);
    const known = [...totals, ...curve.before, ...curve.errors].filter((v) => v > 0);
    const most = Math.log10(Math.max(...known, 1e-12)) + 0.1;
    const least = Math.log10(Math.min(...known, 1)) - 0.7;
    const y = (error) => base - ((base - top) * (Math.log10(Math.max(error, 1e-30)) - least)) / (most - least);

    c.font = ink.font;
    c.lineWidth = 1;
    c.strokeStyle = ink.line;
    c.fillStyle = ink.soft;
    c.textAlign = "right";
    c.textBaseline = "middle";
    const decades = Math.ceil(most) - Math.ceil(least);
    for (let power = Math.ceil(least); power <= most; power += Math.max(1, Math.round(decades / 5))) {
      const at = Math.round(y(10 ** power)) + 0.5;
      c.beginPath();
      c.moveTo(left, at);
      c.lineTo(width - right, at);
      c.stroke();
      const share = 100 * 10 ** power;
      c.fillText(`${share >= 0.001 ? number(share, 3, 1e-6) : share.toExponential(0).replace("e-", "e−")} %`, left - 6, at);
    }
    c.textBaseline = "top";
    c.textAlign = "center";
    for (const share of [0.2, 0.4, 0.6, 0.8, 1]) {
      c.fillText(`${Math.round(100 * share)} %`, Math.min(x(share), width - 22), base + 7);
    }
    c.textAlign = "left";
    c.fillText("width of the range →", left, base + 26);

    const line = (values, colour, thick, dash = []) => {
      c.save();
      c.beginPath();
      c.rect(left, top - 8, width - left - right + 8, base - top + 8);
      c.clip();
      c.strokeStyle = colour;
      c.lineWidth = thick;
      c.setLineDash(dash);
      c.beginPath();
      let pen = false;
      values.forEach((value, i) => {
        if (!(value > 0)) {
          pen = false; // zero has no place on this scale
          return;
        }
        if (pen) c.lineTo(x(curve.shares[i]), y(value));
        else c.moveTo(x(curve.shares[i]), y(value));
        pen = true;
      });
      c.stroke();
      c.restore();
    };
    if (curve.before.length) line(Array.from(curve.before), ink.soft, 1.5, [5, 4]);
    line(Array.from(curve.clipping), changed, 2);
    line(Array.from(curve.rounding), ink.level, 2);
    line(totals, ink.ink, 2);

    // where we are
    c.strokeStyle = ink.weight;
    c.lineWidth = 1.5;
    c.beginPath();
    c.moveTo(x(curve.current), top - 8);
    c.lineTo(x(curve.current), base);
    c.stroke();
    // the least
    c.strokeStyle = ok;
    c.lineWidth = 2.5;
    c.beginPath();
    c.arc(x(curve.shares[curve.best]), y(totals[curve.best]), 9, 0, 2 * Math.PI);
    c.stroke();
    // choosers, with their names where there is room
    c.textBaseline = "middle";
    const taken = [];
    curve.names.forEach((name, i) => {
      const [px, py] = [x(curve.at[i]), y(curve.errors[i])];
      c.fillStyle = ink.weight;
      c.strokeStyle = ink.card;
      dot(c, px, py, 4.5);
      const wide = c.measureText(name).width;
      for (const [dx, dy] of [[-6, -16], [8, -15], [-6, 17], [8, 16], [-6, -32], [8, -32], [-6, 33], [8, 33]]) {
        const at = dx < 0 ? px - wide + 10 : px + dx;
        const box = [at, py + dy - 8, wide, 16];
        if (at < left + 2 || at + wide > width - 2 || box[1] < 0 || box[1] + 16 > base) continue;
        if (taken.some((b) => box[0] < b[0] + b[2] && b[0] < box[0] + box[2] && box[1] < b[1] + b[3] && b[1] < box[1] + box[3])) continue;
        taken.push(box);
        c.textAlign = "left";
        c.fillStyle = ink.card;
        c.globalAlpha = 0.8;
        c.fillRect(at - 2, py + dy - 8, wide + 4, 16);
        c.globalAlpha = 1;
        c.fillStyle = ink.ink;
        c.fillText(name, at, py + dy);
        break;
      }
    });
  });
  canvas.tabIndex = 0;
  canvas.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take the arrow keys
  host.append(canvas);

  const choose = (share) => view.send({ event: "width", width: Math.min(1, Math.max(0.02, share)) });
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const x = across(box.width);
    choose((event.clientX - box.left - x(0)) / (x(1) - x(0)));
  });
  canvas.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 0.1 : 0.01;
    const moves = {
      ArrowLeft: curve.current - step,
      ArrowDown: curve.current - step,
      ArrowRight: curve.current + step,
      ArrowUp: curve.current + step,
      Home: 0.02,
      End: 1,
      Enter: curve.shares[curve.best],
    };
    if (moves[event.key] === undefined) return;
    choose(moves[event.key]);
    event.preventDefault();
    event.stopPropagation();
  });
  return {
    show(next) {
      panel = next;
      curve = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}. Arrow keys change the width, Enter goes to the least error.`);
      redraw();
    },
    redraw,
  };
}

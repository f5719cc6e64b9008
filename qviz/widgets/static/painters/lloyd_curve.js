// Decibels over iterations; the others as level lines.
import { rules } from "../layer/axes.js";
import { dashed, dot, line, polyline } from "../layer/canvas.js";
import { chosen } from "../layer/keys.js";
import { patched } from "../layer/labels.js";
import { picture } from "../layer/picture.js";
import { ticks } from "../layer/text.js";

const [left, right, top, base] = [40, 12, 14, 320];

// Names stand on their lines, and make room for one another.
function others(c, curve, y, width, ink) {
  let free = -Infinity;
  for (const i of Array.from(curve.names.keys()).sort((a, b) => curve.others[b] - curve.others[a])) {
    if (!Number.isFinite(curve.others[i])) continue;
    const at = y(curve.others[i]);
    c.strokeStyle = ink.ink;
    c.lineWidth = 1.25;
    dashed(c, [5, 4], () => line(c, left, at, width - right, at));
    const middle = Math.max(at - 9, free);
    free = middle + 15;
    patched(c, curve.names[i], width - right - c.measureText(curve.names[i]).width - 1, middle, ink, { height: 14 });
  }
}

export function LloydCurve(host, view) {
  const across = (curve, width) => (k) =>
    left + 8 + ((width - left - right - 16) * k) / Math.max(1, curve.decibels.length - 1);
  const it = picture(host, view, {
    height: 370,
    moves: ["decibels", "current"],
    hint: "Arrow keys step through the iterations",
    draw(c, curve, { width, ink }) {
      const x = across(curve, width);
      const known = [...curve.decibels, ...curve.others].filter(Number.isFinite);
      const low = Math.min(...known) - 0.8;
      const high = Math.max(...known) + 0.8;
      const y = (db) => base - ((base - top) * (db - low)) / (high - low);
      rules(c, ink, ticks(low, high, 7), y, [left, width - right], undefined, 6);
      c.textAlign = "left";
      c.textBaseline = "top";
      c.fillText("dB ↑   iteration →", 2, base + 26);
      c.textAlign = "center";
      const steps = ticks(0, Math.max(1, curve.decibels.length - 1), Math.max(2, width / 70));
      for (const k of steps.filter(Number.isInteger)) c.fillText(String(k), x(k), base + 7);
      others(c, curve, y, width, ink);
      c.strokeStyle = ink.level;
      c.lineWidth = 2.5;
      // an exact fit is beyond any scale
      polyline(
        c,
        Array.from(curve.decibels, (db, k) => (Number.isFinite(db) ? [x(k), y(db)] : null)),
      );
      const before = Math.min(curve.decibels.length - 1, Math.floor(curve.current));
      const [here, next] = [curve.decibels[before], curve.decibels[before + 1] ?? NaN];
      const part = curve.current - before; // between two iterations while the picture moves
      const db = part ? here + part * (next - here) : here;
      c.fillStyle = ink.weight;
      c.strokeStyle = ink.card;
      dot(c, x(curve.current), Number.isFinite(db) ? y(db) : top, 6.5);
    },
  });
  chosen(it.canvas, view, {
    at: () => [it.figure.current, it.figure.decibels.length - 1],
    pick: (place) => {
      const x = across(it.figure, place.width);
      return Math.round((place.x - x(0)) / (x(1) - x(0) || 1));
    },
    order: (iteration) => ({ event: "iteration", iteration }),
  });
  return it;
}

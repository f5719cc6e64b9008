// The error of every candidate as points, the best so far as a line of steps.
import { ends, percent, rules } from "../layer/axes.js";
import { dashed, dot, faint, line, polyline, sharp } from "../layer/canvas.js";
import { chosen } from "../layer/keys.js";
import { picture } from "../layer/picture.js";
import { marked } from "../layer/plane.js";
import { tour } from "../layer/play.js";
import { number, ticks } from "../layer/text.js";

const [left, right, top, base] = [58, 14, 18, 112];

const across = (curve, width) => (k) =>
  left + 12 + ((width - left - right - 24) * k) / Math.max(1, curve.errors.length - 1);

// The steps of the best so far from one candidate to another.
function stairs(curve, x, y, first, last) {
  const points = [];
  for (let k = first; k <= last; k++) {
    if (k > first) points.push([x(k), y(curve.errors[curve.best[k - 1]])]);
    points.push([x(k), y(curve.errors[curve.best[k]])]);
  }
  return points;
}

// A value at a place that may lie between two.
function between(values, at) {
  const before = Math.floor(at);
  return at === before ? values[at] : values[before] + (at - before) * (values[before + 1] - values[before]);
}

export function SearchCurve(host, view) {
  const it = picture(host, view, {
    height: 156,
    moves: ["current"],
    hint: "Arrow keys choose a candidate",
    draw(c, curve, { width, ink }) {
      const x = across(curve, width);
      const known = Array.from(curve.errors).filter(Number.isFinite);
      const most = Math.max(...known, curve.relative ? 1 : 0) * 1.08 || 1;
      const y = (error) => base - ((base - top) * error) / most;
      rules(c, ink, ticks(0, most, 4), y, [left, width - right], curve.relative ? percent : number);
      if (curve.relative) {
        c.strokeStyle = ink.soft;
        dashed(c, [4, 3], () => line(c, left, sharp(y(1)), width - right, sharp(y(1))));
      }
      // up to the candidate on show in full strength
      c.strokeStyle = ink.ok;
      c.lineWidth = 2;
      const now = Math.round(curve.current); // it lies between two while the picture moves
      polyline(c, stairs(curve, x, y, 0, now));
      faint(c, 0.3, () => polyline(c, stairs(curve, x, y, now, curve.errors.length - 1)));
      c.strokeStyle = ink.card;
      curve.errors.forEach((error, k) => {
        if (!Number.isFinite(error) || k === curve.current) return;
        c.fillStyle = ink.level;
        dot(c, x(k), y(error), 4.5);
      });
      const here = between(curve.errors, curve.current);
      c.fillStyle = ink.weight;
      if (Number.isFinite(here)) dot(c, x(curve.current), y(here), 7);
      marked(c, ink, x(curve.winner), y(curve.errors[curve.winner]));
      c.textAlign = "center";
      c.textBaseline = "top";
      const every = Math.ceil((curve.errors.length * 24) / width);
      for (let k = 0; k < curve.errors.length; k += every) {
        c.fillStyle = k === now ? ink.weight : ink.soft;
        c.fillText(String(k), x(k), base + 8);
      }
      const dashes = curve.relative ? `dashed: ${curve.baseline}` : ""; // said below, where no point can be
      ends(c, ink, base + 28, [left, "candidate"], [width - right, dashes]);
    },
  });
  tour(it, host, view);
  chosen(it.canvas, view, {
    at: () => [it.figure.current, it.figure.errors.length - 1],
    pick: (place) => {
      const x = across(it.figure, place.width);
      return Math.round((place.x - x(0)) / (x(1) - x(0) || 1));
    },
    order: (candidate) => ({ event: "candidate", candidate }),
  });
  return it;
}

// The error against alpha, on the inputs of the calibration and on others.
import { ends, percent, rules } from "../layer/axes.js";
import { dashed, dot, line, polyline, sharp } from "../layer/canvas.js";
import { chosen } from "../layer/keys.js";
import { picture } from "../layer/picture.js";
import { marked } from "../layer/plane.js";
import { number, ticks } from "../layer/text.js";

const [left, right, top, base] = [52, 14, 14, 196];

export function AlphaCurve(host, view) {
  const last = () => it.figure.alphas.length - 1;
  const across = (width) => (k) => left + 10 + ((width - left - right - 20) * k) / Math.max(1, last());
  const it = picture(host, view, {
    height: 244,
    hint: "Arrow keys choose an alpha",
    draw(c, curve, { width, ink }) {
      const x = across(width);
      // far beyond plain rounding only the fact matters
      const most = Math.min(2.5, Math.max(1, ...curve.calibration, ...curve.heldout) * 1.06);
      const y = (v) => base - ((base - top) * Math.min(v, most)) / most;
      rules(c, ink, ticks(0, most, 5), y, [left, width - right], percent);
      c.strokeStyle = ink.soft;
      dashed(c, [4, 3], () => line(c, left, sharp(y(1)), width - right, sharp(y(1))));
      for (const [values, colour] of [
        [curve.calibration, ink.level],
        [curve.heldout, ink.weight],
      ]) {
        c.strokeStyle = colour;
        c.lineWidth = 2;
        polyline(
          c,
          Array.from(values, (v, k) => [x(k), y(v)]),
        );
        c.fillStyle = colour;
        c.strokeStyle = ink.card;
        values.forEach((v, k) => dot(c, x(k), y(v), k === curve.current ? 6.5 : 3.5));
      }
      marked(c, ink, x(curve.best), y(curve.calibration[curve.best]), 10.5);
      c.textBaseline = "top";
      c.textAlign = "center";
      c.fillStyle = ink.soft;
      const every = width < 380 ? 5 : 2;
      for (let k = 0; k <= last(); k += every) c.fillText(number(curve.alphas[k], 2), x(k), base + 8);
      ends(c, ink, base + 28, [left, "alpha"], [width - right, "dashed: plain rounding"]);
    },
  });
  it.canvas.style.cursor = "pointer";
  chosen(it.canvas, view, {
    far: 10,
    at: () => [it.figure.current, last()],
    pick: (place) =>
      Math.round((place.x - across(place.width)(0)) / (across(place.width)(1) - across(place.width)(0) || 1)),
    order: (alpha) => ({ event: "alpha", alpha }),
  });
  return it;
}

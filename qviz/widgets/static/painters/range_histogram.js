import { axis } from "../layer/axes.js";
import { role } from "../layer/colour.js";
import { surface } from "../layer/surface.js";
import { number } from "../layer/text.js";

// A hill of values on a logarithmic scale; where the range ends, the hill changes its colour.
export function RangeHistogram(host, view) {
  let figure;
  const { canvas, redraw } = surface(236, (c, width) => {
    if (!figure) return;
    const ink = view.ink();
    const { low, high, counts } = figure.values;
    const x = (value) => ((value - low) / (high - low)) * width;
    const [top, base] = [26, 184];
    const hill = (histogram, fill, alpha, stroke) => {
      let peak = 1;
      for (const n of histogram.counts) peak = Math.max(peak, n);
      const y = (n) => (n ? base - (base - top) * (0.06 + (0.94 * Math.log(n)) / Math.log(Math.max(peak, 2))) : base);
      const step = (histogram.high - histogram.low) / histogram.counts.length;
      c.beginPath();
      c.moveTo(x(histogram.low), base);
      histogram.counts.forEach((n, i) => {
        c.lineTo(x(histogram.low + i * step), y(n));
        c.lineTo(x(histogram.low + (i + 1) * step), y(n));
      });
      c.lineTo(x(histogram.high), base);
      c.globalAlpha = alpha;
      c.fillStyle = fill;
      c.fill();
      c.globalAlpha = 1;
      if (stroke) {
        c.strokeStyle = stroke;
        c.lineWidth = 1;
        c.stroke();
      }
    };
    const between = (from, to, paint) => {
      c.save();
      c.beginPath();
      c.rect(from, 0, to - from, base);
      c.clip();
      paint();
      c.restore();
    };
    if (figure.before) hill(figure.before, ink.soft, 0.25, ink.soft);
    const changed = role(host, "changed");
    const alpha = figure.before ? 0.75 : 0.85;
    const [left, right] = [x(figure.low), x(figure.high)];
    between(0, left, () => hill(figure.values, changed, alpha));
    between(left, right, () => hill(figure.values, ink.weight, alpha));
    between(right, width, () => hill(figure.values, changed, alpha));

    // levels: a comb under the hill
    const gap = figure.levels.length > 1 ? x(figure.levels[1]) - x(figure.levels[0]) : width;
    c.strokeStyle = ink.level;
    c.lineWidth = gap < 4 ? 1 : 1.5;
    c.globalAlpha = gap < 2.5 ? 0.5 : 1;
    c.beginPath();
    for (const level of figure.levels) {
      const at = Math.round(x(level)) + 0.5;
      c.moveTo(at, base + 2);
      c.lineTo(at, base + 16);
    }
    c.stroke();
    c.globalAlpha = 1;

    // the ends
    c.strokeStyle = ink.level;
    c.fillStyle = ink.level;
    c.lineWidth = 2;
    c.font = ink.font;
    c.textBaseline = "top";
    const texts = [figure.low, figure.high].map((value) => number(value));
    const wide = texts.map((text) => c.measureText(text).width);
    const crowded = right - left < wide[0] + wide[1] + 16;
    [left, right].forEach((at, i) => {
      c.beginPath();
      c.moveTo(at, 4);
      c.lineTo(at, base + 16);
      c.stroke();
      // inside the range if both fit there, else outside
      const inward = !crowded;
      let start = (i === 0) === inward ? at + 5 : at - 5 - wide[i];
      start = Math.min(width - wide[i] - 2, Math.max(2, start));
      c.textAlign = "left";
      c.fillText(texts[i], start, 4);
    });
    axis(c, x, low, high, base + 20, width, ink);
  });
  host.append(canvas);
  return {
    show(panel) {
      figure = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}`);
      redraw();
    },
    redraw,
  };
}

// A hill of values on a logarithmic scale; where the range ends, the hill changes its colour.
import { axis, hill } from "../layer/axes.js";
import { clipped, faint, line, lines, sharp } from "../layer/canvas.js";
import { picture } from "../layer/picture.js";
import { number } from "../layer/text.js";

const [top, base] = [26, 184];

// The ends of the range, their numbers inside it if both fit there, else outside.
function rangeEnds(c, figure, x, width, ink) {
  const at = [x(figure.low), x(figure.high)];
  c.strokeStyle = ink.level;
  c.fillStyle = ink.level;
  c.lineWidth = 2;
  c.textBaseline = "top";
  c.textAlign = "left";
  const texts = [figure.low, figure.high].map((value) => number(value));
  const wide = texts.map((text) => c.measureText(text).width);
  const inward = at[1] - at[0] >= wide[0] + wide[1] + 16;
  at.forEach((end, i) => {
    line(c, end, 4, end, base + 16);
    const start = (i === 0) === inward ? end + 5 : end - 5 - wide[i];
    c.fillText(texts[i], Math.min(width - wide[i] - 2, Math.max(2, start)), 4);
  });
}

export function RangeHistogram(host, view) {
  return picture(host, view, {
    height: 236,
    draw(c, figure, { width, ink }) {
      const { low, high } = figure.values;
      const x = (value) => ((value - low) / (high - low)) * width;
      const alpha = figure.before ? 0.75 : 0.85;
      if (figure.before) hill(c, x, figure.before, [top, base], ink.soft, 0.25, ink.soft);
      const between = (from, to, colour) =>
        clipped(c, from, 0, to - from, base, () => hill(c, x, figure.values, [top, base], colour, alpha));
      const [left, right] = [x(figure.low), x(figure.high)];
      between(0, left, ink.changed);
      between(left, right, ink.weight);
      between(right, width, ink.changed);

      // levels: a comb under the hill
      const gap = figure.levels.length > 1 ? x(figure.levels[1]) - x(figure.levels[0]) : width;
      c.strokeStyle = ink.level;
      c.lineWidth = gap < 4 ? 1 : 1.5;
      const tooth = (level) => [sharp(x(level)), base + 2, sharp(x(level)), base + 16];
      faint(c, gap < 2.5 ? 0.5 : 1, () => lines(c, Array.from(figure.levels, tooth)));
      rangeEnds(c, figure, x, width, ink);
      axis(c, x, low, high, base + 20, width, ink);
    },
  });
}

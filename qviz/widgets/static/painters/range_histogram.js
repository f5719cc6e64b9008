// A hill of values on a logarithmic scale; where the range ends, the hill changes its colour. Below it, on the same axis, stand
// the squared errors that the values make.
import { axis, hill, outline } from "../layer/axes.js";
import { clipped, faint, line, lines, sharp } from "../layer/canvas.js";
import { draggable } from "../layer/drag.js";
import { picture } from "../layer/picture.js";
import { number } from "../layer/text.js";

const [top, base] = [26, 134]; // of the hill
const [crest, floor] = [162, 208]; // of the errors
const bar = 254;
const REACH = 4; // the bar of errors holds so many times the least error

// A range of another width: both ends move together, and the levels with them, until Python has made the grid.
export function widened(figure, factor) {
  const levels = Float32Array.from(figure.levels, (level) => level * factor);
  return { ...figure, low: figure.low * factor, high: figure.high * factor, levels };
}

// The levels, under the hill.
function comb(c, { levels }, x, width, ink) {
  const gap = levels.length > 1 ? x(levels[1]) - x(levels[0]) : width;
  c.strokeStyle = ink.level;
  c.lineWidth = gap < 4 ? 1 : 1.5;
  const tooth = (level) => [sharp(x(level)), base + 2, sharp(x(level)), base + 16];
  faint(c, gap < 2.5 ? 0.5 : 1, () => lines(c, Array.from(levels, tooth)));
}

// What the areas of errors reach: `both` at each bin, and the tallest of them.
export function stacked({ clipping, rounding }) {
  const both = Array.from(rounding, (error, i) => error + clipping[i]);
  return { both, most: Math.max(0, ...both) };
}

// The squared error of the values in each bin: of those that are rounded, and on top of it that of those that are clipped.
// Each picture is as high as its tallest bin; how much all of them are is what the bar says.
function errorAreas(c, figure, x, ink) {
  const { both, most } = stacked(figure);
  const { low, high } = figure.values;
  for (const [counts, colour] of [
    [both, ink.changed],
    [figure.rounding, ink["level-fill"]],
  ]) {
    outline(c, x, { counts, low, high }, floor, (error) => floor - ((floor - crest) * error) / (most || 1));
    c.fillStyle = colour;
    c.fill();
  }
}

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
    line(c, end, 4, end, floor + 4);
    const start = (i === 0) === inward ? end + 5 : end - 5 - wide[i];
    c.fillText(texts[i], Math.min(width - wide[i] - 2, Math.max(2, start)), 4);
  });
}

// What the range on show costs: the error of what is clipped on top of that of what is rounded, and a mark at the least
// that any width makes.
function errorBar(c, { clipping, rounding, least }, width, ink) {
  const scale = width / (REACH * (least || 1));
  const [round, both] = [rounding, rounding + clipping].map((error) => Math.min(width, scale * error));
  c.fillStyle = ink["level-fill"];
  c.fillRect(0, bar, round, 12);
  c.fillStyle = ink.changed;
  c.fillRect(round, bar, both - round, 12);
  c.fillStyle = ink.soft;
  c.textAlign = "left";
  c.textBaseline = "bottom";
  c.fillText("squared error: rounding + clipping", 0, bar - 3);
  c.strokeStyle = ink.ok;
  c.lineWidth = 2.5;
  line(c, scale * least, bar - 4, scale * least, bar + 16);
  c.textAlign = "right";
  const times = (rounding + clipping) / (least || 1);
  if (times > REACH) c.fillText(`${number(times)} × the least →`, width, bar - 3);
}

export function RangeHistogram(host, view) {
  const across =
    ({ values: { low, high } }, width) =>
    (value) =>
      ((value - low) / (high - low)) * width;
  const it = picture(host, view, {
    height: 270,
    moves: ["low", "high", "levels", "clipping", "rounding"],
    hint: "Left and right arrow keys move an end of the range, up and down choose the other",
    draw(c, figure, { width, ink, panel, grip }) {
      const { low, high } = figure.values;
      const x = across(figure, width);
      const alpha = figure.before ? 0.75 : 0.85;
      if (figure.before) hill(c, x, figure.before, [top, base], ink.soft, 0.25, ink.soft);
      const between = (from, to, colour) =>
        clipped(c, from, 0, to - from, base, () => hill(c, x, figure.values, [top, base], colour, alpha));
      const [left, right] = [x(figure.low), x(figure.high)];
      between(0, left, ink.changed);
      between(left, right, ink.weight);
      between(right, width, ink.changed);

      comb(c, figure, x, width, ink);
      if (figure.rounding.length) errorAreas(c, figure, x, ink);
      rangeEnds(c, figure, x, width, ink);
      if (grip) handle(c, grip.id === "low" ? left : right, ink);
      axis(c, x, low, high, floor, width, ink);
      if (panel.options?.stack) errorBar(c, panel.options.stack, width, ink);
    },
  });
  draggable(it, view, {
    when: ({ options }) => options?.share !== undefined,
    things(figure, { width }) {
      const x = across(figure, width);
      const { share } = it.panel.options;
      return ["low", "high"].flatMap((id) => {
        const full = it.figure[id] / share; // where this end lies at the full width; at zero it stays
        if (!full) return [];
        const ends = full < 0 ? [full, 0.02 * full] : [0.02 * full, full];
        return [
          {
            id,
            value: figure[id],
            range: ends,
            step: Math.abs(full) / 100,
            x: x(figure[id]),
            top: 0,
            bottom: floor,
          },
        ];
      });
    },
    value: ({ x }, { width }, { values: { low, high } }) => low + (x / width) * (high - low),
    held: (figure, id, value) => widened(figure, value / figure[id]),
    order: (id, value) => ({ event: "width", width: (it.panel.options.share * value) / it.figure[id] }),
  });
  return it;
}

// The end that a hand holds.
function handle(c, at, ink) {
  c.strokeStyle = ink.ink;
  c.lineWidth = 4;
  line(c, at, base - 40, at, base - 16);
}

// Clipping, rounding, and both together, against the width of the range.
import { percent, rules } from "../layer/axes.js";
import { clipped, dashed, dot, line, polyline } from "../layer/canvas.js";
import { draggable } from "../layer/drag.js";
import { aim, keyed, pointed, within } from "../layer/keys.js";
import { patched, places } from "../layer/labels.js";
import { picture } from "../layer/picture.js";
import { marked } from "../layer/plane.js";
import { minus, number } from "../layer/text.js";

const [left, right, top, base] = [56, 14, 14, 212];

const across = (width) => (part) => left + (width - left - right) * part;

// Shares far below a thousandth of a percent are powers of ten.
function share(value) {
  const said = 100 * value;
  return `${said >= 0.001 ? number(said, 3, 1e-6) : minus(said.toExponential(0))} %`;
}

// The numbers below.
function widths(c, x, width) {
  c.textBaseline = "top";
  c.textAlign = "center";
  for (const part of [0.2, 0.4, 0.6, 0.8, 1]) c.fillText(percent(part), Math.min(x(part), width - 22), base + 7);
  c.textAlign = "left";
  c.fillText("width of the range →", left, base + 26);
}

// Choosers as points, with their names where there is room.
function choosers(c, curve, x, y, width, ink) {
  const names = places([left + 2, 0, width - 2, base]);
  curve.names.forEach((name, i) => {
    const [px, py] = [x(curve.at[i]), y(curve.errors[i])];
    c.fillStyle = ink.weight;
    c.strokeStyle = ink.card;
    dot(c, px, py, 4.5);
    const wide = c.measureText(name).width;
    const tries = [
      [-6, -16],
      [8, -15],
      [-6, 17],
      [8, 16],
      [-6, -32],
      [8, -32],
      [-6, 33],
      [8, 33],
    ].map(([dx, dy]) => [dx < 0 ? px - wide + 10 : px + dx, py + dy]);
    const place = names.find(wide, 16, tries);
    if (place) patched(c, name, ...place, ink);
  });
}

// The width that a key asks for; undefined for any other key.
function keyedWidth({ key, shiftKey }, now, { shares, best }) {
  const step = shiftKey ? 0.1 : 0.01;
  const [less, more] = [now - step, now + step];
  const moves = { ArrowLeft: less, ArrowDown: less, ArrowRight: more, ArrowUp: more };
  return { ...moves, Home: 0.02, End: 1, Enter: shares[best] }[key];
}

export function RangeCurve(host, view) {
  const it = picture(host, view, {
    height: 264,
    moves: ["current", "clipping", "rounding", "at", "errors"],
    hint: "Arrow keys change the width, Enter goes to the least error",
    draw(c, curve, { width, ink }) {
      const x = across(width);
      const totals = Array.from(curve.clipping, (clip, i) => clip + curve.rounding[i]);
      const known = [...totals, ...curve.before, ...curve.errors].filter((v) => v > 0);
      const most = Math.log10(Math.max(...known, 1e-12)) + 0.1;
      const least = Math.log10(Math.min(...known, 1)) - 0.7;
      const y = (error) => base - ((base - top) * (Math.log10(Math.max(error, 1e-30)) - least)) / (most - least);
      const powers = [];
      const every = Math.max(1, Math.round((Math.ceil(most) - Math.ceil(least)) / 5));
      for (let power = Math.ceil(least); power <= most; power += every) powers.push(10 ** power);
      rules(c, ink, powers, y, [left, width - right], share, 6);
      widths(c, x, width);
      const drawn = (values, colour, thick, dash = []) =>
        clipped(c, left, top - 8, width - left - right + 8, base - top + 8, () => {
          c.strokeStyle = colour;
          c.lineWidth = thick;
          // zero has no place on this scale
          const points = Array.from(values, (value, i) => (value > 0 ? [x(curve.shares[i]), y(value)] : null));
          dashed(c, dash, () => polyline(c, points));
        });
      if (curve.before.length) drawn(curve.before, ink.soft, 1.5, [5, 4]);
      drawn(curve.clipping, ink.changed, 2);
      drawn(curve.rounding, ink.level, 2);
      drawn(totals, ink.ink, 2);
      c.strokeStyle = ink.weight;
      c.lineWidth = 1.5;
      line(c, x(curve.current), top - 8, x(curve.current), base);
      marked(c, ink, x(curve.shares[curve.best]), y(totals[curve.best]), 9);
      choosers(c, curve, x, y, width, ink);
    },
  });
  wallOf(it, view);
  const aimed = aim(
    view,
    () => it.figure.current,
    (width) => ({ event: "width", width }),
  );
  const choose = (width) => aimed.go(within(width, 1, 0.02));
  it.canvas.addEventListener("click", (event) => {
    const { x, width } = pointed(it.canvas, event);
    choose((x - across(width)(0)) / (across(width)(1) - across(width)(0)));
  });
  keyed(it.canvas, (event) => {
    const to = keyedWidth(event, aimed.at, it.figure);
    if (to !== undefined) choose(to);
    return to !== undefined;
  });
  return it;
}

// The line at the width on show can be dragged.
function wallOf(it, view) {
  draggable(it, view, {
    keys: false,
    things: ({ current }, { width }) => [
      { id: "width", value: current, range: [0.02, 1], step: 0.01, x: across(width)(current), top: 0, bottom: base },
    ],
    value: ({ x }, { width }) => (x - left) / (width - left - right),
    held: (curve, _id, current) => ({ ...curve, current }),
    order: (_id, width) => ({ event: "width", width }),
  });
}

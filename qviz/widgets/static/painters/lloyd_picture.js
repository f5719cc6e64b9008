// Values as a hill; the levels of a codebook run down from where they began; below, the levels of others.
import { axis, hill } from "../layer/axes.js";
import { dot, faint, lines, polyline, ring, sharp } from "../layer/canvas.js";
import { draggable } from "../layer/drag.js";
import { patched } from "../layer/labels.js";
import { picture } from "../layer/picture.js";
import { number } from "../layer/text.js";
import { blend } from "../layer/tween.js";

const [top, base, start, end, bars, row] = [10, 112, 122, 204, 236, 31];

const range = (n) => Array.from({ length: n }, (_, i) => i);

// A level at a time, which lies between two iterations while the picture moves.
export function levelAt({ paths }, time, i) {
  const [steps, n] = paths.shape;
  const before = Math.min(steps - 1, Math.floor(time));
  const [a, b] = [paths[before * n + i], paths[Math.min(steps - 1, before + 1) * n + i]];
  return a + (b - a) * (time - before);
}

// Between two moments: time itself moves, and paths where a hand has moved their start.
export const flow = (from, to, t) => {
  const moving = { paths: blend(from.paths, to.paths, t), current: blend(from.current, to.current, t) };
  for (const field of ["used", "edges"]) moving[field] = blend(from[field], to[field], t, true);
  const last = to.paths.shape[0] - 1; // another start may have led to another number of iterations
  return { ...to, ...moving, current: Math.min(last, moving.current) };
};

// A level that begins elsewhere: Python works out where it goes from there.
export function started(figure, i, value) {
  const paths = figure.paths.slice();
  paths.shape = figure.paths.shape;
  paths[i] = value;
  return { ...figure, paths };
}

// The way of each level: time runs downwards. Each begins in a ring, which a hand can take.
function ways(c, figure, x, level, down, ink) {
  const [, n] = figure.paths.shape;
  const times = range(Math.floor(figure.current) + 1);
  if (!Number.isInteger(figure.current)) times.push(figure.current);
  c.strokeStyle = ink.level;
  c.lineWidth = n > 20 ? 1 : 1.5;
  faint(c, 0.6, () => {
    for (let i = 0; i < n; i++) {
      polyline(
        c,
        times.map((k) => [x(level(k, i)), down(k)]),
      );
    }
  });
  c.lineWidth = 1;
  const now = range(n).map((i) => x(level(figure.current, i)));
  const between = now.flatMap((at) => [
    [at, base, at, start], // from the hill into the picture of time
    [at, down(figure.current), at, bars],
  ]);
  faint(c, 0.35, () => lines(c, between));
  c.lineWidth = 1.25;
  for (let i = 0; i < n; i++) ring(c, x(level(0, i)), start, n > 20 ? 2.5 : 4);
}

// The start that a hand holds, with its value.
function held(c, at, value, width, ink) {
  c.strokeStyle = ink.ink;
  c.lineWidth = 2;
  ring(c, at, start, 8);
  const text = number(value);
  const wide = c.measureText(text).width;
  patched(c, text, Math.max(2, Math.min(width - wide - 2, at - wide / 2)), start - 17, ink);
}

// How many values each level has now.
function uses(c, figure, x, level, down, width, ink) {
  const [, n] = figure.paths.shape;
  const at = range(n).map((i) => x(level(figure.current, i)));
  const gap = at.reduce((least, here, i) => (i ? Math.min(least, here - at[i - 1]) : least), width);
  const most = figure.used.reduce((a, b) => Math.max(a, b), 1);
  const wide = Math.min(14, Math.max(2, gap - 2));
  for (let i = 0; i < n; i++) {
    const height = figure.used[i] ? Math.max(1.5, (bars - end - 8) * (figure.used[i] / most)) : 0;
    c.fillStyle = ink["level-fill"];
    c.fillRect(at[i] - wide / 2, bars - height, wide, height);
    c.fillStyle = ink.level;
    c.strokeStyle = ink.card;
    dot(c, at[i], down(figure.current), gap < 7 ? 2.5 : 4);
  }
}

// The levels of others: combs, each under its name.
function combs(c, figure, x, ink) {
  c.textAlign = "left";
  c.textBaseline = "middle";
  figure.names.forEach((name, i) => {
    const head = bars + 12 + i * row;
    c.strokeStyle = ink.ink;
    c.lineWidth = 1.5;
    const tooth = (value) => [sharp(x(value)), head + 12, sharp(x(value)), head + 25];
    faint(c, 0.85, () => lines(c, Array.from(figure.others[i], tooth)));
    c.fillStyle = ink.ink;
    c.fillText(name, 2, head + 5);
  });
}

export function LloydPicture(host, view) {
  const across =
    ({ values: { low, high } }, width) =>
    (value) =>
      ((value - low) / (high - low)) * width;
  const it = picture(host, view, {
    height: 300,
    moves: flow,
    hint: "Left and right arrow keys move where a level starts, up and down choose another",
    tall: (figure) => bars + 46 + figure.names.length * row,
    draw(c, figure, { width, ink, grip }) {
      const { low, high } = figure.values;
      const x = across(figure, width);
      const [steps] = figure.paths.shape;
      const level = (time, i) => levelAt(figure, time, i);
      const down = (k) => start + ((end - start) * k) / Math.max(1, steps - 1);
      // where the nearest level changes
      c.strokeStyle = ink.line;
      c.lineWidth = 1;
      lines(
        c,
        Array.from(figure.edges, (edge) => [sharp(x(edge)), top, sharp(x(edge)), base]),
      );
      hill(c, x, figure.values, [top, base], ink.soft, 0.3, ink.soft);
      ways(c, figure, x, level, down, ink);
      uses(c, figure, x, level, down, width, ink);
      c.fillStyle = ink.soft;
      c.textBaseline = "top";
      c.textAlign = "left";
      c.fillText("start", 2, start);
      combs(c, figure, x, ink);
      axis(c, x, low, high, bars + 16 + figure.names.length * row, width, ink);
      if (grip) held(c, x(level(0, grip.id)), level(0, grip.id), width, ink);
    },
  });
  draggable(it, view, {
    things(figure, { width }) {
      const { low, high } = figure.values;
      const all = [low, ...range(figure.paths.shape[1]).map((i) => levelAt(figure, 0, i)), high];
      const step = (high - low) / 200;
      const x = across(figure, width);
      return range(all.length - 2).map((id) => {
        const [before, value, behind] = all.slice(id, id + 3); // levels never pass one another
        return { id, value, range: [before, behind], step, x: x(value), y: start };
      });
    },
    value: ({ x }, { width }, { values: { low, high } }) => low + (x / width) * (high - low),
    held: started,
    order: (id, value) => ({ event: "start", level: id, value }),
  });
  return it;
}

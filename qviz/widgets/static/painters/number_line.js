// Weights above, levels below: each weight is joined to the level that it is rounded to.
import { area, axis } from "../layer/axes.js";
import { dashed, dot, faint, lines, ring, sharp } from "../layer/canvas.js";
import { draggable } from "../layer/drag.js";
import { patched } from "../layer/labels.js";
import { picture } from "../layer/picture.js";
import { tour } from "../layer/play.js";
import { minus, number } from "../layer/text.js";
import { blend } from "../layer/tween.js";

const [sky, dots, ground, floor, foot] = [54, 72, 124, 164, 192];

// Place of the level next to a value.
export function nearestLevel(among, value) {
  let best = 0;
  for (let i = 1; i < among.length; i++) if (Math.abs(among[i] - value) < Math.abs(among[best] - value)) best = i;
  return best;
}

// Between two grids: where one level becomes two, both leave its place; where two become one, both go there. Meanwhile
// each weight falls to its level; `fall` says how far it has come.
export function glide(from, to, t) {
  const mixed = { ...to, settled: to, fall: t };
  for (const field of ["weights", "snapped", "density"]) mixed[field] = blend(from[field], to[field], t);
  const splits = from.levels.length <= to.levels.length;
  const [many, few] = splits ? [to, from] : [from, to];
  const pairs = Array.from(many.levels, (level, i) => [i, nearestLevel(few.levels, level)]);
  const ends = pairs.map(([i, j]) => (splits ? [j, i] : [i, j]));
  const part = (field, a, b) => from[field][a] + t * (to[field][b] - from[field][a]);
  for (const field of ["levels", "used"]) mixed[field] = Float64Array.from(ends, ([a, b]) => part(field, a, b));
  mixed.codes = Int32Array.from(ends, ([, b]) => to.codes[b]);
  return mixed;
}

// A weight that a hand has moved, before Python has made the grid anew: it falls to the nearest level that there is.
export function moved(figure, i, value) {
  const held = { ...figure, weights: figure.weights.slice(), snapped: figure.snapped.slice() };
  held.weights[i] = value;
  held.snapped[i] = figure.levels[nearestLevel(figure.levels, value)];
  return held;
}

// Levels run up through the picture; below each stands how many weights of the group it gets, and its code.
function levels(c, figure, x, gap, ink) {
  const most = figure.used.reduce((a, b) => Math.max(a, b), 1);
  const bar = Math.min(22, Math.max(1, gap - 2));
  c.fillStyle = ink["level-fill"];
  figure.used.forEach((used, i) => {
    const height = used ? Math.max(2, ((floor - ground - 8) * used) / most) : 0;
    c.fillRect(x(figure.levels[i]) - bar / 2, ground + 6, bar, height);
  });
  c.fillStyle = ink.level;
  c.strokeStyle = ink.card;
  for (const level of figure.levels) dot(c, x(level), ground, gap < 6 ? 1.5 : 4, gap >= 6);
  c.fillStyle = ink.level;
  c.textAlign = "center";
  c.textBaseline = "top";
  const every = 2 ** Math.max(0, Math.ceil(Math.log2(30 / gap)));
  figure.codes.forEach((code, i) => {
    if (code % every === 0) c.fillText(minus(String(code)), x(figure.levels[i]), floor + 4);
  });
}

// Another grid, behind the one on show.
function ghosts(c, among, x, ink) {
  c.strokeStyle = ink.ok;
  c.lineWidth = 1.5;
  const upright = (level) => [sharp(x(level)), sky + 4, sharp(x(level)), ground + 6];
  faint(c, 0.8, () => dashed(c, [4, 3], () => lines(c, among.map(upright))));
}

// Names above dots, in lines one above the other where they would run into each other.
function nameDots(c, values, x, y, { names, current }, width, ink) {
  c.textBaseline = "bottom";
  c.textAlign = "center";
  const free = [];
  for (const i of Array.from(values.keys()).sort((a, b) => values[a] - values[b])) {
    c.font = i === current ? `bold ${ink.font}` : ink.font;
    const half = c.measureText(names[i]).width / 2;
    const at = Math.min(width - half, Math.max(half, x(values[i])));
    let row = free.findIndex((end) => end < at - half - 6);
    if (row < 0) row = free.length;
    free[row] = at + half;
    c.fillStyle = i === current ? ink.weight : ink.soft;
    c.fillText(names[i], at, y - 17 * row);
  }
  c.font = ink.font;
}

// The weights; those that a hand has moved stand out, and the one that it holds tells its value.
function weights(c, figure, x, { named, panel, grip, width }, ink) {
  c.strokeStyle = ink.weight;
  c.lineWidth = 1.25;
  const way = (weight, i) => [x(weight), dots, x(figure.snapped[i]), ground];
  faint(c, 0.75, () => lines(c, Array.from(figure.weights, way)));
  c.strokeStyle = ink.card;
  figure.weights.forEach((weight, i) => {
    c.fillStyle = panel.options?.moved?.includes(i) ? ink.changed : ink.weight;
    dot(c, x(weight), dots, named?.current === i ? 6 : 4);
    if (!figure.fall) return;
    const [from, to] = [x(weight), x(figure.snapped[i])];
    dot(c, from + figure.fall * (to - from), dots + figure.fall * (ground - dots), 3);
  });
  const held = grip && (grip.id === "number" ? named.current : grip.id);
  if (!(held in figure.weights)) return;
  const at = x(figure.weights[held]);
  c.strokeStyle = ink.ink;
  c.lineWidth = 2;
  ring(c, at, dots, 8);
  if (named) return; // its name and its value stand there already
  const text = `${number(figure.weights[held])} → ${number(figure.snapped[held])}`;
  const wide = c.measureText(text).width;
  patched(c, text, Math.max(4, Math.min(width - wide - 4, at - wide / 2)), dots - 20, ink);
}

// The ends of the range: wedges on the axis that a hand can take.
function wedges(c, ends, x, grip, ink) {
  ends.forEach((end, i) => {
    const [at, inward] = [x(end), i ? -15 : 15];
    c.fillStyle = ink.level;
    c.strokeStyle = ink.ink;
    c.lineWidth = 2;
    c.beginPath();
    c.moveTo(at, foot);
    c.lineTo(at, foot - 12);
    c.lineTo(at + inward, foot);
    c.closePath();
    c.fill();
    if (grip?.id === ["low", "high"][i]) c.stroke();
  });
}

// What can be taken: any weight; or the number on show, and the ends of its range.
function handles(figure, { options }, { x, range }) {
  const step = (range[1] - range[0]) / 200;
  const dotOf = (id, i, ends) => ({
    id,
    value: figure.weights[i],
    range: ends,
    step,
    x: x(figure.weights[i]),
    y: dots,
  });
  if (options.take === "weights") return Array.from(figure.weights, (_, i) => dotOf(i, i, range));
  const [low, high] = figure.ends ?? options.ends;
  const [least, most] = options.within;
  const end = { step, top: ground, bottom: foot + 8 };
  return [
    dotOf("number", options.current, [low, high]),
    { ...end, id: "low", value: low, range: [range[0], least], x: x(low) },
    { ...end, id: "high", value: high, range: [most, range[1]], x: x(high) },
  ];
}

function orderOf(id, value) {
  if (id === "number") return { event: "number", value };
  return typeof id === "string" ? { event: "end", end: id, value } : { event: "weight", dot: id, value };
}

// A figure with what a hand holds where it holds it.
export function carried(figure, { options }, id, value) {
  const ends = figure.ends ?? options.ends;
  if (id === "low") return { ...figure, ends: [value, ends[1]] };
  if (id === "high") return { ...figure, ends: [ends[0], value] };
  return moved(figure, id === "number" ? options.current : id, value);
}

export function NumberLine(host, view) {
  const across = ({ density: { low, high } }, width) => ({
    x: (value) => ((value - low) / (high - low)) * width,
    value: (x) => low + (x / width) * (high - low),
    range: [low, high],
  });
  const it = picture(host, view, {
    height: 222,
    moves: glide,
    hint: ({ options }) => options?.take && "Left and right arrow keys move what is marked, up and down choose another",
    draw(c, figure, { width, ink, panel, grip }) {
      const { x, range } = across(figure, width);
      const named = panel.options?.names ? panel.options : null; // the dots, where they are few and known
      if (!named) area(c, x, figure.density, sky, sky - 6, { colour: ink.soft, alpha: 0.22 }, ink.soft);
      const rest = figure.settled ?? figure;
      const gap = rest.levels.length > 1 ? x(rest.levels[1]) - x(rest.levels[0]) : width;
      c.strokeStyle = ink.level;
      c.lineWidth = 1;
      const upright = (level) => [sharp(x(level)), sky + 4, sharp(x(level)), ground];
      faint(c, gap < 6 ? 0.18 : 0.35, () => lines(c, Array.from(figure.levels, upright)));
      if (panel.options?.ghost?.length) ghosts(c, panel.options.ghost, x, ink);
      weights(c, figure, x, { named, panel, grip, width }, ink);
      if (named) nameDots(c, figure.weights, x, dots - 18, named, width, ink);
      levels(c, figure, x, gap, ink);
      if (panel.options?.ends) wedges(c, figure.ends ?? panel.options.ends, x, grip, ink);
      axis(c, x, ...range, foot, width, ink);
    },
  });
  draggable(it, view, {
    when: ({ options }) => Boolean(options?.take),
    things: (figure, { width }) => handles(figure, it.panel, across(figure, width)),
    value: ({ x }, { width }, figure) => across(figure, width).value(x),
    held: (figure, id, value) => carried(figure, it.panel, id, value),
    order: orderOf,
  });
  tour(it, host, view);
  return it;
}

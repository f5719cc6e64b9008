// Formats as points with error bars: size across, damage upwards; a budget as a wall to drag, a line along the frontier.
import { dashed, faint, line, ring } from "../layer/canvas.js";
import { draggable } from "../layer/drag.js";
import { aim, keyed, pointed, within } from "../layer/keys.js";
import { beside, patched, places } from "../layer/labels.js";
import { picture } from "../layer/picture.js";
import { format, frontier, handle, sizeAndDamage, wallBoxes } from "../layer/plane.js";

const [left, right, top, base] = [66, 20, 16, 300];

const INKS = ["level", "field-2", "ok"]; // of the series

// Both scales, and the ends of what they show; they stand still while the budget moves.
function scales(plane, width) {
  const most = Math.max(Math.max(...plane.sizes) * 1.06, plane.budget * 1.01);
  const least = Math.min(Math.min(...plane.sizes) * 0.86, plane.budget * 0.99);
  const positive = Array.from(plane.damage).filter((v) => v > 1e-5); // below that it is the noise of the arithmetic
  const low = Math.log10(Math.min(...positive, 1)) - 0.25;
  const high = Math.log10(Math.max(...positive, 10 ** (low + 1))) + 0.2;
  const x = (v) => left + ((width - left - right) * Math.log(v / least)) / Math.log(most / least);
  const y = (v) => base - ((base - top) * (Math.max(low, v > 0 ? Math.log10(v) : low) - low)) / (high - low);
  const size = (at) => least * (most / least) ** ((at - left) / (width - left - right)); // of a place across
  return { x, y, low, high, least, most, size };
}

// What was chosen before, and the way from there to what is chosen now.
function ghost(c, ink, from, to) {
  c.strokeStyle = ink.soft;
  c.lineWidth = 1.5;
  dashed(c, [4, 4], () => line(c, ...from, ...to));
  ring(c, ...from, 10);
}

function points(c, plane, at, y, names, ink) {
  const all = Array.from(plane.names.keys());
  for (const i of all.sort((a, b) => (a === plane.current) - (b === plane.current))) {
    const [px, py] = at(i);
    names.take(px - 5, py - 5, 10, 10);
    const colour = plane.fits[i] ? ink[INKS[plane.series[i]]] : ink.soft;
    c.strokeStyle = colour;
    c.lineWidth = 1.5;
    line(c, px, y(plane.damage[i] - plane.errors[i]), px, y(plane.damage[i] + plane.errors[i]));
    const current = i === plane.current;
    format(c, ink, [px, py], current ? ink.weight : colour, current ? 7 : 4.5, i === plane.best, plane.series[i]);
  }
}

// Names go where nothing has been written: the one on show first, then those along the frontier.
function labels(c, plane, at, names, ink) {
  const front = new Set(plane.front);
  const rank = (i) => (i === plane.current ? 0 : i === plane.best ? 1 : front.has(i) ? 2 : 3);
  for (const i of Array.from(plane.names.keys()).sort((a, b) => rank(a) - rank(b))) {
    const wide = c.measureText(plane.names[i]).width;
    const place = names.find(wide, 14, beside(...at(i), wide));
    const colour = i === plane.current ? ink.weight : ink.ink;
    if (place) patched(c, plane.names[i], ...place, ink, { colour, height: 14 });
  }
}

function draw(c, plane, { width, ink, grip }) {
  const { x, y, ...rest } = scales(plane, width);
  const at = (i) => [x(plane.sizes[i]), y(plane.damage[i])];
  sizeAndDamage(c, ink, plane, { x, y, ...rest, left, right, top, base, width, foot: 8 });
  handle(c, ink, x(plane.budget), top + 12, grip);
  const series = plane.fronts.filter((front) => front.length);
  if (series.length > 1) {
    plane.fronts.forEach((front, k) => faint(c, 0.7, () => frontier(c, ink, Array.from(front, at), ink[INKS[k]], 1.5)));
  } else frontier(c, ink, Array.from(plane.front, at));
  if (plane.ghost >= 0 && plane.best >= 0) ghost(c, ink, at(plane.ghost), at(plane.best));
  const names = places([left, -Infinity, width - 2, Infinity]);
  for (const box of wallBoxes(x(plane.budget), top, base)) names.take(...box);
  points(c, plane, at, y, names, ink);
  labels(c, plane, at, names, ink);
}

// The figure with its wall elsewhere: what fits is known at once, what is best Python says.
export const walled = (plane, budget) => ({
  ...plane,
  budget,
  fits: Uint8Array.from(plane.sizes, (size) => (size <= budget ? 1 : 0)),
});

export function Balance(host, view) {
  const hint = "Left and right move the budget, up and down choose a point";
  const it = picture(host, view, { height: 346, hint, draw, moves: ["sizes", "damage", "errors", "budget"] });
  const bySize = () => Array.from(it.figure.names.keys()).sort((a, b) => it.figure.sizes[a] - it.figure.sizes[b]);
  draggable(it, view, {
    things: (plane, { width }) => [
      {
        id: "budget",
        value: plane.budget,
        ...it.panel.options.wall,
        x: scales(plane, width).x(plane.budget),
        top,
        bottom: base,
      },
    ],
    value: (place, { width }, plane) => scales(plane, width).size(place.x),
    held: (plane, _id, budget) => walled(plane, budget),
    order: (control, value) => ({ event: "set", control, value }),
  });
  const aimed = aim(
    view,
    () => bySize().indexOf(it.figure.current),
    (k) => ({ event: "point", point: bySize()[k] }),
  );
  keyed(it.canvas, (event) => {
    const to = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (to) aimed.go(within(aimed.at + to, it.figure.names.length - 1));
    return Boolean(to);
  });
  it.canvas.addEventListener("click", (event) => {
    const place = pointed(it.canvas, event);
    const { x, y } = scales(it.figure, place.width);
    const far = (i) => Math.hypot(x(it.figure.sizes[i]) - place.x, y(it.figure.damage[i]) - place.y);
    const order = bySize();
    aimed.go(order.indexOf(order.reduce((a, b) => (far(a) <= far(b) ? a : b))));
  });
  return it;
}

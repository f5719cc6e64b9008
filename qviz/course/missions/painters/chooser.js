// Memory across, damage upwards. Damage is hidden until a choice was carried out: then only sizes stand at the foot, as
// ticks, with a bar where the damage of the choice is expected.
import { dashed, line } from "../../../widgets/static/layer/canvas.js";
import { draggable } from "../../../widgets/static/layer/drag.js";
import { beside, patched, places } from "../../../widgets/static/layer/labels.js";
import { picture } from "../../../widgets/static/layer/picture.js";
import { format, frontier, handle, sizeAndDamage, wallBoxes } from "../../../widgets/static/layer/plane.js";
import { blend } from "../../../widgets/static/layer/tween.js";

const [left, right, top, base] = [66, 20, 16, 248];

function scales(plane, width) {
  const across = [...plane.sizes, plane.limit, plane.size, ...Array.from(plane.tried).filter((_, i) => i % 2 === 0)];
  const least = Math.min(Math.min(...across) * 0.85, plane.budget * 0.99);
  const most = Math.max(Math.max(...across) * 1.1, plane.budget * 1.01);
  const [low, high] = [Math.log10(plane.low), Math.log10(plane.high)];
  const x = (v) => left + ((width - left - right) * Math.log(v / least)) / Math.log(most / least);
  const share = (v) => (Math.min(high, Math.max(low, v > 0 ? Math.log10(v) : low)) - low) / (high - low);
  const size = (at) => least * (most / least) ** ((at - left) / (width - left - right)); // of a place across
  return { x, y: (v) => base - (base - top) * share(v), low, high, least, most, size };
}

// Sizes stand at the foot, whether their damage is known or not; what is expected of the choice stands above its own.
function drawSizes(c, plane, { x, y }, ink) {
  plane.names.forEach((_, i) => {
    c.strokeStyle = plane.kept[i] ? ink.level : ink.soft;
    c.lineWidth = 2;
    line(c, x(plane.sizes[i]), base, x(plane.sizes[i]), base + 9);
  });
  const here = x(plane.size);
  const [above, below] = [y(plane.predicted[1]), y(plane.predicted[0])];
  c.fillStyle = ink.weight;
  c.globalAlpha = 0.25;
  c.fillRect(here - 8, above, 16, Math.max(2, below - above));
  c.globalAlpha = 1;
  c.strokeStyle = ink.weight;
  c.lineWidth = 1.5;
  dashed(c, [4, 3], () => line(c, here, top, here, base + 9));
}

// The wall, and where the mission has it.
function walls(c, plane, x, width, ink, grip) {
  const wall = x(plane.budget);
  c.strokeStyle = ink.soft;
  c.lineWidth = 1.5;
  if (plane.limit !== plane.budget) dashed(c, [5, 4], () => line(c, x(plane.limit), top, x(plane.limit), base));
  const text = plane.limit === plane.budget ? "budget" : "what if";
  const word = c.measureText(text).width;
  c.fillStyle = ink.soft;
  c.textBaseline = "top";
  c.textAlign = wall + word + 12 < width - right ? "left" : "right";
  c.fillText(text, wall + (c.textAlign === "left" ? 6 : -6), base - 18);
  handle(c, ink, wall, top + 12, grip);
}

function draw(c, plane, { width, ink, grip }) {
  const scale = scales(plane, width);
  const { x, y } = scale;
  sizeAndDamage(c, ink, plane, { ...scale, left, right, top, base, width, foot: 14 });
  walls(c, plane, x, width, ink, grip);
  drawSizes(c, plane, scale, ink);

  const at = (i) => [x(plane.sizes[i]), y(plane.damage[i])];
  const shown = Array.from(plane.names.keys()).filter((i) => Number.isFinite(plane.damage[i]));
  const names = places([left, -Infinity, width - 2, Infinity]);
  for (const box of wallBoxes(x(plane.budget), top, base)) names.take(...box);
  if (plane.front.length) frontier(c, ink, Array.from(plane.front, at));
  for (const i of shown) {
    const [px, py] = at(i);
    format(c, ink, [px, py], plane.kept[i] ? ink.level : ink.soft, 4.5, i === plane.best);
    names.take(px - 5, py - 5, 10, 10);
  }
  const tries = plane.tries.map((name, k) => [name, x(plane.tried[2 * k]), y(plane.tried[2 * k + 1])]);
  tries.forEach(([, px, py], k) => {
    c.strokeStyle = ink.weight;
    c.lineWidth = k === tries.length - 1 ? 3 : 1.5;
    line(c, px - 7, py - 7, px + 7, py + 7);
    line(c, px - 7, py + 7, px + 7, py - 7);
    names.take(px - 8, py - 8, 16, 16);
  });

  c.textBaseline = "middle";
  c.textAlign = "left";
  const write = (text, px, py, colour) => {
    const wide = c.measureText(text).width;
    const place = names.find(wide, 14, beside(px, py, wide, -11, 12));
    if (place) patched(c, text, ...place, ink, { colour, height: 14 });
  };
  if (tries.length) write(...tries[tries.length - 1], ink.weight);
  const front = new Set(plane.front);
  const rank = (i) => (i === plane.best ? 0 : front.has(i) ? 1 : 2);
  const last = plane.tries[plane.tries.length - 1]; // its name stands there already
  for (const i of shown.filter((k) => plane.names[k] !== last).sort((a, b) => rank(a) - rank(b))) {
    write(plane.names[i], ...at(i), ink.ink);
  }
  if (shown.length) return;
  const words = "What each format costs is hidden until you have chosen.";
  const start = (left + width - right - c.measureText(words).width) / 2;
  patched(c, words, start, top + 60, ink, { colour: ink.soft, alpha: 1, margin: 6 });
}

// Points whose damage becomes known rise from the foot; what was known moves to where it is now.
export function revealed(from, to, t) {
  const known = (plane) => plane.damage.some(Number.isFinite);
  const { sizes, size, budget, tried, predicted } = blend(from, to, t);
  const moving = { ...to, sizes, size, budget, tried, predicted };
  if (known(from) || !known(to)) return moving;
  return { ...moving, damage: to.damage.map((v) => (v > to.low ? to.low * (v / to.low) ** t : v)) };
}

export function Chooser(host, view) {
  const hint = "Left and right move the wall";
  const it = picture(host, view, { height: 300, draw, hint, moves: revealed });
  draggable(it, view, {
    things: (plane, { width }) => {
      const { range, step } = it.panel.options.wall;
      return [
        { id: "budget", value: plane.budget, range, step, x: scales(plane, width).x(plane.budget), top, bottom: base },
      ];
    },
    value: (place, { width }, plane) => scales(plane, width).size(place.x),
    held: (plane, _id, budget) => ({ ...plane, budget }),
    order: (control, value) => ({ event: "set", control, value }),
  });
  return it;
}

// Formats as points with error bars: size across, damage upwards; a budget as a wall, a line along the frontier.
import { line } from "../layer/canvas.js";
import { chosen } from "../layer/keys.js";
import { beside, places } from "../layer/labels.js";
import { picture } from "../layer/picture.js";
import { format, frontier, sizeAndDamage } from "../layer/plane.js";

const [left, right, top, base] = [66, 20, 16, 300];

// Both scales, and the ends of what they show.
function scales(plane, width) {
  const most = Math.max(...plane.sizes, plane.budget) * 1.06;
  const least = Math.min(...plane.sizes, plane.budget) * 0.94;
  const positive = Array.from(plane.damage).filter((v) => v > 1e-5); // below that it is the noise of the arithmetic
  const low = Math.log10(Math.min(...positive, 1)) - 0.25;
  const high = Math.log10(Math.max(...positive, 10 ** (low + 1))) + 0.2;
  const x = (v) => left + ((width - left - right) * Math.log(v / least)) / Math.log(most / least);
  const y = (v) => base - ((base - top) * (Math.max(low, v > 0 ? Math.log10(v) : low) - low)) / (high - low);
  return { x, y, low, high, least, most };
}

function draw(c, plane, { width, ink }) {
  const { x, y, ...rest } = scales(plane, width);
  const at = (i) => [x(plane.sizes[i]), y(plane.damage[i])];
  const all = Array.from(plane.names.keys());
  sizeAndDamage(c, ink, plane, { x, y, ...rest, left, right, top, base, width, foot: 8 });
  frontier(c, ink, Array.from(plane.front, at));
  const names = places([left, -Infinity, width - 2, Infinity]);
  for (const i of all.sort((a, b) => (a === plane.current) - (b === plane.current))) {
    const [px, py] = at(i);
    names.take(px - 5, py - 5, 10, 10);
    const colour = plane.fits[i] ? ink.level : ink.soft;
    c.strokeStyle = colour;
    c.lineWidth = 1.5;
    line(c, px, y(plane.damage[i] - plane.errors[i]), px, y(plane.damage[i] + plane.errors[i]));
    const current = i === plane.current;
    format(c, ink, [px, py], current ? ink.weight : colour, current ? 7 : 4.5, i === plane.best);
  }
  // names go where nothing has been written: the one on show first, then those along the frontier
  const front = new Set(plane.front);
  const rank = (i) => (i === plane.current ? 0 : i === plane.best ? 1 : front.has(i) ? 2 : 3);
  c.textBaseline = "middle";
  c.textAlign = "left";
  for (const i of Array.from(plane.names.keys()).sort((a, b) => rank(a) - rank(b))) {
    const wide = c.measureText(plane.names[i]).width;
    const place = names.find(wide, 14, beside(...at(i), wide));
    c.fillStyle = i === plane.current ? ink.weight : ink.ink;
    if (place) c.fillText(plane.names[i], ...place);
  }
}

export function Balance(host, view) {
  const it = picture(host, view, { height: 346, hint: "Arrow keys choose a point", draw });
  const bySize = () => Array.from(it.figure.names.keys()).sort((a, b) => it.figure.sizes[a] - it.figure.sizes[b]);
  chosen(it.canvas, {
    at: () => [bySize().indexOf(it.figure.current), it.figure.names.length - 1],
    pick: (place) => {
      const { x, y } = scales(it.figure, place.width);
      const far = (i) => Math.hypot(x(it.figure.sizes[i]) - place.x, y(it.figure.damage[i]) - place.y);
      const order = bySize();
      const nearest = Array.from(it.figure.names.keys()).reduce((a, b) => (far(a) <= far(b) ? a : b));
      return order.indexOf(nearest);
    },
    choose: (k) => view.send({ event: "point", point: bySize()[k] }),
  });
  return it;
}

// Pairs of weights as dots in a plane, the points that they become, and the cells of these.
import { dot, faint, line, lines, ring, sharp } from "../layer/canvas.js";
import { chosen, pointed } from "../layer/keys.js";
import { beside, patched, places } from "../layer/labels.js";
import { picture } from "../layer/picture.js";
import { number, ticks } from "../layer/text.js";

const [HIGH, FOOT, NEAR] = [312, 22, 14];
const PEERS = ["grid", "points"]; // panels with the same pairs

// The square in the middle of the canvas, and where a place of the plane lies in it: both axes have one scale.
export function squareOf({ reach }, width, height = HIGH) {
  const side = Math.min(width - 44, height - FOOT - 6);
  const [left, top] = [(width - side + 28) / 2, 6];
  const scale = side / (2 * reach);
  return { left, top, side, x: (v) => left + (v + reach) * scale, y: (v) => top + (reach - v) * scale };
}

// The pair nearest to a place on the canvas; undefined if none is near.
export function pairAt({ pairs }, { x, y }, at, reach = NEAR) {
  let found;
  let least = reach * reach;
  for (let i = 0; i < pairs.length / 2; i++) {
    const far = (at.x(pairs[2 * i]) - x) ** 2 + (at.y(pairs[2 * i + 1]) - y) ** 2;
    if (far <= least) [found, least] = [i, far];
  }
  return found;
}

function frame(c, { reach }, at, ink) {
  c.strokeStyle = ink.line;
  c.fillStyle = ink.soft;
  c.lineWidth = 1;
  c.strokeRect(sharp(at.left), sharp(at.top), at.side, at.side);
  for (const value of ticks(-reach, reach, 5)) {
    c.textAlign = "center";
    c.textBaseline = "top";
    c.fillText(number(value), at.x(value), at.top + at.side + 6);
    c.textAlign = "right";
    c.textBaseline = "middle";
    c.fillText(number(value), at.left - 7, at.y(value));
  }
}

function cloud(c, { pairs }, at, ink) {
  c.fillStyle = ink.soft;
  faint(c, pairs.length > 4000 ? 0.32 : 0.6, () => {
    for (let i = 0; i < pairs.length; i += 2) c.fillRect(at.x(pairs[i]) - 0.9, at.y(pairs[i + 1]) - 0.9, 1.8, 1.8);
  });
}

function stand(c, { points, counts, edges }, at, ink) {
  c.strokeStyle = ink.level;
  c.lineWidth = 1;
  faint(c, 0.6, () => {
    const borders = [];
    for (let i = 0; i < edges.length; i += 4) {
      borders.push([at.x(edges[i]), at.y(edges[i + 1]), at.x(edges[i + 2]), at.y(edges[i + 3])]);
    }
    lines(c, borders);
  });
  c.fillStyle = ink.level;
  c.strokeStyle = ink.card;
  const most = Math.max(1, ...counts);
  const largest = counts.length > 64 ? 4 : 7; // of many, none covers its neighbour
  const shared = (n) => Math.max(0.8, largest * Math.sqrt(n / most));
  const size = edges.length ? () => (points.length > 64 ? 3 : 4.5) : shared;
  counts.forEach((n, i) => dot(c, at.x(points[2 * i]), at.y(points[2 * i + 1]), size(n), edges.length > 0));
}

// Where a text beside a pair hides neither the point that it becomes nor, if that can be, any other: [left edge, middle].
export function errorPlace(points, [x, y], [tx, ty], at, wide) {
  const far = ([left, middle]) => (left + wide / 2 - tx) ** 2 + (middle - ty) ** 2;
  const around = [16, 22, 28].flatMap((up) => beside(x, y, wide, -up, up).sort((a, b) => far(b) - far(a)));
  for (const half of [7, 4, 0]) {
    const free = places([at.left + 2, at.top + 2, at.left + at.side - 2, at.top + at.side - 2]);
    free.take(tx - 9, ty - 9, 18, 18);
    for (let i = 0; half && i < points.length; i += 2) {
      free.take(at.x(points[i]) - half, at.y(points[i + 1]) - half, 2 * half, 2 * half);
    }
    const found = free.find(wide, 16, around);
    if (found) return found;
  }
  return around[0];
}

// A pair, the point that it becomes, and what that costs.
function taking(c, { pairs, points, taken, errors }, i, at, ink) {
  const [x, y] = [at.x(pairs[2 * i]), at.y(pairs[2 * i + 1])];
  const [tx, ty] = [at.x(points[2 * taken[i]]), at.y(points[2 * taken[i] + 1])];
  c.strokeStyle = ink.weight;
  c.fillStyle = ink.weight;
  c.lineWidth = 2;
  line(c, x, y, tx, ty);
  ring(c, tx, ty, 8);
  c.strokeStyle = ink.card;
  dot(c, x, y, 4.5);
  const text = `error ${number(errors[i])}`;
  patched(c, text, ...errorPlace(points, [x, y], [tx, ty], at, c.measureText(text).width), ink, { alpha: 0.9 });
}

export function PairPlane(host, view) {
  let under = null; // the pair that a pointer is at, here or in the other plane
  const it = picture(host, view, {
    height: HIGH,
    hint: "Arrow keys go from pair to pair",
    draw(c, plane, { width, ink }) {
      const at = squareOf(plane, width);
      cloud(c, plane, at, ink);
      stand(c, plane, at, ink);
      frame(c, plane, at, ink);
      taking(c, plane, under === null || under >= plane.taken.length ? plane.current : under, at, ink);
    },
  });
  it.hover = (i) => {
    under = i;
    it.redraw();
  };
  const tell = (i) => PEERS.forEach((name) => view.painter(name)?.hover?.(i));
  const near = (place) => pairAt(it.figure, place, squareOf(it.figure, place.width));
  it.canvas.style.cursor = "crosshair";
  it.canvas.addEventListener("pointermove", (event) => tell(near(pointed(it.canvas, event)) ?? null));
  it.canvas.addEventListener("pointerleave", () => tell(null));
  chosen(it.canvas, view, {
    at: () => [it.figure.current, it.figure.taken.length - 1],
    pick: near,
    order: (pair) => ({ event: "pair", pair }),
    far: 10,
  });
  return it;
}

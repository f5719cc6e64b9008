// Rows of one head in a folder and in a file, joined by lines; the two rows that a program turns together stand out.
import { faint, line, lines } from "../layer/canvas.js";
import { chosen } from "../layer/keys.js";
import { picture } from "../layer/picture.js";

const [TOP, FOOT, SIDE, MARK] = [34, 22, 52, 14];

// Where row i of n stands.
const at = (i, n, height) => TOP + ((height - TOP - FOOT) * (i + 0.5)) / n;

function strokes(c, map, { width, height, ink }) {
  const n = map.order.length;
  const joined = (of) =>
    Array.from(map.order, (from, i) => [SIDE + MARK, at(from, n, height), width - SIDE - MARK, at(i, n, height), from])
      .filter(([, , , , from]) => of(from))
      .map((ends) => ends.slice(0, 4));
  c.lineWidth = 1;
  faint(c, 0.5, () => {
    c.strokeStyle = ink.weight;
    lines(
      c,
      joined((from) => !map.half || from < map.half),
    );
    c.strokeStyle = ink.level;
    lines(
      c,
      joined((from) => map.half && from >= map.half),
    );
  });
  const bar = Math.max(1.5, (height - TOP - FOOT) / n - 1.5);
  for (let i = 0; i < n; i++) {
    const colour = (from) => (!map.half || from < map.half ? ink.weight : ink.level);
    c.fillStyle = colour(i);
    c.fillRect(SIDE, at(i, n, height) - bar / 2, MARK - 2, bar);
    c.fillStyle = colour(map.order[i]);
    c.fillRect(width - SIDE - MARK + 2, at(i, n, height) - bar / 2, MARK - 2, bar);
  }
}

function draw(c, map, { width, height, ink }) {
  c.textBaseline = "middle";
  c.fillStyle = ink.soft;
  c.textAlign = "left";
  c.fillText("rows in the folder", 4, 14);
  c.textAlign = "right";
  c.fillText("in the file", width - 4, 14);
  strokes(c, map, { width, height, ink });
  if (!map.half) return;
  const n = map.order.length;
  c.strokeStyle = map.right ? ink.ok : ink.changed;
  c.lineWidth = 3;
  for (const i of [2 * map.pair, 2 * map.pair + 1]) {
    const from = map.order[i];
    line(c, SIDE + MARK, at(from, n, height), width - SIDE - MARK, at(i, n, height));
  }
  // two neighbours have no room for a number each
  const [a, b] = [map.order[2 * map.pair], map.order[2 * map.pair + 1]];
  c.fillStyle = ink.ink;
  c.textAlign = "right";
  if (b - a > 1) for (const from of [a, b]) c.fillText(String(from), SIDE - 8, at(from, n, height));
  else c.fillText(`${a}, ${b}`, SIDE - 8, (at(a, n, height) + at(b, n, height)) / 2);
  c.textAlign = "left";
  const [i, j] = [2 * map.pair, 2 * map.pair + 1];
  c.fillText(`${i}, ${j}`, width - SIDE + 8, (at(i, n, height) + at(j, n, height)) / 2);
}

export function RowMap(host, view) {
  const it = picture(host, view, { height: 300, draw, hint: "Arrow keys choose a pair of rows" });
  chosen(it.canvas, view, {
    down: 1,
    at: () => [it.figure.pair, it.figure.half ? it.figure.order.length / 2 - 1 : 0],
    pick({ y, height }) {
      const row = Math.floor(((y - TOP) / (height - TOP - FOOT)) * it.figure.order.length);
      return row < 0 || row >= it.figure.order.length ? undefined : row >> 1;
    },
    order: (pair) => ({ event: "pair", pair }),
  });
  return it;
}

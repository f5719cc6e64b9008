// A model from left to right, in the order in which a token meets its matrices: boxes to scale, a frame around the layer
// that repeats, and below it the residual stream that each half adds to.
import { line } from "../layer/canvas.js";
import { chosen } from "../layer/keys.js";
import { picture } from "../layer/picture.js";

const [TOP, FOOT, LEAST, MOST] = [46, 34, 72, 112]; // LEAST: a column is as wide as its names, where there is room
const NAME = 14; // height of a name under its box
const under = ({ tensor }) => NAME + (tensor.copies > 1 ? 12 : 5); // from a box to the next below it

// Sides of a box, before scaling: square roots, so that a vocabulary and a head fit on one page.
const side = (n) => Math.sqrt(n);

// Matrices are boxes; norms, biases and the like are lines, and stand together.
const isBox = (tensor) => tensor.rows > 1;

// The largest scale at which all columns of a layer are at most `room` high.
function fitting(map, columns, room) {
  const scales = columns.map((column, step) => {
    const big = column.filter(({ tensor }) => isBox(tensor));
    if (!map.inside[step] || !big.length) return Infinity;
    const names = column.reduce((sum, box) => sum + under(box) + (isBox(box.tensor) ? 0 : 5), 0);
    return Math.max(0, room - names) / big.reduce((sum, box) => sum + box.h, 0);
  });
  return Math.min(...scales);
}

// Where each step and each box is; of two maps, each has `room` for its boxes. Without a page: node tests it.
export function layout(map, width, room = Infinity) {
  const boxes = map.tensors.map((tensor, i) => ({ tensor, i, w: side(tensor.columns), h: side(tensor.rows) }));
  const columns = map.steps.map((_, step) => boxes.filter((box) => box.tensor.step === step));
  const wide = columns.map((column) => Math.max(0, ...column.map((box) => (isBox(box.tensor) ? box.w : 0))));
  const sides = wide.reduce((a, b) => a + b, 0);
  const broad = Math.min(1.7, Math.max(0.4, (0.55 * width) / Math.max(1, sides)));
  const scale = Math.min(broad, Math.max(0.2, fitting(map, columns, room)));
  const most = Math.min(MOST, Math.max(24, room - NAME - 5)); // what is higher is cut
  const least = Math.min(LEAST, (width - 8) / columns.length - 2);
  const across = wide.map((w) => Math.max(least, Math.min(MOST, scale * w)));
  const spare = width - 8 - across.reduce((a, b) => a + b, 0);
  const gap = Math.min(36, Math.max(2, spare / Math.max(1, across.length - 1)));
  let x = 4;
  const steps = columns.map((column, step) => {
    let y = TOP;
    for (const box of column) {
      const big = isBox(box.tensor);
      box.w = big ? Math.min(MOST, scale * box.w) : across[step] * 0.6;
      box.cut = big && scale * box.h > most;
      box.h = big ? Math.max(4, Math.min(most, scale * box.h)) : 5;
      box.x = x + (across[step] - box.w) / 2;
      box.y = y;
      y += box.h + under(box);
    }
    const placed = { step, x, width: across[step], bottom: y };
    x += across[step] + gap;
    return placed;
  });
  return { boxes, steps, width: x - gap, bottom: Math.max(...steps.map((step) => step.bottom)) };
}

function drawFrame(c, map, placed, ink) {
  const inside = placed.steps.filter((step) => map.inside[step.step]);
  if (!inside.length) return;
  const [first, last] = [inside[0], inside[inside.length - 1]];
  c.strokeStyle = ink.line;
  c.lineWidth = 1.5;
  c.strokeRect(first.x - 5, 20, last.x + last.width - first.x + 10, placed.bottom - 14);
}

// The model's name, and which of its layers the frame holds; layers count from 0, as in the names of tensors.
function drawTitle(c, map, ink) {
  c.textAlign = "left";
  c.fillStyle = ink.ink;
  c.fillText(map.title, 4, 9);
  const at = 4 + c.measureText(map.title).width;
  c.fillStyle = ink.soft;
  if (map.n_layers) c.fillText(`; in the frame: layer ${map.layer} of 0 … ${map.n_layers - 1}`, at, 9);
}

// The residual stream: a line below, which both halves of the layer add to.
function drawStream(c, map, placed, ink) {
  const y = placed.bottom + 26;
  const end = placed.steps[placed.steps.length - 1];
  c.strokeStyle = ink.weight;
  c.lineWidth = 2.5;
  line(c, placed.steps[0].x, y, end.x + end.width, y);
  c.fillStyle = ink.weight;
  c.textAlign = "left";
  c.fillText("residual stream", placed.steps[0].x, y - 9);
  c.textAlign = "center";
  for (const { step, x, width, bottom } of placed.steps) {
    if (!map.adds[step]) continue;
    c.lineWidth = 1.5;
    line(c, x + width / 2, bottom - 2, x + width / 2, y);
    c.fillStyle = ink.weight;
    c.fillText("+", x + width / 2 + 8, y - 8);
  }
}

function drawBox(c, box, on, ink) {
  const { tensor, x, y, w, h } = box;
  const copies = Math.min(tensor.copies, 3);
  for (let k = copies - 1; k >= 0; k--) {
    c.fillStyle = isBox(tensor) ? ink["level-fill"] : ink.ok;
    c.globalAlpha = on ? 0.95 : 0.5;
    c.fillRect(x + 3 * k, y - 3 * k, w, h);
    c.globalAlpha = 1;
    c.strokeStyle = on ? ink.ink : ink.level;
    c.lineWidth = on ? 2 : 0.75;
    c.strokeRect(x + 3 * k, y - 3 * k, w, h);
  }
  if (box.cut) {
    c.strokeStyle = ink.card;
    c.lineWidth = 4;
    line(c, x - 3, y + h * 0.62, x + w + 3, y + h * 0.54); // taller than the page
  }
  c.fillStyle = on ? ink.ink : ink.soft;
  c.textAlign = "center";
  c.fillText(tensor.kind.replace(/^(attn|ffn)_/, ""), x + w / 2, y + h + 9);
}

function draw(c, map, { width, ink, panel }) {
  const placed = layout(map, width, panel.options?.room);
  c.textBaseline = "middle";
  drawTitle(c, map, ink);
  drawFrame(c, map, placed, ink);
  c.font = ink.font.replace(/[\d.]+px/, "11.5px");
  drawStream(c, map, placed, ink);
  c.textAlign = "center";
  c.fillStyle = ink.ink;
  for (const { step, x, width: across } of placed.steps) c.fillText(map.steps[step], x + across / 2, 33);
  for (const box of placed.boxes) drawBox(c, box, box.i === map.current, ink);
}

// The box at a place, names included.
function boxAt({ figure: map, options }, { x, y, width }) {
  const found = layout(map, width, options?.room).boxes.find(
    (box) => x >= box.x - 6 && x <= box.x + box.w + 6 && y >= box.y - 3 && y <= box.y + box.h + NAME,
  );
  return found?.i;
}

export function ModelMap(host, view) {
  const it = picture(host, view, {
    draw,
    hint: "Arrow keys walk from box to box",
    tall: (map) => layout(map, it.canvas.clientWidth || 900, it.panel.options?.room).bottom + FOOT,
  });
  chosen(it.canvas, view, {
    at: () => [it.figure.current, it.figure.tensors.length - 1],
    pick: (place) => boxAt(it.panel, place),
    order: (i) => ({ event: "choose", kind: it.figure.tensors[i].kind }),
  });
  return it;
}

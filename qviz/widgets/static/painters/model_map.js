// A model from left to right, in the order in which a token meets its matrices: boxes to scale, a frame around the layer
// that repeats, and below it the residual stream that each half adds to.
import { line } from "../layer/canvas.js";
import { chosen } from "../layer/keys.js";
import { picture } from "../layer/picture.js";

const [TOP, FOOT, LEAST, MOST] = [58, 62, 72, 112]; // LEAST: a column is as wide as its names
const NAME = 14; // height of a name under its box

// Sides of a box, before scaling: square roots, so that a vocabulary and a head fit on one page.
const side = (n) => Math.sqrt(n);

// Matrices are boxes; norms, biases and the like are lines, and stand together.
const isBox = (tensor) => tensor.rows > 1;

// Where each step and each box is. Without a page: node tests it.
export function layout(map, width) {
  const boxes = map.tensors.map((tensor, i) => ({ tensor, i, w: side(tensor.columns), h: side(tensor.rows) }));
  const columns = map.steps.map((_, step) => boxes.filter((box) => box.tensor.step === step));
  const wide = columns.map((column) => Math.max(0, ...column.map((box) => (isBox(box.tensor) ? box.w : 0))));
  const sides = wide.reduce((a, b) => a + b, 0);
  const scale = Math.min(1.7, Math.max(0.4, (0.55 * width) / Math.max(1, sides)));
  const room = wide.map((w) => Math.max(LEAST, Math.min(MOST, scale * w)));
  const spare = width - 8 - room.reduce((a, b) => a + b, 0);
  const gap = Math.min(36, Math.max(2, spare / Math.max(1, room.length - 1)));
  let x = 4;
  const steps = columns.map((column, step) => {
    const across = room[step];
    let y = TOP;
    for (const box of column) {
      const big = isBox(box.tensor);
      box.w = big ? Math.min(MOST, scale * box.w) : across * 0.6;
      box.cut = big && scale * box.h > MOST;
      box.h = big ? Math.max(4, Math.min(MOST, scale * box.h)) : 5;
      box.x = x + (across - box.w) / 2;
      box.y = y;
      y += box.h + NAME + (box.tensor.copies > 1 ? 12 : 5);
    }
    const placed = { step, x, width: across, bottom: y };
    x += across + gap;
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
  c.fillStyle = ink.soft;
  c.textAlign = "left";
  c.fillText(`layer ${map.layer + 1} of ${map.n_layers}`, first.x, 31);
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
  c.fillText("residual stream", placed.steps[0].x, y + 15);
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

function draw(c, map, { width, ink }) {
  const placed = layout(map, width);
  c.textBaseline = "middle";
  c.textAlign = "left";
  c.fillStyle = ink.ink;
  c.fillText(map.title, 4, 9);
  drawFrame(c, map, placed, ink);
  c.font = ink.font.replace(/[\d.]+px/, "11.5px");
  drawStream(c, map, placed, ink);
  c.textAlign = "center";
  c.fillStyle = ink.ink;
  for (const { step, x, width: across } of placed.steps) c.fillText(map.steps[step], x + across / 2, 46);
  for (const box of placed.boxes) drawBox(c, box, box.i === map.current, ink);
}

// The box at a place, names included.
function boxAt(map, { x, y, width }) {
  const found = layout(map, width).boxes.find(
    (box) => x >= box.x - 6 && x <= box.x + box.w + 6 && y >= box.y - 3 && y <= box.y + box.h + NAME,
  );
  return found?.i;
}

export function ModelMap(host, view) {
  const it = picture(host, view, {
    draw,
    hint: "Arrow keys walk from box to box",
    tall: (map) => layout(map, it.canvas.clientWidth || 900).bottom + FOOT - 14,
  });
  chosen(it.canvas, view, {
    at: () => [it.figure.current, it.figure.tensors.length - 1],
    pick: (place) => boxAt(it.figure, place),
    order: (i) => ({ event: "choose", kind: it.figure.tensors[i].kind }),
  });
  return it;
}

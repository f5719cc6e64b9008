// Layers from left to right, kinds of tensors from top to bottom, coloured by bits; above them what is in no layer.
// Both maps of a view share one pointer, so that the two recipes are read about the same tensor.
import { surface } from "../layer/canvas.js";
import { entry, legible } from "../layer/colour.js";
import { h, say } from "../layer/dom.js";
import { keyed, pointed } from "../layer/keys.js";
import { sentences } from "../layer/picture.js";
import { number } from "../layer/text.js";
import { mover, still } from "../layer/tween.js";

const [row, label, head] = [17, 92, 28];

// A tensor's rectangle in the colour of its format. A frame as well as a colour says that the other recipe differs: two
// greens are soon mistaken. A dot says that the format is a fallback.
function cell(c, map, tensor, [r, g, b], { x, y, w, tall }) {
  const gap = w > 4 ? 1 : 0;
  c.fillStyle = `rgb(${r},${g},${b})`;
  c.fillRect(x, y, w - gap, tall - 2);
  c.strokeStyle = c.fillStyle = legible(r, g, b);
  c.lineWidth = 1;
  if (map.differs[tensor] && w > 5) c.strokeRect(x + 1.5, y + 1.5, w - gap - 3, tall - 5);
  if (!map.fallback[tensor] || w <= 3) return;
  c.beginPath();
  c.arc(x + (w - gap) / 2, y + (tall - 2) / 2, Math.min(2.5, w / 4), 0, 2 * Math.PI);
  c.fill();
}

// Draw a map; returns the rectangle of each tensor.
function draw(c, map, width, colour, ink) {
  const boxes = [];
  c.font = ink.font;
  c.textBaseline = "middle";
  c.textAlign = "left";
  const place = (tensor, x, y, wide, tall) => {
    boxes[tensor] = { x, y, w: wide, tall };
    cell(c, map, tensor, colour(tensor), boxes[tensor]);
  };
  const room = width / Math.max(1, map.outside.length);
  map.outside.forEach((tensor, i) => {
    place(tensor, i * room, 0, room, head - 4);
    const text = `${map.names[tensor].replace(/\.weight$/, "")} ${map.formats[map.format_of[tensor]]}`;
    c.fillStyle = legible(...colour(tensor));
    if (c.measureText(text).width < room - 16) c.fillText(text, i * room + 8, head / 2 - 2);
  });
  const w = (width - label) / Math.max(1, map.layers);
  map.kinds.forEach((kind, i) => {
    c.fillStyle = ink.soft;
    c.fillText(kind, 0, head + row * i + row / 2 - 1, label - 6);
    for (let layer = 0; layer < map.layers; layer++) {
      const tensor = map.cells[i * map.layers + layer];
      if (tensor >= 0) place(tensor, label + w * layer, head + row * i, w, row);
    }
  });
  c.fillStyle = ink.soft;
  c.textAlign = "center";
  const floor = head + row * map.kinds.length + 9;
  const every = [1, 2, 4, 5, 10, 20, 50].find((n) => n * w >= 26) ?? 100;
  for (let layer = 0; layer < map.layers; layer += every) c.fillText(String(layer), label + w * (layer + 0.5), floor);
  c.textAlign = "left";
  if (map.layers) c.fillText("layer", 0, floor);
  return boxes;
}

// The tensor that an arrow key leads to from another; undefined where there is none, or for any other key.
export function neighbour(map, key, now) {
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[key];
  const outside = map.outside.indexOf(now);
  if (outside >= 0) {
    if (step[1]) return map.outside[outside + step[1]];
    return step[0] > 0 && map.layers ? map.cells.find((tensor) => tensor >= 0) : undefined;
  }
  const at = map.cells.indexOf(now);
  let [i, layer] = [Math.floor(at / map.layers), at % map.layers];
  // over gaps: a file may hold only some tensors of a layer
  for (;;) {
    i += step[0];
    layer += step[1];
    if (i < 0) return map.outside[0];
    if (i >= map.kinds.length || layer < 0 || layer >= map.layers) return undefined;
    const tensor = map.cells[i * map.layers + layer];
    if (tensor >= 0) return tensor;
  }
}

// A key a format, and what frames and dots mean where there are some.
function swatches(map, table) {
  const keys = map.formats.map((format, i) => {
    const n = map.format_of.reduce((sum, f) => sum + (f === i), 0);
    const key = h("span.swatch", {}, `${format} × ${n}`);
    key.style.setProperty("--role", `rgb(${entry(table, map.shades[i])})`);
    return key;
  });
  if (map.differs.some(Boolean)) keys.push(h("span.framed", {}, "differs"));
  if (map.fallback.some(Boolean)) keys.push(h("span.dotted", {}, "fallback"));
  return keys;
}

// Around the tensor that is pointed at.
function frame(c, box, ink) {
  for (const [stroke, thick] of [
    [ink.paper, 5],
    [ink.ink, 2.5],
  ]) {
    c.strokeStyle = stroke;
    c.lineWidth = thick;
    c.strokeRect(box.x + 1, box.y + 1, box.w - 3, box.tall - 4);
  }
}

// The tensor, its format and size.
function described(map, tensor) {
  const mib = map.nbytes[tensor] / 2 ** 20;
  const size = mib >= 0.1 ? `${number(mib)} MiB` : `${map.nbytes[tensor]} bytes`;
  return `${map.names[tensor].replace(/\.weight$/, "")}, ${map.shapes[tensor]}: ${map.formats[map.format_of[tensor]]}, ${size}`;
}

export function RecipeMap(host, view) {
  let map;
  let boxes = [];
  const { canvas, redraw } = surface(0, (c, width) => {
    if (!map) return;
    boxes = draw(c, motion.shown, width, colour, view.ink());
    if (boxes[at()]) frame(c, boxes[at()], view.ink());
  });
  const legend = h("div.legend.formats", { "aria-hidden": "true" });
  const [name, about] = [h("p.cell-name"), h("p.cell-about")];
  host.append(canvas, legend, h("div.cell-card", { "aria-live": "polite" }, name, about));
  view.maps ??= { at: null, all: new Set() };
  view.maps.all.add(tell);

  const motion = mover(["depth"], redraw); // a tensor's colour moves to that of its new format
  const colour = (tensor) => entry(view.table("sequential"), Math.round(motion.shown.depth[tensor]));
  const at = () => {
    const found = view.maps.at === null ? -1 : map.names.indexOf(view.maps.at);
    return found < 0 ? map.first : found;
  };
  function tell() {
    if (!map) return;
    redraw();
    say(name, described(map, at()));
    say(about, map.reasons[map.reason_of[at()]]);
  }
  function point(tensor) {
    if (tensor === undefined || tensor < 0) return;
    view.maps.at = map.names[tensor];
    for (const update of view.maps.all) update();
  }
  canvas.addEventListener("pointermove", (event) => {
    const { x, y } = pointed(canvas, event);
    const over = boxes.findIndex((b) => b && x >= b.x && x < b.x + b.w && y >= b.y && y < b.y + b.tall);
    if (over >= 0 && over !== at()) point(over);
  });
  keyed(canvas, (event) => {
    if (!event.key.startsWith("Arrow")) return false;
    point(neighbour(map, event.key, at()));
    return true;
  });

  return {
    show(panel) {
      map = panel.figure;
      canvas.style.height = `${head + row * map.kinds.length + (map.layers ? 20 : 0)}px`;
      canvas.setAttribute("aria-label", sentences(panel.label, "Arrow keys move from tensor to tensor"));
      legend.replaceChildren(...swatches(map, view.table("sequential")));
      motion.go(map, still());
      tell();
    },
    redraw() {
      if (map) legend.replaceChildren(...swatches(map, view.table("sequential")));
      redraw();
    },
  };
}

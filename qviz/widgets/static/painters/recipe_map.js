import { isLight } from "../layer/colour.js";
import { h, say } from "../layer/dom.js";
import { surface } from "../layer/surface.js";
import { number } from "../layer/text.js";

// Layers from left to right, kinds of tensors from top to bottom, coloured by bits; above them what is in no layer.
// Both maps of a view share one pointer, so that the two recipes are read about the same tensor.
export function RecipeMap(host, view) {
  let map;
  let panel;
  let boxes = []; // tensor -> {x, y, w, h}, as last drawn
  const [row, label, head] = [21, 92, 30];
  const { canvas, redraw } = surface(0, draw);
  canvas.tabIndex = 0;
  canvas.dataset.lmSuppressShortcuts = "true";
  const legend = h("div.legend.formats", { "aria-hidden": "true" });
  const name = h("p.cell-name");
  const about = h("p.cell-about");
  const said = h("div.cell-card", { "aria-live": "polite" }, name, about);
  host.append(canvas, legend, said);
  view.maps ??= { at: null, all: new Set() };
  view.maps.all.add(pointed);

  const colour = (tensor) => {
    const table = view.table("sequential");
    const code = map.shades[map.format_of[tensor]];
    return Array.from(table.subarray(3 * code, 3 * code + 3));
  };
  const at = () => {
    const found = view.maps.at === null ? -1 : map.names.indexOf(view.maps.at);
    return found < 0 ? map.first : found;
  };

  function draw(c, width) {
    if (!map) return;
    const ink = view.ink();
    boxes = [];
    c.font = ink.font;
    c.textBaseline = "middle";
    const place = (tensor, x, y, w, h) => {
      boxes[tensor] = { x, y, w, h };
      const [r, g, b] = colour(tensor);
      const gap = w > 4 ? 1 : 0;
      c.fillStyle = `rgb(${r},${g},${b})`;
      c.fillRect(x, y, w - gap, h - 2);
      if (map.differs[tensor] && w > 5) {
        // a frame as well as a colour: two greens are soon mistaken
        c.strokeStyle = isLight(r, g, b) ? "#111" : "#fff";
        c.lineWidth = 1;
        c.strokeRect(x + 1.5, y + 1.5, w - gap - 3, h - 5);
      }
      if (map.fallback[tensor] && w > 3) {
        c.fillStyle = isLight(r, g, b) ? "#111" : "#fff";
        c.beginPath();
        c.arc(x + (w - gap) / 2, y + (h - 2) / 2, Math.min(2.5, w / 4), 0, 2 * Math.PI);
        c.fill();
      }
      return isLight(r, g, b) ? "#111" : "#fff";
    };
    const wide = width / Math.max(1, map.outside.length);
    map.outside.forEach((tensor, i) => {
      c.fillStyle = place(tensor, i * wide, 0, wide, head - 4);
      c.textAlign = "left";
      const text = `${map.names[tensor].replace(/\.weight$/, "")} ${map.formats[map.format_of[tensor]]}`;
      if (c.measureText(text).width < wide - 16) c.fillText(text, i * wide + 8, head / 2 - 2);
    });
    const w = (width - label) / Math.max(1, map.layers);
    map.kinds.forEach((kind, i) => {
      c.fillStyle = ink.soft;
      c.textAlign = "left";
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
    const box = boxes[at()];
    for (const [stroke, line] of box ? [[ink.paper, 5], [ink.ink, 2.5]] : []) {
      c.strokeStyle = stroke;
      c.lineWidth = line;
      c.strokeRect(box.x + 1, box.y + 1, box.w - 3, box.h - 4);
    }
  }

  function pointed() {
    if (!map) return;
    redraw();
    const tensor = at();
    const format = map.formats[map.format_of[tensor]];
    const mib = map.nbytes[tensor] / 2 ** 20;
    say(name, `${map.names[tensor]}, ${map.shapes[tensor]}: ${format}, ${mib >= 0.1 ? `${number(mib)} MiB` : `${map.nbytes[tensor]} bytes`}`);
    say(about, map.reasons[map.reason_of[tensor]]);
  }
  function point(tensor) {
    if (tensor === undefined || tensor < 0) return;
    view.maps.at = map.names[tensor];
    for (const update of view.maps.all) update();
  }

  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const over = boxes.findIndex((b) => b && x >= b.x && x < b.x + b.w && y >= b.y && y < b.y + b.h);
    if (over >= 0 && over !== at()) point(over);
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const now = at();
    const outside = map.outside.indexOf(now);
    if (outside >= 0) {
      if (step[1]) point(map.outside[outside + step[1]]);
      else if (step[0] > 0 && map.layers) point(map.cells.find((tensor) => tensor >= 0));
      return;
    }
    let [i, layer] = [0, 0];
    map.cells.forEach((tensor, cell) => {
      if (tensor === now) [i, layer] = [Math.floor(cell / map.layers), cell % map.layers];
    });
    // over gaps: a file may hold only some tensors of a layer
    for (;;) {
      i += step[0];
      layer += step[1];
      if (i < 0) return point(map.outside[0]);
      if (i >= map.kinds.length || layer < 0 || layer >= map.layers) return;
      const tensor = map.cells[i * map.layers + layer];
      if (tensor >= 0) return point(tensor);
    }
  });

  function swatches() {
    const table = view.table("sequential");
    legend.replaceChildren(
      ...map.formats.map((format, i) => {
        const n = map.format_of.reduce((sum, f) => sum + (f === i), 0);
        const key = h("span.swatch", {}, `${format} × ${n}`);
        const code = map.shades[i];
        key.style.setProperty("--role", `rgb(${Array.from(table.subarray(3 * code, 3 * code + 3)).join()})`);
        return key;
      }),
      ...(map.differs.some(Boolean) ? [h("span.framed", {}, "differs")] : []),
      ...(map.fallback.some(Boolean) ? [h("span.dotted", {}, "fallback")] : []),
    );
  }
  return {
    show(next) {
      panel = next;
      map = panel.figure;
      canvas.style.height = `${head + row * map.kinds.length + (map.layers ? 20 : 0)}px`;
      canvas.setAttribute("aria-label", `${panel.label}. Arrow keys move from tensor to tensor.`);
      swatches();
      pointed();
    },
    redraw() {
      if (map) swatches();
      redraw();
    },
  };
}

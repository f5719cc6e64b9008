// Images of one pixel a number, magnified by the canvas that is seen.
import { surface } from "./canvas.js";
import { entry } from "./colour.js";
import { h, say } from "./dom.js";
import { number } from "./text.js";

// An image that is never seen itself; `paint(pixels, table)` fills it (without a table: greys).
export function pixelImage() {
  const image = h("canvas");
  return {
    image,
    paint(pixels, table) {
      const [rows, columns] = pixels.shape;
      if (image.width !== columns || image.height !== rows) [image.width, image.height] = [columns, rows];
      const colour = new Uint32Array(256);
      for (let code = 0; code < 256; code++) {
        const [r, g, b] = table ? entry(table, code) : [code, code, code];
        colour[code] = (255 << 24) | (b << 16) | (g << 8) | r;
      }
      const data = image.getContext("2d").createImageData(columns, rows);
      const out = new Uint32Array(data.data.buffer);
      for (let i = 0; i < pixels.length; i++) out[i] = colour[pixels[i]];
      image.getContext("2d").putImageData(data, 0, 0);
    },
  };
}

// An image keeps its shape, unless that would leave only a sliver of it.
export function shaped(canvas, [rows, columns], least = 0.75, most = 2.5) {
  canvas.style.height = "";
  canvas.style.aspectRatio = String(Math.min(most, Math.max(least, columns / rows)));
}

export const samePixels = (a, b) => a?.length === b.length && a.every((code, i) => code === b[i]);

// A bar of all colours with numbers under it; `colours()` gives the table, and the first and last code.
export function colourBar(host, height, colours) {
  const bar = surface(height, (c, width, tall) => {
    const found = colours();
    if (!found) return;
    const [table, first, last] = found;
    for (let i = 0; i < width; i++) {
      c.fillStyle = `rgb(${entry(table, first + Math.round(((last - first) * i) / (width - 1)))})`;
      c.fillRect(i, 0, 1.5, tall);
    }
  });
  bar.canvas.removeAttribute("role");
  bar.canvas.setAttribute("aria-hidden", "true");
  const marks = h("div.marks", { "aria-hidden": "true" });
  host.append(h("div.bar", {}, bar.canvas, marks));
  return {
    redraw: bar.redraw,
    mark(texts) {
      if (marks.children.length !== texts.length) marks.replaceChildren(...texts.map(() => h("span")));
      texts.forEach((text, i) => say(marks.children[i], text));
    },
  };
}

// The numbers under a bar of signed colours.
export const signed = (limit, digits) => [-limit, 0, limit].map((v) => number(v, digits));

// Images of one pixel a number, magnified by the canvas that is seen.
import { surface } from "./canvas.js";
import { entry } from "./colour.js";
import { h, say } from "./dom.js";
import { number } from "./text.js";

// An image that is never seen itself; `paint(pixels, table)` fills it (without a table: greys), `set(place, grey)` changes
// one pixel, counted row by row, and `magnified(c, width, height)` shows it: each pixel with the same share of the screen.
export function pixelImage() {
  const image = h("canvas");
  const larger = h("canvas");
  return {
    image,
    set(place, grey) {
      const c = image.getContext("2d");
      c.fillStyle = `rgb(${grey} ${grey} ${grey})`;
      c.fillRect(place % image.width, Math.floor(place / image.width), 1, 1);
    },
    magnified(c, width, height) {
      const scale = c.canvas.width / image.width; // pixels of the screen for each of the image
      const whole = Number.isInteger(scale);
      const times = Math.ceil(scale);
      c.imageSmoothingEnabled = !whole;
      c.imageSmoothingQuality = scale < 1 ? "high" : "low";
      if (whole || scale < 1) return c.drawImage(image, 0, 0, width, height);
      // without blur up to whole pixels, then down: only what falls between two pixels of the screen is a blend
      [larger.width, larger.height] = [times * image.width, times * image.height];
      const out = larger.getContext("2d");
      out.imageSmoothingEnabled = false;
      out.drawImage(image, 0, 0, larger.width, larger.height);
      return c.drawImage(larger, 0, 0, width, height);
    },
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

// A place as wide as whole pixels of the screen for each pixel of the image: where some were one wider than others, they
// would make bands that are not in the matrix.
function snap(host, canvas, shape) {
  const style = getComputedStyle(host.parentNode);
  const room = host.parentNode.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  const ratio = window.devicePixelRatio || 1;
  const wide = wholePixels(room * ratio, shape[1]);
  shaped(canvas, shape);
  host.style.maxWidth = wide ? `${wide / ratio}px` : "";
  if (!wide) return;
  const rows = Math.max(1, Math.round(wide / Number(canvas.style.aspectRatio) / shape[0])); // pixels for each row
  canvas.style.aspectRatio = String(wide / (rows * shape[0]));
}

// The largest multiple of an image's columns that fits; 0 if not even one pixel a column does.
export const wholePixels = (room, columns) => columns * Math.floor(room / columns);

// CSS pixels across for an image: one, one and a half, two … pixels of the screen for each of its own, the most that fit.
// 0 where that leaves much of the room empty, or where not even one does.
export function halfPixels(room, columns, ratio = 1, least = 0.85) {
  const wide = (columns * Math.floor((2 * room * ratio) / columns)) / 2 / ratio;
  return wide * ratio >= columns && wide >= least * room ? wide : 0;
}

const samePixels = (a, b) => a?.length === b.length && a.every((code, i) => code === b[i]);

// A bar of all colours with numbers under it; `colours()` gives the table, and the first and last code.
function colourBar(host, height, colours) {
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

// A painter of an image with a bar of its colours below.
//
// Of a panel, `source` gives {pixels, colours}; `over(c, panel, width, height)` draws what stands on the image, and may
// set how it is magnified before `image()` is called; `bar` gives the colours of the bar, where they are not those of
// `source`, `codes(panel)` its first and last code, `marks` the numbers under it, `label` what is said to those who do
// not see. Where `crisp(panel)`, the image is as wide as whole pixels of the screen allow.
export function imagePicture(host, view, { source, bar: barred = source, over, codes, marks, label, height, crisp }) {
  let panel = null;
  let painted = null; // the pixels that are on the image
  const { image, paint } = pixelImage();
  const { canvas, redraw } = surface(0, (c, width, tall) => {
    if (panel) over(c, panel, width, tall, () => c.drawImage(image, 0, 0, width, tall));
  });
  host.append(canvas);
  const bar = colourBar(host, height, () => panel && [view.table(barred(panel).colours), ...codes(panel)]);
  function both() {
    if (panel && crisp?.(panel)) snap(host, canvas, source(panel).pixels.shape);
    redraw();
    bar.redraw();
  }
  new ResizeObserver(() => panel && crisp?.(panel) && both()).observe(host.parentNode);
  function repaint() {
    const { pixels, colours } = source(panel);
    painted = pixels;
    paint(pixels, view.table(colours));
    shaped(canvas, pixels.shape);
  }
  return {
    canvas,
    image,
    get panel() {
      return panel;
    },
    show(next) {
      panel = next;
      const { pixels } = source(panel);
      if (!samePixels(painted, pixels) || image.width !== pixels.shape[1]) repaint();
      bar.mark(marks(panel));
      canvas.setAttribute("aria-label", label(panel));
      both();
    },
    redraw() {
      if (panel) repaint();
      both();
    },
    mark: redraw,
  };
}

// The numbers under a bar of signed colours.
export const signed = (limit, digits) => [-limit, 0, limit].map((v) => number(v, digits));

import { h, say } from "../layer/dom.js";
import { gptqSteers } from "../layer/steps.js";
import { surface } from "../layer/surface.js";
import { number } from "../layer/text.js";

// A matrix of the run, with the current column and row marked.
export function CursorImage(host, view) {
  let figure;
  let panel;
  const image = h("canvas"); // one pixel a pixel; the visible canvas magnifies it
  const { canvas, redraw } = surface(0, (c, width, height) => {
    if (!figure) return;
    const ink = view.ink();
    const { window: part } = figure.image;
    c.imageSmoothingEnabled = false;
    c.drawImage(image, 0, 0, width, height);
    const [across, down] = [width / part.columns, height / part.rows];
    const line = (x1, y1, x2, y2) => {
      for (const [colour, thick] of [[ink.paper, 4], [ink.ink, 1.5]]) {
        c.strokeStyle = colour;
        c.lineWidth = thick;
        c.beginPath();
        c.moveTo(x1, y1);
        c.lineTo(x2, y2);
        c.stroke();
      }
    };
    if (figure.waits < part.columns) {
      c.setLineDash([4, 4]);
      line(figure.waits * across, 0, figure.waits * across, height);
      c.setLineDash([]);
    }
    const x = (figure.column + 0.5) * across;
    const y = (figure.row + 0.5) * down;
    if (figure.row >= 0) line(0, y, width, y);
    if (figure.column >= 0) line(x, 0, x, height);
  });
  const bar = surface(12, (c, width, height) => {
    if (!figure) return;
    const table = view.table(figure.image.colours);
    for (let i = 0; i < width; i++) {
      const code = Math.round((254 * i) / (width - 1));
      c.fillStyle = `rgb(${table[3 * code]},${table[3 * code + 1]},${table[3 * code + 2]})`;
      c.fillRect(i, 0, 1.5, height);
    }
  });
  bar.canvas.removeAttribute("role");
  bar.canvas.setAttribute("aria-hidden", "true");
  const marks = h("div.marks", { "aria-hidden": "true" });
  host.append(canvas, h("div.bar", {}, bar.canvas, marks));

  let painted; // which picture, and in which colours
  function paint() {
    const { pixels, colours } = figure.image;
    const table = view.table(colours);
    const [rows, columns] = pixels.shape;
    painted = pixels;
    if (image.width !== columns || image.height !== rows) [image.width, image.height] = [columns, rows];
    const data = image.getContext("2d").createImageData(columns, rows);
    const out = new Uint32Array(data.data.buffer);
    const colour = new Uint32Array(256);
    for (let i = 0; i < 256; i++) {
      colour[i] = (255 << 24) | (table[3 * i + 2] << 16) | (table[3 * i + 1] << 8) | table[3 * i];
    }
    for (let i = 0; i < pixels.length; i++) out[i] = colour[pixels[i]];
    image.getContext("2d").putImageData(data, 0, 0);
    canvas.style.height = "";
    canvas.style.aspectRatio = String(Math.min(2.5, Math.max(0.75, columns / rows)));
  }

  gptqSteers(canvas, view, () => ({
    column: panel.options.column,
    row: figure.across === "weight" ? figure.row : -1,
    n: figure.image.window.columns,
  }));
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const { window: part } = figure.image;
    const column = Math.floor(((event.clientX - box.left) / box.width) * part.columns);
    const row = Math.floor(((event.clientY - box.top) / box.height) * part.rows);
    if (figure.across === "weight") view.send({ event: "step", column, row });
    else view.send({ event: "step", column: figure.across === "column" ? column : row });
  });
  return {
    show(next) {
      panel = next;
      figure = panel.figure;
      const { pixels, limit } = figure.image;
      if (pixels.length !== painted?.length || !pixels.every((code, i) => code === painted[i])) paint();
      const text = [-limit, 0, limit].map((v) => number(v, 2));
      if (marks.children.length !== 3) marks.replaceChildren(...text.map(() => h("span")));
      text.forEach((t, i) => say(marks.children[i], t));
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label} Arrow keys choose a column.`);
      redraw();
      bar.redraw();
    },
    redraw() {
      if (figure) paint();
      redraw();
      bar.redraw();
    },
  };
}

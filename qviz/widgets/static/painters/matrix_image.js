import { h, say } from "../layer/dom.js";
import { surface } from "../layer/surface.js";
import { number } from "../layer/text.js";

export function MatrixImage(host, view) {
  let panel;
  const image = h("canvas"); // one pixel a pixel; the visible canvas magnifies it
  let table;
  const { canvas, redraw } = surface(0, (c, width, height) => {
    if (!panel) return;
    const { window: part, pixels } = panel.figure;
    const [rows, columns] = pixels.shape;
    const step = steps();
    const scale = width / columns;
    c.imageSmoothingEnabled = scale * (window.devicePixelRatio || 1) < 1.5;
    c.imageSmoothingQuality = "high";
    c.drawImage(image, 0, 0, width, height);
    const block = panel.options?.block ?? 1;
    if (block > 1 && width / (part.columns / block) >= 24) {
      c.strokeStyle = view.ink().ink;
      c.globalAlpha = 0.55;
      c.lineWidth = 1;
      c.beginPath();
      for (let column = block - (part.left % block); column < part.columns; column += block) {
        const at = Math.round((column / part.columns) * width) + 0.5;
        c.moveTo(at, 0);
        c.lineTo(at, height);
      }
      c.stroke();
      c.globalAlpha = 1;
    }
    const at = view.pointer;
    const [i, j] = at
      ? [Math.floor((at.row - part.top) / step[0]), Math.floor((at.column - part.left) / step[1])]
      : [-1, -1];
    if (i >= 0 && j >= 0 && i < rows && j < columns) {
      const [x, y] = [((j + 0.5) / columns) * width, ((i + 0.5) / rows) * height];
      const half = Math.max(5, scale / 2 + 2);
      for (const [colour, line] of [
        [view.ink().paper, 4],
        [view.ink().ink, 1.5],
      ]) {
        c.strokeStyle = colour;
        c.lineWidth = line;
        c.beginPath();
        for (const [dx, dy] of [
          [1, 0],
          [-1, 0],
          [0, 1],
          [0, -1],
        ]) {
          c.moveTo(x + dx * half, y + dy * half);
          c.lineTo(x + dx * (half + 9), y + dy * (half + 9));
        }
        c.rect(x - half, y - half, 2 * half, 2 * half);
        c.stroke();
      }
    }
  });
  canvas.tabIndex = 0;
  canvas.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take the arrow keys
  const bar = surface(14, (c, width, height) => {
    if (!table) return;
    const [first, last] = panel.figure.colours === "diverging" ? [0, 254] : [1, 254];
    for (let i = 0; i < width; i++) {
      const code = first + Math.round(((last - first) * i) / (width - 1));
      c.fillStyle = `rgb(${table[3 * code]},${table[3 * code + 1]},${table[3 * code + 2]})`;
      c.fillRect(i, 0, 1.5, height);
    }
  });
  bar.canvas.removeAttribute("role");
  bar.canvas.setAttribute("aria-hidden", "true");
  const marks = h("div.marks", { "aria-hidden": "true" });
  host.append(canvas, h("div.bar", {}, bar.canvas, marks));

  function paint() {
    const { pixels, colours } = panel.figure;
    const [rows, columns] = pixels.shape;
    table = view.table(colours);
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
    canvas.style.aspectRatio = aspect(rows, columns);
  }

  // A tensor keeps its shape, unless that would leave only a sliver of it.
  function aspect(rows, columns) {
    return String(Math.min(2.5, Math.max(0.75, columns / rows)));
  }

  // Rows and columns of weights under a pixel (see matrix.py).
  function steps() {
    const { window: part, pixels } = panel.figure;
    return [Math.ceil(part.rows / pixels.shape[0]), Math.ceil(part.columns / pixels.shape[1])];
  }

  // The pointer is kept as a weight, not as a pixel: it stays where it is when the picture zooms.
  function clamp(row, column) {
    const { window: part } = panel.figure;
    const within = (v, first, n) => Math.min(first + n - 1, Math.max(first, Math.floor(v)));
    return { row: within(row, part.top, part.rows), column: within(column, part.left, part.columns) };
  }
  function place(event) {
    const box = canvas.getBoundingClientRect();
    const { window: part, pixels } = panel.figure;
    const [down, across] = steps();
    const [y, x] = [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width];
    return clamp(
      part.top + Math.floor(y * pixels.shape[0]) * down,
      part.left + Math.floor(x * pixels.shape[1]) * across,
    );
  }
  canvas.addEventListener("pointermove", (event) => view.point(place(event)));
  canvas.addEventListener("click", (event) => view.zoom(place(event), !event.shiftKey));
  canvas.addEventListener("keydown", (event) => {
    const { window: part } = panel.figure;
    const at = view.pointer ?? clamp(part.top + part.rows / 2, part.left + part.columns / 2);
    const [down, across] = steps().map((n) => n * (event.shiftKey ? 8 : 1));
    const moves = {
      ArrowUp: [-down, 0],
      ArrowDown: [down, 0],
      ArrowLeft: [0, -across],
      ArrowRight: [0, across],
    };
    if (moves[event.key]) view.point(clamp(at.row + moves[event.key][0], at.column + moves[event.key][1]));
    else if (event.key === "Enter" || event.key === "+") view.zoom(at, true);
    else if (event.key === "Escape" || event.key === "-") view.zoom(at, false);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  return {
    show(next) {
      const last = panel?.figure.pixels;
      panel = next;
      const same =
        last?.length === next.figure.pixels.length && last.every((code, i) => code === next.figure.pixels[i]);
      if (!same || image.width !== next.figure.pixels.shape[1]) paint();
      const { limit, colours } = panel.figure;
      const at = colours === "diverging" ? [-limit, 0, limit] : [limit / 1024, limit / 32, limit];
      const text =
        colours === "diverging" ? at.map((v) => number(v)) : at.map((v, i) => (i ? "" : "≤ ") + number(v, 2));
      if (marks.children.length !== text.length) marks.replaceChildren(...text.map(() => h("span")));
      text.forEach((t, i) => say(marks.children[i], t));
      canvas.setAttribute(
        "aria-label",
        `${panel.title}: ${panel.label} as an image. Arrow keys move a pointer, Enter and Escape zoom.`,
      );
      redraw();
      bar.redraw();
    },
    redraw() {
      if (panel) paint();
      redraw();
      bar.redraw();
    },
    mark: redraw,
  };
}

// Weights as an image. A pointer stands on one weight: in all images of a view on the same one.
import { line, sharp, surface } from "../layer/canvas.js";
import { keyed, pointed, within } from "../layer/keys.js";
import { sentences } from "../layer/picture.js";
import { colourBar, pixelImage, samePixels, shaped, signed } from "../layer/pixels.js";
import { number } from "../layer/text.js";

// Rows and columns of weights under a pixel (see matrix.py).
const steps = ({ window: part, pixels }) => [
  Math.ceil(part.rows / pixels.shape[0]),
  Math.ceil(part.columns / pixels.shape[1]),
];

// Lines between blocks, where there is room for them.
function blocks(c, part, block, width, height, ink) {
  if (block <= 1 || width / (part.columns / block) < 24) return;
  c.strokeStyle = ink.ink;
  c.globalAlpha = 0.55;
  c.lineWidth = 1;
  for (let column = block - (part.left % block); column < part.columns; column += block) {
    const at = sharp((column / part.columns) * width);
    line(c, at, 0, at, height);
  }
  c.globalAlpha = 1;
}

// Cross hairs around a pixel.
function hairs(c, x, y, half, ink) {
  for (const [colour, thick] of [
    [ink.paper, 4],
    [ink.ink, 1.5],
  ]) {
    c.strokeStyle = colour;
    c.lineWidth = thick;
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

export function MatrixImage(host, view) {
  let panel;
  const { image, paint } = pixelImage();
  const { canvas, redraw } = surface(0, (c, width, height) => {
    if (!panel) return;
    const { window: part, pixels } = panel.figure;
    const [rows, columns] = pixels.shape;
    const step = steps(panel.figure);
    const scale = width / columns;
    c.imageSmoothingEnabled = scale * (window.devicePixelRatio || 1) < 1.5;
    c.imageSmoothingQuality = "high";
    c.drawImage(image, 0, 0, width, height);
    blocks(c, part, panel.options?.block ?? 1, width, height, view.ink());
    const at = view.pointer;
    if (!at) return;
    const [i, j] = [Math.floor((at.row - part.top) / step[0]), Math.floor((at.column - part.left) / step[1])];
    if (i < 0 || j < 0 || i >= rows || j >= columns) return;
    const [x, y] = [((j + 0.5) / columns) * width, ((i + 0.5) / rows) * height];
    hairs(c, x, y, Math.max(5, scale / 2 + 2), view.ink());
  });
  host.append(canvas);
  const diverging = () => panel.figure.colours === "diverging";
  const bar = colourBar(
    host,
    14,
    () => panel && [view.table(panel.figure.colours), ...(diverging() ? [0, 254] : [1, 254])],
  );

  function repaint() {
    const { pixels, colours } = panel.figure;
    paint(pixels, view.table(colours));
    shaped(canvas, pixels.shape);
  }

  // The pointer is kept as a weight, not as a pixel: it stays where it is when the picture zooms.
  function clamp(row, column) {
    const { window: part } = panel.figure;
    return {
      row: within(Math.floor(row), part.top + part.rows - 1, part.top),
      column: within(Math.floor(column), part.left + part.columns - 1, part.left),
    };
  }
  function place(event) {
    const { x, y, width, height } = pointed(canvas, event);
    const { window: part, pixels } = panel.figure;
    const [down, across] = steps(panel.figure);
    return clamp(
      part.top + Math.floor((y / height) * pixels.shape[0]) * down,
      part.left + Math.floor((x / width) * pixels.shape[1]) * across,
    );
  }
  canvas.addEventListener("pointermove", (event) => view.point(place(event)));
  canvas.addEventListener("click", (event) => view.zoom(place(event), !event.shiftKey));
  keyed(canvas, (event) => {
    const { window: part } = panel.figure;
    const at = view.pointer ?? clamp(part.top + part.rows / 2, part.left + part.columns / 2);
    const [down, across] = steps(panel.figure).map((n) => n * (event.shiftKey ? 8 : 1));
    const move = { ArrowUp: [-down, 0], ArrowDown: [down, 0], ArrowLeft: [0, -across], ArrowRight: [0, across] }[
      event.key
    ];
    if (move) view.point(clamp(at.row + move[0], at.column + move[1]));
    else if (event.key === "Enter" || event.key === "+") view.zoom(at, true);
    else if (event.key === "Escape" || event.key === "-") view.zoom(at, false);
    else return false;
    return true;
  });

  return {
    show(next) {
      const last = panel?.figure.pixels;
      panel = next;
      const { pixels, limit } = panel.figure;
      if (!samePixels(last, pixels) || image.width !== pixels.shape[1]) repaint();
      bar.mark(
        diverging() ? signed(limit) : [limit / 1024, limit / 32, limit].map((v, i) => (i ? "" : "≤ ") + number(v, 2)),
      );
      const what = `${panel.title}: ${panel.label} as an image`;
      canvas.setAttribute("aria-label", sentences(what, "Arrow keys move a pointer, Enter and Escape zoom"));
      redraw();
      bar.redraw();
    },
    redraw() {
      if (panel) repaint();
      redraw();
      bar.redraw();
    },
    mark: redraw,
  };
}

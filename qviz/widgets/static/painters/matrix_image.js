// Weights as an image. A pointer stands on one weight: in all images of a view on the same one.
import { line, sharp } from "../layer/canvas.js";
import { keyed, pointed, within } from "../layer/keys.js";
import { sentences } from "../layer/picture.js";
import { imagePicture, signed } from "../layer/pixels.js";
import { number } from "../layer/text.js";
import { wiped } from "../layer/wipe.js";

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

// The image, the lines between its blocks, and cross hairs on the weight that is pointed at.
function over(c, { figure, options }, width, height, pointer, ink, image) {
  const { window: part, pixels } = figure;
  const [rows, columns] = pixels.shape;
  const scale = width / columns;
  c.imageSmoothingEnabled = scale * (window.devicePixelRatio || 1) < 1.5;
  c.imageSmoothingQuality = "high";
  image();
  blocks(c, part, options?.block ?? 1, width, height, ink);
  if (!pointer) return;
  const [down, across] = steps(figure);
  const i = Math.floor((pointer.row - part.top) / down);
  const j = Math.floor((pointer.column - part.left) / across);
  if (i < 0 || j < 0 || i >= rows || j >= columns) return;
  hairs(c, ((j + 0.5) / columns) * width, ((i + 0.5) / rows) * height, Math.max(5, scale / 2 + 2), ink);
}

// The pointer is kept as a weight, not as a pixel: it stays where it is when the picture zooms.
function weightAt({ window: part }, row, column) {
  return {
    row: within(Math.floor(row), part.top + part.rows - 1, part.top),
    column: within(Math.floor(column), part.left + part.columns - 1, part.left),
  };
}

function marks({ figure: { colours, limit } }) {
  if (colours === "diverging") return signed(limit);
  return [limit / 1024, limit / 32, limit].map((v, i) => (i ? "" : "≤ ") + number(v, 2));
}

export function MatrixImage(host, view) {
  const it = imagePicture(host, view, {
    height: 14,
    source: (panel) => panel.figure,
    codes: (panel) => (panel.figure.colours === "diverging" ? [0, 254] : [1, 254]),
    marks,
    crisp: ({ options }) => Boolean(options?.crisp),
    label: ({ title, label }) =>
      sentences(`${title}: ${label} as an image`, "Arrow keys move a pointer, Enter and Escape zoom"),
    over(c, panel, width, height, image) {
      over(c, panel, width, height, view.pointer, view.ink(), image);
      wipe(c, width, height, view.ink());
    },
  });
  it.host = host;
  const wipe = wiped(it, view, {
    keys: false, // they move the pointer
    can: () => Boolean(it.panel && view.painter(it.panel.options?.wipe)),
    before(c, width, height) {
      const other = view.painter(it.panel.options.wipe);
      over(c, other.panel, width, height, view.pointer, view.ink(), () =>
        c.drawImage(other.image, 0, 0, width, height),
      );
    },
  });
  const place = (event) => {
    const { x, y, width, height } = pointed(it.canvas, event);
    const { window: part, pixels } = it.panel.figure;
    const [down, across] = steps(it.panel.figure);
    const row = part.top + Math.floor((y / height) * pixels.shape[0]) * down;
    return weightAt(it.panel.figure, row, part.left + Math.floor((x / width) * pixels.shape[1]) * across);
  };
  it.canvas.addEventListener("pointermove", (event) => view.held || view.point(place(event)));
  it.canvas.addEventListener("click", (event) => view.zoom(place(event), !event.shiftKey));
  keyed(it.canvas, (event) => {
    const { figure } = it.panel;
    const { window: part } = figure;
    const at = view.pointer ?? weightAt(figure, part.top + part.rows / 2, part.left + part.columns / 2);
    const [down, across] = steps(figure).map((n) => n * (event.shiftKey ? 8 : 1));
    const moves = { ArrowUp: [-down, 0], ArrowDown: [down, 0], ArrowLeft: [0, -across], ArrowRight: [0, across] };
    const move = moves[event.key];
    if (move) view.point(weightAt(figure, at.row + move[0], at.column + move[1]));
    else if (event.key === "Enter" || event.key === "+") view.zoom(at, true);
    else if (event.key === "Escape" || event.key === "-") view.zoom(at, false);
    else return false;
    return true;
  });
  return it;
}

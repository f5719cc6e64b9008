// Weights as an image. A pointer stands on one weight: in all images of a view on the same one.
import { keyed, pointed } from "../layer/keys.js";
import { sentences } from "../layer/picture.js";
import { imagePicture } from "../layer/pixels.js";
import { blocks, codes, hairs, marks, steps, weightAt } from "../layer/weights.js";

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

export function MatrixImage(host, view) {
  const it = imagePicture(host, view, {
    height: 14,
    source: (panel) => panel.figure,
    codes: (panel) => codes(panel.figure),
    marks: (panel) => marks(panel.figure),
    crisp: ({ options }) => Boolean(options?.crisp),
    label: ({ title, label }) =>
      sentences(`${title}: ${label} as an image`, "Arrow keys move a pointer, Enter and Escape zoom"),
    over(c, panel, width, height, image) {
      over(c, panel, width, height, view.pointer, view.ink(), image);
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

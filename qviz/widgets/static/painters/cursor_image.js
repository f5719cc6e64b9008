// A matrix of the run, with the current column and row marked.
import { dashed, line } from "../layer/canvas.js";
import { pointed } from "../layer/keys.js";
import { sentences } from "../layer/picture.js";
import { imagePicture, signed } from "../layer/pixels.js";
import { stepped } from "../layer/steps.js";

// The lines of the current row and column, and a dashed one where the current batch ends.
function cursor(c, figure, width, height, ink) {
  const { window: part } = figure.image;
  const [across, down] = [width / part.columns, height / part.rows];
  const cross = (...ends) => {
    for (const [colour, thick] of [
      [ink.paper, 4],
      [ink.ink, 1.5],
    ]) {
      c.strokeStyle = colour;
      c.lineWidth = thick;
      line(c, ...ends);
    }
  };
  if (figure.waits < part.columns) {
    dashed(c, [4, 4], () => cross(figure.waits * across, 0, figure.waits * across, height));
  }
  const [x, y] = [(figure.column + 0.5) * across, (figure.row + 0.5) * down];
  if (figure.row >= 0) cross(0, y, width, y);
  if (figure.column >= 0) cross(x, 0, x, height);
}

export function CursorImage(host, view) {
  const it = imagePicture(host, view, {
    height: 12,
    source: (panel) => panel.figure.image,
    codes: () => [0, 254],
    marks: (panel) => signed(panel.figure.image.limit, 2),
    label: (panel) => sentences(panel.title, panel.label, "Arrow keys choose a column"),
    over(c, panel, width, height, image) {
      c.imageSmoothingEnabled = false;
      image();
      cursor(c, panel.figure, width, height, view.ink());
    },
  });
  stepped(it.canvas, view, () => ({
    column: it.panel.options.column,
    row: it.panel.figure.across === "weight" ? it.panel.figure.row : -1,
    n: it.panel.figure.image.window.columns,
  }));
  it.canvas.addEventListener("click", (event) => {
    const { x, y, width, height } = pointed(it.canvas, event);
    const { across, image } = it.panel.figure;
    const row = Math.floor((y / height) * image.window.rows);
    const column = Math.floor((x / width) * image.window.columns);
    if (across === "weight") view.send({ event: "step", column, row });
    else view.send({ event: "step", column: across === "column" ? column : row });
  });
  return it;
}

// A matrix of the run, with the current column and row marked.
import { dashed, line, surface } from "../layer/canvas.js";
import { pointed } from "../layer/keys.js";
import { sentences } from "../layer/picture.js";
import { colourBar, pixelImage, samePixels, shaped, signed } from "../layer/pixels.js";
import { stepped } from "../layer/steps.js";

export function CursorImage(host, view) {
  let figure;
  let panel;
  let painted; // which picture is on the image
  const { image, paint } = pixelImage();
  const { canvas, redraw } = surface(0, (c, width, height) => {
    if (!figure) return;
    const ink = view.ink();
    const { window: part } = figure.image;
    c.imageSmoothingEnabled = false;
    c.drawImage(image, 0, 0, width, height);
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
    if (figure.waits < part.columns)
      dashed(c, [4, 4], () => cross(figure.waits * across, 0, figure.waits * across, height));
    const x = (figure.column + 0.5) * across;
    const y = (figure.row + 0.5) * down;
    if (figure.row >= 0) cross(0, y, width, y);
    if (figure.column >= 0) cross(x, 0, x, height);
  });
  host.append(canvas);
  const bar = colourBar(host, 12, () => figure && [view.table(figure.image.colours), 0, 254]);

  function repaint() {
    const { pixels, colours } = figure.image;
    painted = pixels;
    paint(pixels, view.table(colours));
    shaped(canvas, pixels.shape);
  }
  stepped(canvas, view, () => ({
    column: panel.options.column,
    row: figure.across === "weight" ? figure.row : -1,
    n: figure.image.window.columns,
  }));
  canvas.addEventListener("click", (event) => {
    const { x, y, width, height } = pointed(canvas, event);
    const { window: part } = figure.image;
    const [row, column] = [Math.floor((y / height) * part.rows), Math.floor((x / width) * part.columns)];
    if (figure.across === "weight") view.send({ event: "step", column, row });
    else view.send({ event: "step", column: figure.across === "column" ? column : row });
  });
  return {
    show(next) {
      panel = next;
      figure = panel.figure;
      if (!samePixels(painted, figure.image.pixels)) repaint();
      bar.mark(signed(figure.image.limit, 2));
      canvas.setAttribute("aria-label", sentences(panel.title, panel.label, "Arrow keys choose a column"));
      redraw();
      bar.redraw();
    },
    redraw() {
      if (figure) repaint();
      redraw();
      bar.redraw();
    },
  };
}

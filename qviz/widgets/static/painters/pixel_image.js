// One pixel a number, magnified without blur; where a panel brings what was before, a line wipes between the two.
import { surface } from "../layer/canvas.js";
import { sentences } from "../layer/picture.js";
import { pixelImage, shaped } from "../layer/pixels.js";
import { wiped } from "../layer/wipe.js";

export function PixelImage(host, view) {
  let panel;
  const [after, before] = [pixelImage(), pixelImage()];
  const sharply = (c, { image }, width, height) => {
    c.imageSmoothingEnabled = false;
    c.drawImage(image, 0, 0, width, height);
  };
  const { canvas, redraw } = surface(0, (c, width, height) => {
    if (!panel) return;
    sharply(c, after, width, height);
    over(c, width, height, view.ink());
  });
  host.append(canvas);
  function repaint() {
    for (const [{ paint }, figure] of [
      [after, panel.figure],
      [before, panel.options?.before],
    ]) {
      if (figure) paint(figure.pixels, figure.colours === "grey" ? null : view.table(figure.colours));
    }
    shaped(canvas, panel.figure.pixels.shape, 0, Infinity);
    redraw();
  }
  const it = {
    host,
    canvas,
    redraw,
    show(next) {
      panel = next;
      const keys = panel.options?.before && "Left and right arrow keys wipe between before and after";
      canvas.setAttribute("aria-label", sentences(panel.title, panel.label, keys));
      repaint();
    },
  };
  const over = wiped(it, view, {
    before: (c, width, height) => sharply(c, before, width, height),
    can: () => Boolean(panel?.options?.before),
  });
  return { canvas, show: (next) => it.show(next), redraw: () => panel && repaint() };
}

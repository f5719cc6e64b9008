// One pixel a number, magnified without blur.
import { sentences } from "../layer/picture.js";
import { pixelImage, shaped } from "../layer/pixels.js";
import { surface } from "../layer/canvas.js";

export function PixelImage(host, view) {
  let panel;
  const { image, paint } = pixelImage();
  const { canvas, redraw } = surface(0, (c, width, height) => {
    if (!panel) return;
    c.imageSmoothingEnabled = false;
    c.drawImage(image, 0, 0, width, height);
  });
  host.append(canvas);
  function repaint() {
    const { pixels, colours } = panel.figure;
    paint(pixels, colours === "grey" ? null : view.table(colours));
    shaped(canvas, pixels.shape, 0, Infinity);
    redraw();
  }
  return {
    show(next) {
      panel = next;
      canvas.setAttribute("aria-label", sentences(panel.title, panel.label));
      repaint();
    },
    redraw: () => panel && repaint(),
  };
}

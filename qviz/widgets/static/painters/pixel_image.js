import { h } from "../layer/dom.js";
import { surface } from "../layer/surface.js";

// One pixel a number, magnified without blur.
export function PixelImage(host, view) {
  let panel;
  const image = h("canvas");
  const { canvas, redraw } = surface(0, (c, width, height) => {
    if (!panel) return;
    c.imageSmoothingEnabled = false;
    c.drawImage(image, 0, 0, width, height);
  });
  host.append(canvas);
  function paint() {
    const { pixels, colours } = panel.figure;
    const [rows, columns] = pixels.shape;
    const table = colours === "grey" ? null : view.table(colours);
    [image.width, image.height] = [columns, rows];
    const data = image.getContext("2d").createImageData(columns, rows);
    const out = new Uint32Array(data.data.buffer);
    for (let i = 0; i < pixels.length; i++) {
      const v = pixels[i];
      const [r, g, b] = table ? [table[3 * v], table[3 * v + 1], table[3 * v + 2]] : [v, v, v];
      out[i] = (255 << 24) | (b << 16) | (g << 8) | r;
    }
    image.getContext("2d").putImageData(data, 0, 0);
    canvas.style.height = "";
    canvas.style.aspectRatio = String(columns / rows);
  }
  return {
    show(next) {
      panel = next;
      paint();
      canvas.setAttribute("aria-label", `${panel.title}: ${panel.label}`);
      redraw();
    },
    redraw() {
      if (panel) paint();
      redraw();
    },
  };
}

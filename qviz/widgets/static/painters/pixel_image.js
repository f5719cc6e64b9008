// One pixel a number, magnified; where a panel brings what was before, a line wipes between the two, and where it says so a
// hand paints on it.
import { painted } from "../layer/brush.js";
import { framed, surface } from "../layer/canvas.js";
import { sentences } from "../layer/picture.js";
import { halfPixels, pixelImage, shaped } from "../layer/pixels.js";
import { wiped } from "../layer/wipe.js";

const WIPES = "Left and right arrow keys wipe between before and after";
const PAINTS = "Arrow keys move the brush, Space paints, Escape takes the last stroke back";

export function PixelImage(host, view) {
  let panel;
  const [after, before] = [pixelImage(), pixelImage()];
  const { canvas, redraw } = surface(0, (c, width, height) => {
    if (!panel) return;
    after.magnified(c, width, height);
    over(c, width, height, view.ink());
    marked(c, panel, width, height, view.ink());
    hand.over(c, width, height, view.ink());
  });
  host.append(canvas);
  function fitted() {
    const wide = halfPixels(host.clientWidth, panel.figure.pixels.shape[1], window.devicePixelRatio || 1);
    canvas.style.maxWidth = wide ? `${wide}px` : "";
  }
  function patched() {
    for (const [place, grey] of hand.unsaid) for (const image of [after, before]) image.set(place, grey);
    redraw();
  }
  function repaint() {
    for (const [{ paint }, figure] of [
      [after, panel.figure],
      [before, panel.options?.before],
    ]) {
      if (figure) paint(figure.pixels, figure.colours === "grey" ? null : view.table(figure.colours));
    }
    shaped(canvas, panel.figure.pixels.shape, 0, Infinity);
    fitted();
    patched();
  }
  const it = {
    host,
    canvas,
    redraw,
    repaint,
    named() {
      const keys = hand.on ? PAINTS : panel.options?.before && WIPES;
      canvas.setAttribute("aria-label", sentences(panel.title, panel.label, keys));
    },
    show(next) {
      panel = next;
      it.named();
      repaint();
    },
  };
  const over = wiped(it, view, {
    before: (c, width, height) => before.magnified(c, width, height),
    can: () => Boolean(panel?.options?.before),
    free: () => !hand.on,
  });
  const hand = painted(it, view, { panel: () => panel, touched: patched });
  new ResizeObserver(() => panel && fitted()).observe(host);
  return { canvas, show: (next) => it.show(next), redraw: () => panel && repaint() };
}

// The square whose levels are shown beside the picture.
function marked(c, { figure, options }, width, height, ink) {
  if (!options?.square) return;
  const [rows, columns] = figure.pixels.shape;
  const [x, y] = [width / columns, height / rows];
  const [top, left, down, across] = options.square;
  framed(c, [left * x, top * y, across * x, down * y], ink.changed, ink.card);
}

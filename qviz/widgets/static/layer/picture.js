// What every painter of a canvas is made of.
import { surface } from "./canvas.js";

// A painter of one canvas.
//
// `draw(c, figure, scene)` gets a context in CSS pixels whose font is set, the figure that Python sent, and of the scene
// its width, height, inks and panel. `hint` says which keys do what. `tall(figure)` is the height where it depends on
// the figure.
export function picture(host, view, { height = 0, draw, hint = "", tall }) {
  let panel = null;
  const { canvas, redraw } = surface(height, (c, width, high) => {
    if (!panel) return;
    const ink = view.ink();
    c.font = ink.font;
    draw(c, panel.figure, { width, height: high, ink, panel });
  });
  host.append(canvas);
  return {
    canvas,
    redraw,
    get figure() {
      return panel.figure;
    },
    get panel() {
      return panel;
    },
    show(next) {
      panel = next;
      if (tall) canvas.style.height = `${tall(panel.figure)}px`;
      canvas.setAttribute("aria-label", sentences(panel.title, panel.label, hint));
      redraw();
    },
  };
}

// Parts as sentences: each ends in one full stop.
export function sentences(...parts) {
  return parts
    .filter(Boolean)
    .map((text) => (/[.!?:]$/.test(text) ? text : `${text}.`))
    .join(" ");
}

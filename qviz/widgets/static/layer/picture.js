// What every painter of a canvas is made of.
import { surface } from "./canvas.js";
import { mover, still } from "./tween.js";

// A painter of one canvas.
//
// `draw(c, figure, scene)` gets a context in CSS pixels whose font is set, the figure that Python sent, and of the scene
// its width, height, inks, panel and grip (what the hand holds, see drag.js). `hint` says which keys do what, or is a function of
// the panel that does.
// `tall(figure)` is the height where it depends on the figure. With `moves` the picture moves from one figure to the
// next: true, a list of fields, or a function, see `mixer` in tween.js.
export function picture(host, view, { height = 0, draw, hint = "", tall, moves = null }) {
  let panel = null;
  let held = null; // figure -> figure as the hand holds it
  let grip = null;
  const { canvas, redraw } = surface(height, (c, width, high) => {
    if (!panel) return;
    const ink = view.ink();
    c.font = ink.font;
    draw(c, shown(), { width, height: high, ink, panel, grip });
  });
  const motion = mover(moves, redraw);
  const shown = () => (held ? held(panel.figure) : motion.shown);
  host.append(canvas);
  return {
    canvas,
    redraw,
    // The figure that Python sent last; on screen is another one while the picture moves, or is held.
    get figure() {
      return panel.figure;
    },
    get panel() {
      return panel;
    },
    get shown() {
      return shown();
    },
    // Show the figure as `change(figure)` has it, whatever Python sends meanwhile; null lets go, and the picture moves to
    // what Python sent.
    hold(change) {
      const before = shown();
      held = change;
      if (change) return redraw();
      motion.take(before);
      return motion.go(panel.figure, still());
    },
    // What the hand holds or may take, so that `draw` can mark it.
    grip(now) {
      grip = now;
      redraw();
    },
    show(next) {
      panel = next;
      if (tall) canvas.style.height = `${tall(panel.figure)}px`;
      canvas.setAttribute(
        "aria-label",
        sentences(panel.title, panel.label, typeof hint === "function" ? hint(panel) : hint),
      );
      motion.go(panel.figure, !moves || held || view.held || still() || host.closest("[hidden]"));
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

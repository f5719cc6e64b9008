// All of a matrix, and a frame on it that a hand moves: what is under it stands in the lens.
import { framed } from "../layer/canvas.js";
import { frameHand, walkedFrame } from "../layer/frame_hand.js";
import { keyed } from "../layer/keys.js";
import { sentences } from "../layer/picture.js";
import { imagePicture } from "../layer/pixels.js";
import { codes, hairs, marks, steps, weightAt } from "../layer/weights.js";

const HIGH = 292; // CSS pixels: as high as the lens beside it
const LEAST = 10; // of the frame's side on screen: smaller could not be seen

// The frame; where it is small it is drawn larger than it is, around the same middle.
function frame(c, whole, part, width, height, ink, held) {
  const [across, down] = [width / whole.columns, height / whole.rows];
  const [wide, high] = [Math.max(LEAST, part.columns * across), Math.max(LEAST, part.rows * down)];
  const x = Math.min(width - wide, Math.max(0, (part.left - whole.left + part.columns / 2) * across - wide / 2));
  const y = Math.min(height - high, Math.max(0, (part.top - whole.top + part.rows / 2) * down - high / 2));
  framed(c, [x, y, wide, high], ink.level, ink.paper, held ? 4 : 2.5, held ? 1.5 : 1.25);
}

export function MatrixOverview(host, view) {
  const it = imagePicture(host, view, {
    height: 14,
    source: (panel) => panel.figure.image,
    codes: (panel) => codes(panel.figure.image),
    marks: (panel) => marks(panel.figure.image),
    label: ({ title, label }) =>
      sentences(title, label, "Arrow keys move the frame, with Shift by its own size; plus and minus change its size"),
    over(c, { figure }, width, height, image) {
      const { window: whole, pixels } = figure.image;
      c.imageSmoothingEnabled = (width / pixels.shape[1]) * (window.devicePixelRatio || 1) < 1.5;
      c.imageSmoothingQuality = "high";
      image();
      const ink = view.ink();
      const at = view.pointer?.panel === "overview" && !hand.holds && view.pointer;
      if (at) hairs(c, (at.column / whole.columns) * width, (at.row / whole.rows) * height, 5, ink);
      frame(c, whole, hand.frame(), width, height, ink, hand.holds);
    },
  });
  const { canvas, show } = it;
  const now = () => ({ whole: it.panel.figure.image.window, frame: it.panel.figure.frame });
  const middle = (part) => ({
    row: part.top + Math.floor(part.rows / 2),
    column: part.left + Math.floor(part.columns / 2),
  });
  const order = (part) => ({ event: "look", ...middle(part) });
  const hand = frameHand(canvas, view, { now, redraw: () => it.mark(), order });
  it.show = (panel) => {
    const [rows, columns] = panel.figure.image.pixels.shape;
    host.style.maxWidth = `${Math.round(HIGH * Math.min(2.5, Math.max(0.75, columns / rows)))}px`;
    show(panel);
  };
  canvas.addEventListener("pointermove", (event) => {
    if (view.held) return;
    const { row, column } = hand.place(event);
    view.point({ ...weightAt(it.panel.figure.image, row, column), panel: "overview" });
  });
  canvas.addEventListener("pointerleave", () => {
    if (view.pointer?.panel === "overview") view.point(null);
  });
  keyed(canvas, (event) => {
    if (event.key === "Escape") return hand.back();
    const { whole } = now();
    const part = hand.frame();
    const to = walkedFrame(event, whole, part, steps(it.panel.figure.image));
    const zoom = { "+": true, "-": false }[event.key];
    if (!to && zoom === undefined) return false;
    const { row, column } = middle(part);
    const place = {
      x: (canvas.clientWidth * (column - whole.left)) / whole.columns,
      y: (canvas.clientHeight * (row - whole.top)) / whole.rows,
    };
    if (view.refuse(canvas, place)) return true;
    if (to) hand.move(to);
    else view.zoom({ row, column }, zoom);
    return true;
  });
  return it;
}

// The weights under the frame, one cell each; a line wipes between them and what they were before.
import { line, sharp } from "../layer/canvas.js";
import { keyed, pointed, within } from "../layer/keys.js";
import { sentences } from "../layer/picture.js";
import { imagePicture, pixelImage } from "../layer/pixels.js";
import { blocks, codes, hairs, marks, weightAt } from "../layer/weights.js";
import { wiped } from "../layer/wipe.js";

const WALK = "Arrow keys walk over the weights";
const WIPE = "Home and End wipe between before and after";
const ZOOM = "Plus and minus change how many weights there are";
const ROOM = 6; // CSS pixels of a cell from which on cells stand apart

// The weight that is pointed at stays at its place of the lens when the lens moves.
export function carried(pointer, from, to) {
  const { row, column } = pointer;
  return {
    ...pointer,
    row: within(row + to.top - from.top, to.top + to.rows - 1, to.top),
    column: within(column + to.left - from.left, to.left + to.columns - 1, to.left),
  };
}

// The columns of the lens that share a block with a column: [first, behind the last].
export function blockOf(part, block, column) {
  const first = column - (column % block);
  return [Math.max(first, part.left), Math.min(first + block, part.left + part.columns)];
}

function grid(c, part, width, height, ink) {
  const [across, down] = [width / part.columns, height / part.rows];
  if (Math.min(across, down) < ROOM) return;
  c.strokeStyle = ink.card;
  c.globalAlpha = 0.45;
  c.lineWidth = 1;
  for (let i = 1; i < part.columns; i++) line(c, sharp(i * across), 0, sharp(i * across), height);
  for (let i = 1; i < part.rows; i++) line(c, 0, sharp(i * down), width, sharp(i * down));
  c.globalAlpha = 1;
}

// The weight that is pointed at, and the block that it stands in.
function mark(c, { image: { window: part }, block }, at, width, height, ink) {
  const [across, down] = [width / part.columns, height / part.rows];
  const y = (at.row - part.top) * down;
  if (block > 1) {
    const [first, end] = blockOf(part, block, at.column);
    c.strokeStyle = ink.level;
    c.lineWidth = 2.5;
    c.strokeRect((first - part.left) * across, y, (end - first) * across, down);
  }
  const x = (at.column - part.left + 0.5) * across;
  hairs(c, x, y + down / 2, Math.max(5, Math.max(across, down) / 2 + 1), ink);
}

// Whoever points at a cell, with the pointer or with the keys, reads its weight.
function answering(it, view, wipe) {
  const { canvas } = it;
  const point = (row, column) => view.point({ ...weightAt(it.panel.figure.image, row, column), panel: "lens" });
  const place = (event) => {
    const { x, y, width, height } = pointed(canvas, event);
    const { window: part } = it.panel.figure.image;
    return [part.top + (y / height) * part.rows, part.left + (x / width) * part.columns];
  };
  for (const kind of ["pointermove", "pointerdown"]) {
    canvas.addEventListener(kind, (event) => view.held || point(...place(event)));
  }
  const here = () => {
    const { window: part } = it.panel.figure.image;
    if (view.pointer?.panel === "lens") return [view.pointer.row, view.pointer.column];
    return [part.top + Math.floor(part.rows / 2), part.left + Math.floor(part.columns / 2)];
  };
  canvas.addEventListener("focus", () => canvas.matches(":focus-visible") && point(...here()));
  keyed(canvas, (event) => {
    const far = event.shiftKey ? 8 : 1;
    const moves = { ArrowUp: [-far, 0], ArrowDown: [far, 0], ArrowLeft: [0, -far], ArrowRight: [0, far] };
    const move = moves[event.key];
    const share = { Home: 0, End: 1 }[event.key];
    const zoom = { "+": true, Enter: true, "-": false, Escape: false }[event.key];
    const [row, column] = here();
    if (move) point(row + move[0], column + move[1]);
    else if (share !== undefined) wipe.to(share);
    else if (zoom === undefined) return false;
    else if (!view.refuse(canvas)) view.zoom({ row, column }, zoom);
    return true;
  });
}

export function MatrixLens(host, view) {
  const old = pixelImage();
  let before = null; // the figure that is on `old`
  const cells = (c, image, { image: { window: part }, block }, width, height) => {
    c.imageSmoothingEnabled = false;
    image();
    grid(c, part, width, height, view.ink());
    blocks(c, part, block, width, height, view.ink());
  };
  const it = imagePicture(host, view, {
    height: 14,
    source: (panel) => panel.figure.image,
    bar: ({ figure }) => figure.before ?? figure.image,
    codes: ({ figure }) => codes(figure.before ?? figure.image),
    marks: ({ figure }) => marks(figure.before ?? figure.image),
    label: ({ title, label, figure }) => sentences(title, label, WALK, figure.before && WIPE, ZOOM),
    over(c, { figure }, width, height, image) {
      const ink = view.ink();
      cells(c, image, figure, width, height);
      wipe(c, width, height, ink);
      if (view.pointer?.panel === "lens") mark(c, figure, view.pointer, width, height, ink);
    },
  });
  const { show, redraw } = it;
  it.host = host;
  function paint() {
    const figure = it.panel?.figure.before;
    if (figure) old.paint(figure.pixels, view.table(figure.colours));
    before = figure;
  }
  it.show = (panel) => {
    const from = it.panel?.figure.image.window;
    if (from && view.pointer?.panel === "lens") {
      view.pointer = carried(view.pointer, from, panel.figure.image.window);
    }
    show(panel);
    if (before !== panel.figure.before) paint();
    it.mark();
  };
  it.redraw = () => {
    paint();
    redraw();
  };
  const wipe = wiped(it, view, {
    keys: false, // they walk over the weights
    start: 0.6, // at first both sides are seen, and so is the weight in the middle
    names: () => it.panel.options.names,
    can: () => Boolean(it.panel?.figure.before),
    before: (c, width, height) =>
      cells(c, () => c.drawImage(old.image, 0, 0, width, height), it.panel.figure, width, height),
  });
  answering(it, view, wipe);
  return it;
}

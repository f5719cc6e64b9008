// A frame on a picture that a hand moves in both directions, with the pointer or with the keys.
import { pointed, within } from "./keys.js";

// The frame with its upper left corner at (top, left), or as near to it as the whole of the matrix allows.
export function placed(whole, frame, top, left) {
  return {
    ...frame,
    top: within(Math.round(top), whole.top + whole.rows - frame.rows, whole.top),
    left: within(Math.round(left), whole.left + whole.columns - frame.columns, whole.left),
  };
}

// Where a key moves the frame: arrows by `step` [rows, columns], with Shift by the frame's own size, Home and End to the
// first and the last corner; undefined for any other key.
export function walkedFrame(event, whole, frame, step) {
  const [down, across] = event.shiftKey ? [frame.rows, frame.columns] : step;
  const by = { ArrowUp: [-down, 0], ArrowDown: [down, 0], ArrowLeft: [0, -across], ArrowRight: [0, across] }[event.key];
  if (by) return placed(whole, frame, frame.top + by[0], frame.left + by[1]);
  if (event.key === "Home") return placed(whole, frame, whole.top, whole.left);
  if (event.key === "End") return placed(whole, frame, whole.top + whole.rows, whole.left + whole.columns);
  return undefined;
}

const inside = ({ row, column }, { top, left, rows, columns }) =>
  row >= top && row < top + rows && column >= left && column < left + columns;

// Where a pointer is: x, y on the canvas; row and column, with fractions, of the matrix.
function placeOn(canvas, event, whole) {
  const { x, y, width, height } = pointed(canvas, event);
  return { x, y, row: whole.top + (y / height) * whole.rows, column: whole.left + (x / width) * whole.columns };
}

// What a press takes hold of: how far the frame's corner is from it. Beside the frame it is the frame's middle.
function taken(at, frame) {
  const { top, left, rows, columns } = frame;
  const by = inside(at, frame) ? [top - at.row, left - at.column] : [-rows / 2, -columns / 2];
  return { began: frame, moves: !inside(at, frame), down: by[0], across: by[1] };
}

// Let a frame be moved. `now()` gives {whole, frame} as Python sent them, `redraw()` draws the frame that `hand.frame()`
// says, `order(frame)` is the message to Python that moves it. A press beside the frame brings it there.
export function frameHand(canvas, view, { now, redraw, order }) {
  let held = null; // the frame as the hand has it, until Python has answered
  let grip = null; // {pointer, and what `taken` says}
  canvas.style.touchAction = "none"; // a finger on it moves the frame, not the page
  const frame = () => held ?? now().frame;
  const settle = () => {
    if (grip) return;
    held = null;
    redraw();
  };
  const place = (event) => placeOn(canvas, event, now().whole);
  const hand = {
    frame,
    place,
    get holds() {
      return grip !== null;
    },
    move(to) {
      held = to;
      redraw();
      view.order(order(to), settle);
    },
    back() {
      if (!grip) return false;
      hand.move(grip.began);
      release();
      return true;
    },
  };
  function follow(event) {
    const at = place(event);
    hand.move(placed(now().whole, frame(), at.row + grip.down, at.column + grip.across));
  }
  function release() {
    if (!grip) return;
    grip = null;
    view.held = false;
    canvas.style.cursor = "";
    // Python has the last word
    if (held) hand.move(held);
    else redraw();
  }
  canvas.addEventListener("pointerdown", (event) => {
    const at = place(event);
    if (event.button || view.refuse(canvas, at)) return;
    canvas.setPointerCapture(event.pointerId);
    grip = { pointer: event.pointerId, ...taken(at, frame()) };
    view.held = true;
    canvas.style.cursor = "grabbing";
    if (grip.moves) follow(event);
    else redraw();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (grip?.pointer === event.pointerId) follow(event);
    else if (!view.locked()) canvas.style.cursor = inside(place(event), frame()) ? "grab" : "pointer";
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) canvas.addEventListener(end, release);
  return hand;
}

// Before and after in one picture: a line across it that a hand moves; left of it stands what was before.
import { clipped, line } from "./canvas.js";
import { draggable } from "./drag.js";
import { patched } from "./labels.js";
import { playButton } from "./play.js";

const KNOB = 7;
const BLINKS = 8;
const GAP = 8; // CSS pixels around a name

// The line, and the knob that is taken.
function divider(c, at, width, height, thick, ink) {
  for (const [colour, wide] of [
    [ink.card, thick + 3],
    [ink.ink, thick],
  ]) {
    c.strokeStyle = colour;
    c.lineWidth = wide;
    line(c, at, 0, at, height);
  }
  c.fillStyle = ink.ink;
  c.strokeStyle = ink.card;
  c.lineWidth = 2;
  c.beginPath();
  c.arc(Math.min(width - KNOB, Math.max(KNOB, at)), height / 2, KNOB, 0, 2 * Math.PI);
  c.stroke();
  c.fill();
}

// Let a picture be wiped. `it` has a canvas, `show` and `redraw`; `before(c, width, height)` draws what was before over
// all of it, and `can()` says whether there is something. Returns `over(c, width, height, ink)`, which the painter calls
// last, with a method `to(share)` that sets the line. `keys` is false where the arrow keys mean something else, `free()`
// false while a hand does something else; `start` is where the line is at first, `names()` what stands beside it.
export function wiped(it, view, how) {
  const { before, can, keys = true, free = () => true, start = 0, names = () => ["before"] } = how;
  let share = start;
  let grip = null;
  const looks = { ...view, locked: () => false, refuse: () => false }; // looking is never locked
  const hand = {
    canvas: it.canvas,
    figure: null,
    get shown() {
      return { share };
    },
    show() {},
    hold(change) {
      if (change) share = change({ share }).share;
      it.redraw();
    },
    grip(now) {
      grip = now;
      it.redraw();
    },
  };
  draggable(hand, looks, {
    keys,
    things: (now, { width }) =>
      free() ? [{ id: "wipe", value: now.share, range: [0, 1], step: 0.05, x: width * now.share }] : [],
    value: ({ x }, { width }) => x / width,
    held: (_figure, _id, to) => ({ share: to }),
    order: () => null,
  });
  const step = (i) => {
    share = i % 2 ? 0 : 1;
    it.redraw();
    return i + 1 < BLINKS;
  };
  const { show } = it;
  let blink = null;
  it.show = (panel) => {
    show(panel);
    if (can() && !blink) {
      hand.show(panel); // from now on the line can be taken
      blink = playButton(it.host, looks, { label: "blink", every: 450, step }).button;
    }
    if (blink) blink.hidden = !can();
  };
  function over(c, width, height, ink) {
    if (!can()) return;
    const at = width * share;
    if (share > 0) clipped(c, 0, 0, at, height, () => before(c, width, height));
    divider(c, Math.min(width - 1.5, Math.max(1.5, at)), width, height, grip ? 3 : 2, ink);
    c.font = ink.font;
    const [left, right] = names();
    const room = (text) => c.measureText(text).width + 2 * GAP;
    if (at >= room(left)) patched(c, left, GAP, 14, ink);
    if (right && width - at >= room(right)) patched(c, right, width - room(right) + GAP, 14, ink);
  }
  over.to = (to) => hand.hold(() => ({ share: to }));
  return over;
}

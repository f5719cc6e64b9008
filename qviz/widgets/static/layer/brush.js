// Painting on an image of one pixel a number: a hand's strokes are seen at once, and Python has the last word.
import { framed } from "./canvas.js";
import { h, say } from "./dom.js";
import { keyed, pointed, within } from "./keys.js";

// The pixels [row, column] of a straight line between two, both included, so that a fast hand leaves no gaps.
export function between([row, column], [toRow, toColumn]) {
  const steps = Math.max(Math.abs(toRow - row), Math.abs(toColumn - column));
  return Array.from({ length: steps + 1 }, (_, i) => [
    Math.round(row + ((toRow - row) * i) / (steps || 1)),
    Math.round(column + ((toColumn - column) * i) / (steps || 1)),
  ]);
}

// The places, counted row by row, that a brush of `size` × `size` pixels covers; what sticks out of the image is left away.
export function dab([row, column], size, [rows, columns]) {
  const reach = (size - 1) / 2;
  const places = [];
  for (let i = row - reach; i <= row + reach; i++) {
    for (let j = column - reach; j <= column + reach; j++) {
      if (i >= 0 && i < rows && j >= 0 && j < columns) places.push(i * columns + j);
    }
  }
  return places;
}

// What is painted and what Python has not answered yet. `grey(place)` is what Python says of a pixel.
export function strokes(grey) {
  const unsaid = new Map(); // place -> grey
  let stroke = new Map(); // the last one: place -> grey before it
  return {
    unsaid,
    begin() {
      stroke = new Map();
    },
    paint(places, colour) {
      for (const place of places) {
        if (!stroke.has(place)) stroke.set(place, unsaid.get(place) ?? grey(place));
        unsaid.set(place, colour);
      }
    },
    // Take the last stroke back; whether there was one.
    back() {
      for (const [place, before] of stroke) unsaid.set(place, before);
      const some = stroke.size > 0;
      stroke = new Map();
      return some;
    },
    message: () => ({ event: "paint", at: [...unsaid.keys()], greys: [...unsaid.values()] }),
  };
}

const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

// Let an image be painted on. `it` has a host, a canvas, `show`, `redraw`, `repaint` (without what is unsaid) and `named` (its
// label); `panel()` is the panel on show, whose options say {paint: {grey, brush}} where that is possible and {before}, the
// picture that is painted on; `touched()` hears that `unsaid` pixels have to be drawn. A button switches between looking
// and painting.
export function painted(it, view, { panel, touched }) {
  const hand = handOf(it, view, panel, touched);
  const { button, mode } = switcher(it, view, hand);
  byPointer(it, view, hand);
  const spoken = h("p.heard", { "aria-live": "polite" });
  const { show } = it;
  let bound = false;
  it.show = (next) => {
    show(next);
    button.hidden = !hand.paint();
    if (!hand.paint()) mode(false);
    else if (!bound) {
      bound = true;
      byKeys(it, view, hand, (text) => say(spoken, text));
      it.host.append(spoken);
    }
  };
  return {
    get on() {
      return hand.on;
    },
    unsaid: hand.unsaid,
    // The pixels that the brush would paint, in a frame; the painter calls it last.
    over(c, width, height, ink) {
      if (!hand.on || (!hand.keys && !it.canvas.matches(":hover"))) return;
      const [rows, columns] = hand.shape();
      const across = Math.max(7, (hand.paint().brush * width) / columns + 3);
      const [y, x] = [((hand.at[0] + 0.5) * height) / rows, ((hand.at[1] + 0.5) * width) / columns];
      framed(c, [x - across / 2, y - across / 2, across, across], ink.changed, ink.card);
    },
  };
}

// Where the brush is, and what it does there.
function handOf(it, view, panel, touched) {
  const before = (place) => panel().options.before.pixels[place];
  const log = strokes(before);
  const hand = {
    on: false,
    pointer: null, // that holds the brush
    at: null, // [row, column]
    keys: false, // whether keys moved it last
    unsaid: log.unsaid,
    shape: () => panel().figure.pixels.shape,
    paint: () => panel()?.options?.paint,
    grey([row, column]) {
      const place = row * hand.shape()[1] + column;
      return log.unsaid.get(place) ?? before(place);
    },
    // The middle of the square whose levels are shown, or of the image.
    start() {
      const [top, left, rows, columns] = panel().options.square ?? [0, 0, ...hand.shape()];
      hand.at ??= [top + (rows >> 1), left + (columns >> 1)];
    },
    begin: log.begin,
    back: log.back,
    draw(from, to) {
      const { brush, grey } = hand.paint();
      for (const pixel of between(from, to)) log.paint(dab(pixel, brush, hand.shape()), grey);
      hand.tell();
    },
    tell() {
      touched();
      view.order(log.message(), () => {
        if (hand.pointer !== null) return;
        log.unsaid.clear();
        it.repaint();
      });
    },
    release() {
      if (hand.pointer === null) return;
      hand.pointer = null;
      view.held = false;
      hand.tell();
    },
  };
  return hand;
}

function byPointer({ canvas, redraw }, view, hand) {
  const pixel = (event) => {
    const { x, y, width, height } = pointed(canvas, event);
    const [rows, columns] = hand.shape();
    const at = (place, room, n) => within(Math.floor((place / room) * n), n - 1);
    return [at(y, height, rows), at(x, width, columns)];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (!hand.on || event.button || view.refuse(canvas, pointed(canvas, event))) return;
    canvas.setPointerCapture(event.pointerId);
    Object.assign(hand, { pointer: event.pointerId, at: pixel(event), keys: false });
    view.held = true;
    hand.begin();
    hand.draw(hand.at, hand.at);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!hand.on || (hand.pointer !== null && hand.pointer !== event.pointerId)) return;
    const from = hand.at;
    Object.assign(hand, { at: pixel(event), keys: false });
    if (hand.pointer !== null && String(from) !== String(hand.at)) hand.draw(from, hand.at);
    else redraw();
  });
  canvas.addEventListener("pointerleave", () => hand.on && redraw());
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) canvas.addEventListener(end, hand.release);
}

function byKeys({ canvas, redraw }, view, hand, speak) {
  function walk(move, far) {
    hand.at = hand.at.map((place, k) => within(place + far * move[k], hand.shape()[k] - 1));
    hand.keys = true;
    speak(`row ${hand.at[0]}, column ${hand.at[1]}, grey ${hand.grey(hand.at)}`);
    redraw();
  }
  function put() {
    if (view.refuse(canvas)) return;
    hand.begin();
    hand.draw(hand.at, hand.at);
  }
  keyed(canvas, ({ key, shiftKey }) => {
    if (!hand.on) return false;
    if (key in MOVES) walk(MOVES[key], shiftKey ? 10 : 1);
    else if (key === " " || key === "Enter") put();
    else if (key === "Escape" && hand.back()) {
      if (hand.pointer === null) hand.tell();
      else hand.release();
    } else return false;
    return true;
  });
}

// The button that turns looking into painting, and back.
function switcher(it, view, hand) {
  const sign = h("span", { "aria-hidden": "true" }, "✎");
  const button = h("button.play", { type: "button", "aria-pressed": "false" }, sign, " paint");
  let scroll;
  const mode = (on) => {
    if (hand.on === on) return;
    hand.on = on;
    button.setAttribute("aria-pressed", on);
    it.canvas.toggleAttribute("data-paints", on);
    if (on) scroll = it.canvas.style.touchAction;
    it.canvas.style.touchAction = on ? "none" : scroll; // else a finger scrolls the page
    if (on) hand.start();
    it.named();
    it.redraw();
  };
  button.addEventListener("click", () => {
    if (hand.on || !view.refuse(button)) mode(!hand.on);
  });
  it.host.closest(".qviz-panel").querySelector(".qviz-legend").before(button);
  return { button, mode };
}

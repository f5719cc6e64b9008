// Things in a picture that a hand takes and moves, with the pointer or with the keys.
//
// The picture follows the hand at once. Python hears of it through `view.order`, one message at a time, and has the last
// word: when it has answered, the picture shows what it says.
import { keyed, pointed, within } from "./keys.js";

const REACH = 12; // CSS pixels from a thing in which it is taken hold of
const TOUCH = 22; // the same for a finger
const STILL = 3; // a press that moves less is a click

// The thing nearest to a place, within reach; undefined if there is none. A thing without `y` is an upright line, one
// without `x` a level one; with `top` and `bottom`, or `left` and `right`, such a line has ends.
export function nearest(things, { x, y }, reach = REACH) {
  const beyond = (at, first, last) => Math.max(0, (first ?? -Infinity) - at, at - (last ?? Infinity));
  const far = (thing) =>
    Math.hypot(
      thing.x === undefined ? beyond(x, thing.left, thing.right) : x - thing.x,
      thing.y === undefined ? beyond(y, thing.top, thing.bottom) : y - thing.y,
    );
  let found;
  for (const thing of things) {
    const distance = far(thing);
    if (distance <= reach && (!found || distance < found.distance)) found = { thing, distance };
  }
  return found?.thing;
}

// What a key does to the thing that is chosen: {choose} another one, move it {by} or {to} a value; undefined for others.
// Left and right move it (up and down, if it moves upright), the other two arrows choose; Shift moves ten steps.
export function keyMove(event, thing, { things, along = "x" }) {
  const [less, more] = along === "x" ? ["ArrowLeft", "ArrowRight"] : ["ArrowDown", "ArrowUp"];
  const [back, on] = along === "x" ? ["ArrowDown", "ArrowUp"] : ["ArrowLeft", "ArrowRight"];
  const turn = { [back]: -1, [on]: 1 }[event.key];
  const at = things.findIndex(({ id }) => id === thing.id);
  if (turn && things.length > 1) return { choose: things[(at + turn + things.length) % things.length].id };
  const way = { [less]: -1, [more]: 1 }[event.key];
  const [low, high] = thing.range;
  if (way) return { value: within(thing.value + way * thing.step * (event.shiftKey ? 10 : 1), high, low) };
  if (event.key === "Home") return { value: low };
  if (event.key === "End") return { value: high };
  return undefined;
}

// Let things of a picture be moved.
//
// `it` is what `picture` returned. `things(figure, size)` lists what can be taken: {id, value, range: [low, high],
// step, and its place x, y} in CSS pixels of `size` {width, height}. `value(place, size, figure)` is what a place stands
// for, `held(figure, id, value)` the figure with a thing moved there, `order(id, value)` the message to Python that moves
// it. `along` is "x" or "y". Where `order` gives null, Python need not hear of it, as of a wipe, and
// the picture stays as it is held. `when(panel)` says whether this picture has such things at all; until then it takes no
// keys. Without `keys` the painter answers the keyboard itself.
export function draggable(it, view, spec) {
  const { show } = it;
  let ready = false;
  it.show = (panel) => {
    show(panel);
    if (ready || !(spec.when?.(panel) ?? true)) return;
    ready = true;
    bind(it, view, spec);
  };
}

function bind(it, view, spec) {
  const hand = handOf(it, view, spec);
  const { canvas } = it;
  const { along = "x" } = spec;
  canvas.style.touchAction = along === "x" ? "pan-y" : "pan-x";
  canvas.addEventListener("pointerdown", hand.take);
  canvas.addEventListener("pointermove", hand.follow);
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) canvas.addEventListener(end, hand.release);
  canvas.addEventListener("click", (event) => hand.moved && event.stopImmediatePropagation(), true);
  canvas.addEventListener("focus", () => hand.holds || hand.mark(canvas.matches(":focus-visible") && {}));
  canvas.addEventListener("blur", () => hand.mark(null));
  if (spec.keys === false) return;
  keyed(canvas, (event) => {
    if (event.key === "Escape" && hand.holds) return hand.back();
    const thing = hand.chosen();
    const does = thing && keyMove(event, thing, { things: hand.list(), along });
    if (!does) return false;
    if (does.choose !== undefined) hand.choose(does.choose);
    else if (!view.refuse(canvas, thing)) hand.move(thing.id, does.value);
    hand.mark({});
    return true;
  });
}

function handOf(it, view, { things, value, held, order }) {
  const { canvas } = it;
  const size = () => ({ width: canvas.clientWidth, height: canvas.clientHeight });
  const now = { id: null, value: null, pointer: null, began: null, from: null };
  const settle = () => now.pointer === null && it.hold(null); // Python has the last word
  const hand = {
    moved: false,
    get holds() {
      return now.pointer !== null;
    },
    list: () => things(it.shown, size()),
    chosen: () => hand.list().find(({ id }) => id === now.id) ?? hand.list()[0],
    choose: (id) => Object.assign(now, { id }),
    mark: (how) => it.grip(how && hand.chosen() ? { id: hand.chosen().id, ...how } : null),
    move(id, to) {
      Object.assign(now, { id, value: to });
      it.hold((figure) => held(figure, id, to));
      const message = order(id, to);
      if (message) view.order(message, settle, id);
    },
    take(event) {
      hand.moved = false;
      if (event.button) return;
      const place = pointed(canvas, event);
      const thing = nearest(hand.list(), place, event.pointerType === "touch" ? TOUCH : REACH);
      if (!thing || view.refuse(canvas, place)) return;
      canvas.setPointerCapture(event.pointerId);
      const { id, value: began } = thing;
      Object.assign(now, { id, pointer: event.pointerId, began, value: began, from: place });
      view.held = true;
      canvas.style.cursor = "grabbing";
      hand.mark({ held: true });
    },
    follow(event) {
      const place = pointed(canvas, event);
      if (now.pointer !== event.pointerId) {
        if (!view.locked()) canvas.style.cursor = nearest(hand.list(), place) ? "grab" : "";
        return;
      }
      if (!hand.moved && Math.hypot(place.x - now.from.x, place.y - now.from.y) < STILL) return;
      hand.moved = true;
      const [low, high] = hand.chosen().range;
      hand.move(now.id, within(value(place, size(), it.figure), high, low));
    },
    release() {
      if (!hand.holds) return;
      now.pointer = null;
      view.held = false;
      canvas.style.cursor = "";
      if (hand.moved) hand.move(now.id, now.value);
      hand.mark(canvas.matches(":focus-visible") && {});
    },
    // Put it where it was taken.
    back() {
      now.value = now.began;
      hand.release();
      return true;
    },
  };
  return hand;
}

// How a picture moves from one figure to the next: for a quarter of a second it draws figures that lie between.

export const LENGTH = 250; // milliseconds
const HEAD_START = 16; // the first step is drawn with the next frame of the screen, and must already lie one ahead

export const CLOCK = {
  now: () => performance.now(),
  next: (step) => requestAnimationFrame(step),
  cancel: (frame) => cancelAnimationFrame(frame),
};

// Nothing moves where a person asked for that, nor where nobody sees it.
export const still = () => document.hidden || matchMedia("(prefers-reduced-motion: reduce)").matches;

// Fast at first, then slower: part of the way for a part of the time.
export const eased = (t) => 1 - (1 - t) ** 3;

const isFloats = (x) => x instanceof Float32Array || x instanceof Float64Array;
const isInts = (x) => x instanceof Int32Array || x instanceof Int8Array;
const isPlain = (x) => typeof x === "object" && x !== null && !ArrayBuffer.isView(x);
const sameShape = (a, b) => a?.constructor === b.constructor && String(a.shape) === String(b.shape);
const between = (a, b, t) => (Number.isFinite(a) && Number.isFinite(b) ? a + (b - a) * t : b);

// What lies between two values: numbers and float arrays of one shape part of the way, all else as `b` has it.
// Whole numbers in arrays stay whole, unless `ints` is true.
export function blend(a, b, t, ints = false) {
  if (typeof b === "number") return typeof a === "number" ? between(a, b, t) : b;
  if (isFloats(b) || (ints && isInts(b))) {
    if (!sameShape(a, b) || a.length !== b.length) return b;
    const out = Float64Array.from(b, (value, i) => between(a[i], value, t));
    out.shape = b.shape;
    return out;
  }
  if (!isPlain(b) || !isPlain(a) || Array.isArray(a) !== Array.isArray(b)) return b;
  if (Array.isArray(b)) return a.length === b.length ? b.map((value, i) => blend(a[i], value, t, ints)) : b;
  return Object.fromEntries(Object.entries(b).map(([key, value]) => [key, blend(a[key], value, t, ints)]));
}

// The figures between two, as a painter wants them: `moves` is true for all that can move; a list of the fields that
// do, whole numbers too; or a function (from, to, t) of its own.
export function mixer(moves) {
  if (typeof moves === "function") return moves;
  if (!Array.isArray(moves)) return (from, to, t) => blend(from, to, t);
  return (from, to, t) => {
    const parts = moves.map((field) => [field, blend(from[field], to[field], t, true)]);
    return { ...to, ...Object.fromEntries(parts) };
  };
}

const alike = (a, b) => {
  if (a === b || (Number.isNaN(a) && Number.isNaN(b))) return true;
  if (ArrayBuffer.isView(b)) return a?.length === b.length && b.every((value, i) => Object.is(value, a[i]));
  if (!isPlain(a) || !isPlain(b)) return false;
  const keys = Object.keys(b);
  return keys.length === Object.keys(a).length && keys.every((key) => alike(a[key], b[key]));
};

// What a picture shows while it moves. `paint` draws `shown`; `go(figure)` moves there from what is on screen now, at
// once if `jump`; the last figure that is drawn is `figure` itself. Steps are drawn with the frames of the screen: one that
// were drawn before the first of them would not be seen.
export function mover(moves, paint, clock = CLOCK) {
  const mix = mixer(moves);
  let shown = null;
  let frame = null; // of the step that comes next
  let from, to, start;

  function step() {
    const t = Math.min(1, (clock.now() - start) / LENGTH);
    shown = t < 1 ? mix(from, to, eased(t)) : to;
    frame = t < 1 ? clock.next(step) : null;
    paint();
  }
  return {
    get shown() {
      return shown;
    },
    get moving() {
      return frame !== null;
    },
    // What is on screen is another figure than was drawn last: a hand has moved it.
    take(figure) {
      shown = figure;
    },
    go(figure, jump) {
      if (frame !== null) clock.cancel(frame);
      frame = null;
      [from, to, start] = [shown, figure, clock.now() - HEAD_START];
      if (!jump && moves && from?.type === to.type && !alike(from, to)) {
        shown = mix(from, to, eased(HEAD_START / LENGTH));
        frame = clock.next(step);
        return;
      }
      shown = to;
      paint();
    },
  };
}

// Pictures that move, and things in them that are taken by a hand.
import assert from "node:assert/strict";
import { test } from "node:test";

import { asker, orders } from "../../qviz/widgets/static/layer/asker.js";
import { between, dab, strokes } from "../../qviz/widgets/static/layer/brush.js";
import { draggable, keyMove, nearest } from "../../qviz/widgets/static/layer/drag.js";
import { placed, walkedFrame } from "../../qviz/widgets/static/layer/frame_hand.js";
import { aim } from "../../qviz/widgets/static/layer/keys.js";
import { pacer } from "../../qviz/widgets/static/layer/play.js";
import { LENGTH, blend, mixer, mover } from "../../qviz/widgets/static/layer/tween.js";

// A clock that stands still until it is told how much later it is.
function hourglass() {
  let steps = [];
  return {
    time: 0,
    now() {
      return this.time;
    },
    next: (step) => steps.push(step),
    cancel() {
      steps = [];
    },
    later(ms) {
      this.time += ms;
      const due = steps;
      steps = [];
      for (const step of due) step();
    },
    get waiting() {
      return steps.length;
    },
  };
}

test("between two figures numbers and float arrays lie between, the rest is the later one's", () => {
  const a = { x: 1, at: new Float32Array([0, 10]), n: new Int32Array([0, 4]), part: { y: 2, word: "a" }, list: [0, 1] };
  const b = { x: 3, at: new Float32Array([4, 20]), n: new Int32Array([8, 8]), part: { y: 4, word: "b" }, list: [2, 3] };
  const half = blend(a, b, 0.5);
  assert.equal(half.x, 2);
  assert.deepEqual(Array.from(half.at), [2, 15]);
  assert.deepEqual(Array.from(half.n), [8, 8]); // counts stay whole numbers
  assert.deepEqual(half.part, { y: 3, word: "b" });
  assert.deepEqual(half.list, [1, 2]);
  assert.deepEqual(Array.from(blend(a, b, 0.5, true).n), [4, 6]);
});

test("what has no place between is the later figure's at once", () => {
  const short = new Float32Array(2);
  assert.equal(blend(new Float32Array(3), short, 0.5), short);
  assert.equal(blend(undefined, 3, 0.5), 3);
  assert.equal(blend(NaN, 3, 0.5), 3);
  assert.equal(blend(null, 3, 0.5), 3);
  assert.equal(blend(3, null, 0.5), null);
  assert.deepEqual(blend([1, 2], [1, 2, 3], 0.5), [1, 2, 3]);
  const [flat, square] = [new Float32Array(4), new Float32Array(4)];
  [flat.shape, square.shape] = [[4], [2, 2]];
  assert.equal(blend(flat, square, 0.5), square);
  const pixels = new Uint8Array([7]);
  assert.equal(blend(new Uint8Array([1]), pixels, 0.5), pixels);
});

test("a list of fields moves only those, whole numbers too", () => {
  const mix = mixer(["used"]);
  const figure = (x) => ({ type: "F", x, used: new Int32Array([x]) });
  const half = mix(figure(0), figure(2), 0.5);
  assert.equal(half.x, 2);
  assert.deepEqual(Array.from(half.used), [1]);
});

test("a picture moves for a quarter of a second, and ends at the very figure that was sent", () => {
  const clock = hourglass();
  const painted = [];
  const moving = mover(true, () => painted.push(moving.shown), clock);
  const [a, b, c] = [0, 100, 0].map((x) => ({ type: "F", x }));
  moving.go(a);
  assert.deepEqual([painted.length, clock.waiting], [1, 0]); // the first picture stands at once
  moving.go(b);
  assert.equal(painted.length, 1); // nobody would see what is drawn before the next frame
  clock.later(0);
  assert.equal(painted.length, 2); // there it is already on its way
  assert.ok(painted[1].x > 0 && painted[1].x < 50);
  clock.later(LENGTH / 2);
  const middle = painted.at(-1).x;
  assert.ok(middle > painted[1].x && middle < 100);
  moving.go(c); // it turns where it is, without a jump
  clock.later(0);
  assert.ok(painted.at(-1).x > 0.7 * middle && painted.at(-1).x < middle);
  clock.later(LENGTH);
  assert.equal(painted.at(-1), c);
  assert.equal(clock.waiting, 0);
});

test("nothing moves that is the same, that jumps, or that is another kind of figure", () => {
  for (const [next, jump] of [
    [{ type: "F", x: new Float32Array([1, NaN]) }, false],
    [{ type: "F", x: new Float32Array([2, 2]) }, true],
    [{ type: "G", x: new Float32Array([2, 2]) }, false],
  ]) {
    const clock = hourglass();
    const moving = mover(true, () => {}, clock);
    moving.go({ type: "F", x: new Float32Array([1, NaN]) });
    moving.go(next, jump);
    assert.equal(moving.shown, next);
    assert.equal(clock.waiting, 0);
  }
});

test("one message is on its way, and the latest comes next", () => {
  const sent = [];
  let rested = 0;
  const it = asker((message) => sent.push(message), { rested: () => (rested += 1), patience: 1e6 });
  for (const x of [1, 2, 3]) it.ask({ x });
  assert.deepEqual(
    sent.map(({ x }) => x),
    [1],
  );
  it.answered("another picture's");
  assert.equal(sent.length, 1);
  it.answered(sent[0].ask);
  assert.deepEqual(
    sent.map(({ x }) => x),
    [1, 3],
  );
  assert.equal(rested, 0);
  it.answered(sent[1].ask);
  assert.equal(rested, 1);
});

test("what is asked about one thing takes nothing from another", () => {
  const sent = [];
  const { order, answered } = orders((message) => sent.push(message));
  const settled = [];
  order({ event: "point", point: 1 }, () => settled.push("first"));
  order({ event: "set", control: "budget", value: 3 });
  order({ event: "set", control: "damage", value: 0 });
  order({ event: "set", control: "budget", value: 5 }, () => settled.push("second"));
  order({ event: "start", value: 1 }, undefined, 7);
  order({ event: "start", value: 2 }, undefined, 8);
  for (let k = 0; k < 5; k++) answered(sent[k].ask);
  assert.deepEqual(
    sent.map(({ event, control, point, value }) => [event, control, point ?? value]),
    [
      ["point", undefined, 1],
      ["set", "budget", 5],
      ["set", "damage", 0],
      ["start", undefined, 1],
      ["start", undefined, 2],
    ],
  );
  assert.deepEqual(settled, ["first", "second"]);
});

test("keys that come faster than Python answers go on from each other", () => {
  let [figure, pending] = [4, null];
  const asked = [];
  const view = {
    order(message, then) {
      asked.push(message.to);
      pending = then;
    },
  };
  const aimed = aim(
    view,
    () => figure,
    (to) => ({ to }),
  );
  for (let k = 0; k < 3; k++) aimed.go(aimed.at - 1);
  assert.deepEqual(asked, [3, 2, 1]);
  figure = 2; // Python goes no farther
  pending();
  assert.equal(aimed.at, 2);
});

test("a kernel that does not answer is not waited for without end", async () => {
  const sent = [];
  const it = asker((message) => sent.push(message.x), { patience: 5 });
  it.ask({ x: 1 });
  it.ask({ x: 2 });
  await new Promise((done) => setTimeout(done, 40));
  assert.deepEqual(sent, [1, 2]);
});

test("the nearest thing within reach is taken", () => {
  const things = [
    { id: "dot", x: 50, y: 50 },
    { id: "line", x: 70 },
    { id: "short", x: 200, top: 0, bottom: 20 },
    { id: "level", y: 90, left: 100, right: 180 },
  ];
  const at = (x, y, reach) => nearest(things, { x, y }, reach)?.id;
  assert.equal(at(55, 52), "dot");
  assert.equal(at(64, 50), "line"); // nearer than the dot
  assert.equal(at(81.9, 5), "line");
  assert.equal(at(90, 5), undefined);
  assert.equal(at(90, 5, 22), "line");
  assert.equal(at(200, 25), "short");
  assert.equal(at(200, 60), undefined);
  assert.equal(at(150, 99), "level");
  assert.equal(at(195, 99), undefined);
});

test("keys move the thing that is chosen, or choose another", () => {
  const things = [0, 1, 2].map((id) => ({ id, value: 5, range: [0, 9], step: 0.5 }));
  const press = (key, shiftKey = false, along = "x") => keyMove({ key, shiftKey }, things[0], { things, along });
  assert.deepEqual(press("ArrowRight"), { value: 5.5 });
  assert.deepEqual(press("ArrowLeft", true), { value: 0 });
  assert.deepEqual(press("End"), { value: 9 });
  assert.deepEqual(press("ArrowUp"), { choose: 1 });
  assert.deepEqual(press("ArrowDown"), { choose: 2 });
  assert.deepEqual(press("ArrowUp", false, "y"), { value: 5.5 });
  assert.deepEqual(press("ArrowRight", false, "y"), { choose: 1 });
  assert.equal(press("x"), undefined);
});

// A picture of one thing on an axis of 100 pixels that stands for 0 … 10, without a page.
function bench({ locked = false } = {}) {
  const canvas = new EventTarget();
  Object.assign(canvas, { style: {}, dataset: {}, clientWidth: 100, clientHeight: 40 });
  Object.assign(canvas, { setAttribute() {}, setPointerCapture() {}, matches: () => true });
  canvas.getBoundingClientRect = () => ({ left: 0, top: 0, width: 100, height: 40 });
  let change = null;
  const it = {
    canvas,
    figure: { at: 5 },
    get shown() {
      return change ? change(it.figure) : it.figure;
    },
    hold(next) {
      change = next;
    },
    show() {},
    grip(mark) {
      it.marked = mark;
    },
  };
  const asked = [];
  const view = {
    locked: () => locked,
    refused: 0,
    refuse: () => locked && (view.refused += 1) > 0,
    order(message, then) {
      asked.push(message);
      view.rest = then;
    },
  };
  draggable(it, view, {
    things: ({ at }) => [{ id: "p", value: at, range: [0, 10], step: 1, x: 10 * at }],
    value: ({ x }) => x / 10,
    held: (figure, _id, at) => ({ ...figure, at }),
    order: (id, value) => ({ event: "drag", id, value }),
    when: (panel) => panel.takes,
  });
  it.show({ takes: false });
  assert.equal(canvas.tabIndex, undefined); // nothing to take, no keys
  it.show({ takes: true });
  it.show({ takes: true });
  const fire = (type, how) => canvas.dispatchEvent(Object.assign(new Event(type), how));
  return { it, view, asked, fire, at: (x) => ({ pointerId: 1, button: 0, clientX: x, clientY: 20 }) };
}

test("a thing follows the pointer at once, and Python has the last word", () => {
  const { it, view, asked, fire, at } = bench();
  fire("pointermove", at(52));
  assert.equal(it.canvas.style.cursor, "grab");
  fire("pointerdown", at(52));
  assert.deepEqual([it.canvas.style.cursor, view.held], ["grabbing", true]);
  fire("pointermove", at(53)); // hardly moved: still a click
  assert.equal(asked.length, 0);
  fire("pointermove", at(80));
  assert.equal(it.shown.at, 8);
  fire("pointermove", at(400)); // no farther than it goes
  assert.equal(it.shown.at, 10);
  view.rest(); // Python has answered, but the hand still holds it
  assert.equal(it.shown.at, 10);
  fire("pointerup", at(400));
  assert.equal(view.held, false);
  assert.deepEqual(asked.at(-1), { event: "drag", id: "p", value: 10 });
  it.figure = { at: 9.5 }; // Python rounds it
  view.rest();
  assert.equal(it.shown.at, 9.5);
});

test("Escape puts it back, and keys move it step by step", () => {
  const { it, asked, fire, at } = bench();
  fire("pointerdown", at(50));
  fire("pointermove", at(90));
  fire("keydown", { key: "Escape" });
  assert.equal(asked.at(-1).value, 5);
  fire("keydown", { key: "ArrowRight" });
  fire("keydown", { key: "ArrowRight" }); // before Python has answered
  assert.equal(it.shown.at, 7);
  assert.equal(asked.at(-1).value, 7);
  assert.deepEqual(it.marked, { id: "p" });
});

test("nothing is taken beside a thing, nor while a lock holds it; then it says why", () => {
  const free = bench();
  free.fire("pointerdown", free.at(20));
  free.fire("pointermove", free.at(60));
  assert.equal(free.asked.length, 0);
  const held = bench({ locked: true });
  held.fire("pointerdown", held.at(50));
  held.fire("pointermove", held.at(90));
  held.fire("keydown", { key: "ArrowRight" });
  assert.equal(held.asked.length, 0);
  assert.equal(held.view.refused, 2);
});

test("a ▶ steps at a pace until there is no more, or until it is stopped", () => {
  const due = [];
  const timers = { setTimeout: (act) => due.push(act), clearTimeout: () => (due.length = 0) };
  const seen = [];
  const said = [];
  const play = pacer({ step: (i) => seen.push(i) < 3, every: 10, changed: (on) => said.push(on), timers });
  play.start();
  play.start(); // once is enough
  due.shift()();
  due.shift()();
  assert.deepEqual([seen, said, play.playing, due.length], [[0, 1, 2], [true, false], false, 0]);
  play.start();
  assert.equal(play.playing, false); // `step` says at once that there is no more
  seen.length = 0;
  play.start();
  play.stop();
  assert.deepEqual([seen, play.playing, due.length], [[0], false, 0]);
});

test("a fast hand leaves no gaps, and a brush ends at the edge of the image", () => {
  assert.deepEqual(between([0, 0], [0, 0]), [[0, 0]]);
  assert.deepEqual(between([2, 1], [0, 5]), [
    [2, 1],
    [2, 2],
    [1, 3],
    [1, 4],
    [0, 5],
  ]);
  assert.deepEqual(dab([1, 1], 1, [4, 5]), [6]);
  assert.deepEqual(dab([0, 4], 3, [4, 5]), [3, 4, 8, 9]);
});

test("a stroke is taken back to what was there before it, and only the last one", () => {
  const log = strokes((place) => 10 + place);
  log.begin();
  log.paint([1, 2], 255);
  log.begin();
  log.paint([2, 3], 0);
  log.paint([2], 7); // over itself
  assert.deepEqual(log.message(), { event: "paint", at: [1, 2, 3], greys: [255, 7, 0] });
  assert.equal(log.back(), true);
  assert.deepEqual(log.message(), { event: "paint", at: [1, 2, 3], greys: [255, 255, 13] });
  assert.equal(log.back(), false);
});

test("a frame stays inside, whoever moves it", () => {
  const whole = { top: 0, left: 0, rows: 100, columns: 200 };
  const frame = { top: 10, left: 20, rows: 40, columns: 64 };
  const at = ({ top, left }) => [top, left];
  assert.deepEqual(placed(whole, frame, 30.4, 50.6), { ...frame, top: 30, left: 51 });
  assert.deepEqual(at(placed(whole, frame, -5, 500)), [0, 136]);
  const key = (name, shiftKey = false) => walkedFrame({ key: name, shiftKey }, whole, frame, [1, 2]);
  assert.deepEqual(at(key("ArrowDown")), [11, 20]);
  assert.deepEqual(at(key("ArrowLeft")), [10, 18]);
  assert.deepEqual(at(key("ArrowRight", true)), [10, 84]);
  assert.deepEqual(at(key("ArrowUp", true)), [0, 20]);
  assert.deepEqual(
    [at(key("Home")), at(key("End"))],
    [
      [0, 0],
      [60, 136],
    ],
  );
  assert.equal(key("Enter"), undefined);
});

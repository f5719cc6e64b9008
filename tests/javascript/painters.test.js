// What single painters work out before they draw.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Structure, floatParts } from "../../qviz/widgets/static/painters/block_lens.js";
import { revealed } from "../../qviz/course/missions/painters/chooser.js";
import { beside, places } from "../../qviz/widgets/static/layer/labels.js";
import { wallBoxes } from "../../qviz/widgets/static/layer/plane.js";
import { walled } from "../../qviz/widgets/static/painters/balance.js";
import { scaled } from "../../qviz/widgets/static/painters/channel_group.js";
import { blockOf, carried } from "../../qviz/widgets/static/painters/matrix_lens.js";
import { errorPlace, pairAt, squareOf } from "../../qviz/widgets/static/painters/pair_plane.js";
import { layout } from "../../qviz/widgets/static/painters/model_map.js";
import { neighbour } from "../../qviz/widgets/static/painters/recipe_map.js";
import { stepping } from "../../qviz/widgets/static/painters/step_row.js";
import { faster } from "../../qviz/widgets/static/painters/token_rates.js";

// A block of three bytes: a scale of one byte that feeds all four weights, then two bytes with two codes of 4 bits each.
function lens() {
  const feeds = new Uint8Array(24).fill(0);
  feeds.shape = [24, 1];
  for (let bit = 0; bit < 8; bit++) feeds[bit] = 0b1111;
  for (let bit = 8; bit < 24; bit++) feeds[bit] = 1 << ((bit - 8) >> 2);
  return {
    feeds,
    raw: new Uint8Array([0x81, 0x21, 0x43]),
    original: new Uint8Array([0x80, 0x21, 0x43]),
    weights: new Float32Array(4),
    scales: new Float32Array(1),
    elements: [129, 0x21, 0x43],
    fields: [
      { name: "d", offset: 0, size: 1, count: 1, parts: [] },
      { name: "qs", offset: 1, size: 1, count: 2, parts: [] },
    ],
    address: 0x100,
  };
}

test("bits and weights know each other", () => {
  const s = new Structure(lens());
  assert.deepEqual(s.fed(0), [0, 1, 2, 3]);
  assert.deepEqual(s.fed(2), [2, 3]);
  assert.deepEqual(s.own(3), [20, 21, 22, 23]); // the scale's bits are shared
  assert.equal(s.nameOf(2), "qs[1]");
  assert.equal(s.nameOf(0), "d");
  assert.equal(s.address(2), "byte 0x102 of the file");
  assert.equal(s.bit(0), 1);
  assert.equal(s.flipped(0), 1);
  assert.equal(s.flipped(7), 0);
  assert.deepEqual(s.first(), { from: "byte", byte: 1, weight: 0 });
  assert.equal(s.caption(s.elementOf(1), 0), "w0");
  assert.equal(s.caption(s.elementOf(0), 0), "4 w");
});

test("what feeds what is worked out again only where it changed", () => {
  const s = new Structure(lens());
  assert.equal(new Structure(lens(), s).made, s.made);
  const other = lens();
  other.feeds[8] = 0b0010;
  assert.deepEqual(new Structure(other, s).fed(1), [0, 1]);
  assert.notEqual(new Structure(other, s).made, s.made);
});

test("the parts of a float16", () => {
  const half = (bits, value) => floatParts(bits, { field: { parts: [1, 5, 10] }, value });
  assert.deepEqual(half(0x3e00, 1.5), ["", "2", ["sup", "0"], " × 1.5 = ", ["b", "1.5"]]);
  assert.deepEqual(half(0xc000, -2)[0], "−");
  assert.match(half(0x7c00, Infinity)[1], /^∞/);
  assert.match(half(0x7c01, NaN)[1], /^NaN/);
  assert.match(half(0, 0)[1], /^0/);
  assert.deepEqual(half(0x0001, 5.96e-8)[2], ["sup", "−14"]); // subnormal
  assert.equal(floatParts(1, { field: { parts: [] } }), null);
});

test("arrow keys walk over a map of tensors, gaps left out", () => {
  // two tensors in no layer (6, 7); kinds × layers, one tensor missing
  const map = { outside: [6, 7], cells: [0, 1, 2, 3, -1, 5], kinds: ["a", "b"], layers: 3 };
  assert.equal(neighbour(map, "ArrowRight", 0), 1);
  assert.equal(neighbour(map, "ArrowRight", 3), 5);
  assert.equal(neighbour(map, "ArrowDown", 2), 5);
  assert.equal(neighbour(map, "ArrowDown", 1), undefined); // nothing below the gap
  assert.equal(neighbour(map, "ArrowUp", 1), 6);
  assert.equal(neighbour(map, "ArrowRight", 6), 7);
  assert.equal(neighbour(map, "ArrowDown", 7), 0);
  assert.equal(neighbour(map, "ArrowLeft", 0), undefined);
});

test("what fits is known while the wall is held", () => {
  const plane = { sizes: new Float64Array([4, 5, 6]), fits: new Uint8Array([1, 1, 1]), budget: 7, best: 2 };
  const held = walled(plane, 5);
  assert.deepEqual(Array.from(held.fits), [1, 1, 0]);
  assert.equal(held.budget, 5);
  assert.equal(held.best, 2); // Python says what is best
});

test("a weight falls first, then its error reaches the others", () => {
  const at = (column, before, now) => ({ first: 0, row: 0, column, before, now, shares: [0, 0.5, 0.5] });
  const from = at(0, [1, 1, 1], [0, 1, 1]);
  const to = at(1, [0, 1, 1], [0, 3, 2]);
  assert.deepEqual(stepping(from, to, 0.25).now, [0, 2, 1]);
  assert.equal(stepping(from, to, 0.25).pushed, 0);
  assert.deepEqual(stepping(from, to, 0.75).now, [0, 3, 1.5]);
  assert.equal(stepping({ ...from, first: 20 }, to, 0.5), to); // the axis has moved on
});

test("a scaled channel has finer levels at once", () => {
  const group = { channels: new Int32Array([4, 5]), scale: [1, 1], step: [0.5, 0.5], bottom: [-1, -1], current: 0 };
  const held = scaled(group, 5, 2);
  assert.deepEqual([held.scale, held.step, held.bottom, held.current], [[1, 4], [0.5, 0.125], [-1, -0.25], 1]);
  assert.equal(scaled(group, 9, 2), group);
});

test("a faster memory raises what it allows, up to the peak", () => {
  const rates = { nbytes: [4e9, 1e9], peaks: [60e9], work: 2e9, bounds: [1, 4], roof: [1, 4], reached: [0.5, 3] };
  const held = faster(rates, 2); // 100 GB/s
  assert.deepEqual(held.bounds, [25, 100]);
  assert.deepEqual(held.roof, [25, 30]);
  assert.deepEqual(held.reached, [0.5, 3]);
});

test("points rise from the foot when their damage becomes known", () => {
  const plane = (damage, size) => ({
    sizes: new Float64Array([4, 5]),
    damage: new Float64Array(damage),
    size,
    budget: 7,
    tried: [],
    predicted: [1, 2],
    low: 1e-4,
  });
  const [hidden, open] = [plane([NaN, NaN], 4), plane([1e-2, 1e-5], 5)];
  const half = revealed(hidden, open, 0.5);
  assert.ok(Math.abs(half.damage[0] - 1e-3) < 1e-12); // halfway, on a logarithmic axis
  assert.equal(half.damage[1], 1e-5); // at the foot it stays
  assert.equal(half.size, 4.5);
  assert.deepEqual(revealed(open, open, 0.5).damage, open.damage);
});

test("a plane of pairs is a square, and finds the pair under a pointer", () => {
  const plane = { reach: 2, pairs: new Float32Array([0, 0, 1, -1, 2, 2]) };
  const at = squareOf(plane, 400, 328);
  assert.equal(at.x(1) - at.x(0), at.y(0) - at.y(1)); // one scale for both axes
  assert.equal(at.x(2) - at.x(-2), at.side);
  assert.ok(at.left >= 0 && at.left + at.side <= 400);
  assert.equal(pairAt(plane, { x: at.x(1) + 3, y: at.y(-1) - 3 }, at), 1);
  assert.equal(pairAt(plane, { x: at.x(0) + 8, y: at.y(0) }, at), 0);
  assert.equal(pairAt(plane, { x: at.x(-1.5), y: at.y(1.5) }, at), undefined);
});

test("the error of a pair hides neither the point that it becomes nor others", () => {
  const at = squareOf({ reach: 2 }, 400, 328);
  const points = new Float32Array([0.3, 0.2, -0.5, 0.2, 1.9, 1.9, -0.35, -0.11]);
  const wide = 60;
  for (const [px, py] of [
    [0, 0],
    [0.3, 0.2],
    [-0.2, 0.25],
    [0.2, 0.1],
    [1.9, 1.8],
    [-1.9, -1.9],
    [1.9, -1.9],
  ]) {
    const [tx, ty] = [at.x(points[0]), at.y(points[1])];
    const [left, middle] = errorPlace(points, [at.x(px), at.y(py)], [tx, ty], at, wide);
    assert.ok(left >= at.left && left + wide <= at.left + at.side && middle >= at.top + 8);
    for (let i = 0; i < points.length; i += 2) {
      const [x, y] = [at.x(points[i]), at.y(points[i + 1])];
      assert.ok(x <= left || x >= left + wide || Math.abs(y - middle) >= 8, `point ${i / 2} of pair ${px}, ${py}`);
    }
  }
  const crowd = Float32Array.from({ length: 800 }, (_, i) => -2 + (4 * (i % 2 ? i >> 1 : (i * 7) % 400)) / 400);
  assert.ok(errorPlace(crowd, [at.x(0), at.y(0)], [at.x(0.1), at.y(0.1)], at, wide)); // somewhere, however many points
});

test("what is read in a lens stays at its place when the lens moves", () => {
  const part = (top, left, rows = 40, columns = 64) => ({ top, left, rows, columns });
  const pointer = { row: 15, column: 30, panel: "lens" };
  assert.deepEqual(carried(pointer, part(10, 20), part(50, 0)), { row: 55, column: 10, panel: "lens" });
  assert.deepEqual(carried({ ...pointer, row: 49 }, part(10, 20), part(0, 20, 20, 32)).row, 19); // a smaller one
});

test("the block of a weight, as far as the lens shows it", () => {
  const part = { top: 0, left: 40, rows: 40, columns: 64 };
  assert.deepEqual(blockOf(part, 32, 70), [64, 96]);
  assert.deepEqual(blockOf(part, 32, 45), [40, 64]);
  assert.deepEqual(blockOf(part, 256, 45), [40, 104]);
});

test("boxes keep their proportions in a map that has little room", () => {
  const tensor = (step, rows, columns) => ({ step, rows, columns, copies: 1 });
  const tensors = [tensor(0, 4096, 4096), tensor(1, 14400, 4096), tensor(1, 14400, 4096)];
  const map = { tensors, steps: ["ask", "widen"], inside: [1, 1] };
  const [free, tight] = [layout(map, 900), layout(map, 900, 135)];
  assert.ok(free.bottom - 46 > 135);
  assert.ok(tight.bottom - 46 <= 135.001);
  const [square, high] = tight.boxes;
  assert.equal(square.w, square.h);
  assert.ok(Math.abs(high.h / square.h - 120 / 64) < 1e-9); // by the square root of their rows
  assert.ok(!high.cut);
  const steps = Array.from({ length: 10 }, (_, i) => `step ${i}`);
  const many = { tensors: steps.map((_, i) => tensor(i, 64, 64)), steps, inside: steps.map(() => 1) };
  assert.ok(layout(many, 640).width <= 640, "ten steps fit a narrow page");
});

test("no name crosses the wall or its handle", () => {
  for (const [name, y, x] of [
    ["beside the wall", 120, 357 - 3 - 11 - 31],
    ["beside the handle", 40, 357 - 9 - 11 - 31],
  ]) {
    const names = places([0, -Infinity, 900, Infinity]);
    for (const box of wallBoxes(357, 16, 300)) names.take(...box);
    assert.equal(names.find(32, 14, beside(x, y, 32))[0], x - 11 - 32, name);
    assert.equal(names.find(30, 14, beside(x, y, 30))[0], x + 11, name);
  }
});

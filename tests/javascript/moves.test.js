// What single painters show between two figures, and of what a hand holds.
import assert from "node:assert/strict";
import { test } from "node:test";

import { flow, levelAt, started } from "../../qviz/widgets/static/painters/lloyd_picture.js";
import { carried, glide, moved } from "../../qviz/widgets/static/painters/number_line.js";
import { stacked, widened } from "../../qviz/widgets/static/painters/range_histogram.js";

const line = (levels, used, codes, more) => ({
  levels: new Float32Array(levels),
  used: new Int32Array(used),
  codes: new Int32Array(codes),
  weights: new Float32Array([0.2]),
  snapped: new Float32Array([0]),
  density: { low: 0, high: 3 },
  ...more,
});

test("levels split into those next to them, and run together again", () => {
  const two = line([0, 3], [1, 1], [0, 1]);
  const four = line([0, 1, 2, 3], [1, 0, 0, 1], [0, 1, 2, 3]);
  const split = glide(two, four, 0.5);
  assert.deepEqual(Array.from(split.levels), [0, 0.5, 2.5, 3]);
  assert.deepEqual(Array.from(split.used), [1, 0.5, 0.5, 1]);
  assert.deepEqual(Array.from(split.codes), [0, 1, 2, 3]);
  const joined = glide(four, two, 0.5);
  assert.deepEqual(Array.from(joined.levels), [0, 0.5, 2.5, 3]);
  assert.deepEqual(Array.from(joined.codes), [0, 0, 1, 1]);
  assert.equal(joined.settled, two);
});

test("a weight in a hand falls to the nearest level there is", () => {
  const four = line([0, 1, 2, 3], [1, 0, 0, 1], [0, 1, 2, 3]);
  const held = moved(four, 0, 1.75);
  assert.deepEqual([held.weights[0], held.snapped[0]], [1.75, 2]);
  assert.ok(four.weights[0] < 1); // what Python sent is as it was
});

test("levels flow from one iteration to the next, and from one start to another", () => {
  const paths = new Float32Array([0, 8, 2, 6, 3, 5]);
  paths.shape = [3, 2];
  const at = (current) => ({ paths, current, used: new Int32Array([1, 1]), edges: new Float32Array([4]) });
  assert.equal(levelAt(at(0), 0.5, 1), 7);
  assert.equal(levelAt(at(0), 2, 0), 3);
  assert.equal(flow(at(0), at(1), 0.25).current, 0.25);
  const other = started(at(2), 1, 9);
  assert.equal(levelAt(other, 0, 1), 9);
  assert.equal(paths[1], 8);
  assert.equal(levelAt(flow(at(2), other, 0.5), 0, 1), 8.5);
  const short = { ...at(1), paths: Object.assign(paths.slice(0, 4), { shape: [2, 2] }) };
  assert.equal(flow(at(2), short, 0.1).current, 1); // there is no second iteration any more
});

test("both ends of a range move together", () => {
  const half = widened({ low: -2, high: 4, levels: new Float32Array([-2, 0, 2, 4]) }, 0.5);
  assert.deepEqual([half.low, half.high, Array.from(half.levels)], [-1, 2, [-1, 0, 1, 2]]);
});

test("errors that are clipped stand on those that are rounded", () => {
  const { both, most } = stacked({ clipping: new Float64Array([2, 0, 0]), rounding: new Float64Array([1, 4, 0.5]) });
  assert.deepEqual([both, most], [[3, 4, 0.5], 4]);
});

test("a number and the ends of its range are carried by a hand", () => {
  const panel = { options: { current: 0, ends: [0, 4] } };
  const four = line([0, 1, 2, 3], [1, 0, 0, 1], [0, 1, 2, 3]);
  assert.equal(carried(four, panel, "number", 2.2).snapped[0], 2);
  assert.deepEqual(carried(four, panel, "high", 3.5).ends, [0, 3.5]);
  assert.deepEqual(carried(carried(four, panel, "high", 3.5), panel, "low", -1).ends, [-1, 3.5]);
});

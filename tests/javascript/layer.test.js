// What the painters share, as far as it needs no page.
import assert from "node:assert/strict";
import { test } from "node:test";

import { entry, isLight, legible } from "../../qviz/widgets/static/layer/colour.js";
import { decode } from "../../qviz/widgets/static/layer/frame.js";
import { walked, within } from "../../qviz/widgets/static/layer/keys.js";
import { beside, places } from "../../qviz/widgets/static/layer/labels.js";
import { halfPixels, wholePixels } from "../../qviz/widgets/static/layer/pixels.js";
import { sentences } from "../../qviz/widgets/static/layer/picture.js";
import { captions } from "../../qviz/widgets/static/layer/plane.js";
import { hex, logTicks, number, ticks } from "../../qviz/widgets/static/layer/text.js";

test("numbers are short, and have a real minus sign", () => {
  assert.equal(number(-0.123456), "−0.123");
  assert.equal(number(1234.5, 5), "1234.5");
  assert.equal(number(1.5e-7), "1.50e−7");
  assert.equal(number(2e6), "2.00e6");
  assert.equal(number(NaN), "NaN");
  assert.equal(number(-Infinity), "−∞");
  assert.equal(number(0), "0");
  assert.equal(hex(10, 4), "000a");
});

test("ticks are round, few, and inside the axis", () => {
  assert.deepEqual(ticks(0, 1, 5), [0, 0.2, 0.4, 0.6000000000000001, 0.8, 1]);
  assert.deepEqual(ticks(-3, 7, 4), [0, 5]);
  for (const [low, high, n] of [
    [0, 0.013, 3],
    [-250, 1e4, 7],
    [1, 1.0001, 4],
  ]) {
    const found = ticks(low, high, n);
    assert.ok(found.length >= 1 && found.length <= n + 1);
    assert.ok(found.every((v) => v >= low - 1e-12 && v <= high + 1e-12));
  }
});

test("logarithmic ticks are powers of ten, with 2 and 5 where there are few", () => {
  assert.deepEqual(logTicks(0, 1), [1, 2, 5, 10]);
  assert.deepEqual(
    logTicks(Math.log10(3.05), Math.log10(3.7)).map((v) => number(v)),
    ["3.2", "3.4", "3.6"],
  );
  assert.deepEqual(logTicks(-2, 1), [0.01, 0.1, 1, 10]);
  assert.ok(logTicks(-20, 20).length <= 5);
});

test("arrow keys walk, Home and End jump, Shift walks far, nothing leaves the row", () => {
  const press = (key, at, how, shiftKey = false) => walked({ key, shiftKey }, at, 9, how);
  assert.equal(press("ArrowRight", 3), 4);
  assert.equal(press("ArrowUp", 3), 4);
  assert.equal(press("ArrowDown", 3, { down: 1 }), 4);
  assert.equal(press("ArrowLeft", 0), 0);
  assert.equal(press("ArrowRight", 3, { far: 10 }, true), 9);
  assert.equal(press("Home", 3), 0);
  assert.equal(press("End", 3), 9);
  assert.equal(press("a", 3), undefined);
  assert.equal(within(12, 9, 4), 9);
  assert.equal(within(1, 9, 4), 4);
});

test("names never run into each other, nor out of the picture", () => {
  const names = places([0, 0, 100, 50]);
  names.take(40, 20, 10, 10);
  assert.deepEqual(
    names.find(20, 10, [
      [35, 25],
      [60, 25],
    ]),
    [60, 25],
  ); // the first is taken
  assert.equal(names.find(20, 10, [[70, 27]]), undefined); // so is that, now
  assert.equal(names.find(20, 10, [[90, 10]]), undefined); // beyond the right edge
  assert.equal(names.find(20, 10, [[10, 3]]), undefined); // beyond the top
  assert.deepEqual(names.find(20, 10, [[75, 38]]), [75, 38]);
  assert.equal(names.find(10, 10, [[63, 38]]), undefined); // two pixels beside a name: both would be read as one
  assert.deepEqual(names.find(10, 10, [[60, 38]]), [60, 38]);
  assert.deepEqual(beside(50, 50, 20), [
    [61, 41],
    [19, 60],
    [61, 60],
    [19, 41],
  ]);
});

test("each sentence ends in one full stop", () => {
  assert.equal(sentences("Title", "it is so.", "Keys", ""), "Title. it is so. Keys.");
  assert.equal(sentences("What?", undefined), "What?");
});

test("text on a colour can be read", () => {
  assert.equal(isLight(255, 255, 0), true);
  assert.equal(isLight(0, 0, 255), false);
  assert.equal(legible(20, 20, 20), "#fff");
  assert.deepEqual(entry(new Uint8Array([1, 2, 3, 4, 5, 6]), 1), [4, 5, 6]);
});

test("a frame is a text and arrays", () => {
  const text = JSON.stringify({ a: { $: "i4", at: 1, n: 8, shape: [2, 1] }, b: [1, null] });
  const head = new TextEncoder().encode(text);
  const bytes = new Uint8Array(4 + head.length + 1 + 8);
  new DataView(bytes.buffer).setUint32(0, head.length, true);
  bytes.set(head, 4);
  bytes.set(new Uint8Array(new Int32Array([7, -1]).buffer), 4 + head.length + 1); // no boundary of any type
  const scene = decode(new DataView(bytes.buffer));
  assert.deepEqual(Array.from(scene.a), [7, -1]);
  assert.deepEqual(scene.a.shape, [2, 1]);
  assert.deepEqual(scene.b, [1, null]);
});

test("an image takes whole pixels of the screen for each of its own", () => {
  assert.equal(wholePixels(300, 256), 256);
  assert.equal(wholePixels(300, 64), 256);
  assert.equal(wholePixels(200, 256), 0);
});

test("an image takes whole or half pixels of the screen for each of its own, where little room is lost by it", () => {
  assert.equal(halfPixels(400, 256), 384);
  assert.equal(halfPixels(400, 256, 2), 384); // three pixels of a fine screen
  assert.equal(halfPixels(256, 256), 256);
  assert.equal(halfPixels(350, 256), 0); // 256 would leave much of it empty
  assert.equal(halfPixels(200, 256), 0);
  assert.equal(halfPixels(200, 256, 2), 192);
});

test("what is written below a plane never runs into each other", () => {
  const plane = { upwards: "KL divergence from the model, nats a token", across: "MiB to run" };
  const at = (room) => captions(plane, room, (text) => text.length);
  assert.deepEqual(at(120), [`↑ ${plane.upwards}, logarithmic`, "MiB to run, logarithmic →"]);
  assert.deepEqual(at(85), [`↑ ${plane.upwards}`, "MiB to run →"]);
  assert.deepEqual(at(60), ["↑ KL divergence", "MiB to run →"]);
});

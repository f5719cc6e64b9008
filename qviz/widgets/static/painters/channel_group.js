// Channels of one group, side by side: bars to scale them by hand, the levels that this leaves to each of their weights,
// and what rounding them costs.
import { ends, rules } from "../layer/axes.js";
import { clipped, dashed, dot, faint, line, sharp } from "../layer/canvas.js";
import { draggable } from "../layer/drag.js";
import { picture } from "../layer/picture.js";
import { ticks } from "../layer/text.js";

const [left, right] = [56, 10];
const BARS = { top: 22, base: 98 };
const LEVELS = { top: 124, base: 256 };
const COSTS = { top: 282, base: 330 };
const [LEAST, MOST] = [-2, 6]; // powers of two that a bar reaches

const across = (group, width) => {
  const cell = (width - left - right) / group.channels.length;
  return { cell, x: (j) => left + (j + 0.5) * cell };
};
const height = (power) => BARS.base - ((BARS.base - BARS.top) * (power - LEAST)) / (MOST - LEAST);
const power = (y) => LEAST + ((BARS.base - y) / (BARS.base - BARS.top)) * (MOST - LEAST);

function title(c, ink, text, y) {
  c.fillStyle = ink.ink;
  c.textAlign = "left";
  c.textBaseline = "bottom";
  c.fillText(text, left, y - 5);
}

// A bar a channel, from 1 up or down, with a knob to take it by.
function bars(c, group, { cell, x }, ink, width, grip) {
  title(c, ink, "scale s: drag a bar", BARS.top);
  rules(c, ink, [0.25, 1, 4, 16, 64], (s) => height(Math.log2(s)), [left, width - right]);
  const [one, half] = [height(0), Math.max(2, cell * 0.3)];
  group.channels.forEach((channel, j) => {
    const y = height(Math.log2(group.scale[j]));
    const colour = j === group.current ? ink.changed : ink.weight;
    c.fillStyle = colour;
    faint(c, 0.45, () => c.fillRect(x(j) - half, Math.min(y, one), 2 * half, Math.max(1, Math.abs(y - one))));
    c.strokeStyle = grip?.id === channel ? ink.ink : ink.card;
    c.fillStyle = colour;
    dot(c, x(j), y, Math.min(6, half));
  });
}

// The levels that a weight may take: without scales at the left of its column, with them at the right.
function ladder(c, y, [from, to], bottom, step, levels, { low, high }) {
  if (Math.abs(y(0) - y(step)) < 2) {
    const [top, base] = [y(Math.min(high, bottom + step * (levels - 1))), y(Math.max(low, bottom))];
    faint(c, 0.3, () => c.fillRect(from, top, to - from, base - top));
    return;
  }
  for (let k = 0; k < levels; k++) {
    const level = bottom + step * k;
    if (level >= low && level <= high) c.fillRect(from, y(level) - 0.75, to - from, 1.5);
  }
}

function ladders(c, group, { cell, x }, ink, width) {
  title(c, ink, "levels of each weight in this row: left as they were, right as they are", LEVELS.top);
  const y = (v) => LEVELS.base - ((LEVELS.base - LEVELS.top) * (v - group.low)) / (group.high - group.low);
  rules(c, ink, ticks(group.low, group.high, 4), y, [left, width - right]);
  const half = cell * 0.42;
  group.channels.forEach((_, j) => {
    c.fillStyle = ink.soft;
    faint(c, 0.75, () => {
      ladder(c, y, [x(j) - half, x(j) - 1], group.bottom_before[j], group.step_before[j], group.levels, group);
    });
    c.fillStyle = ink["level-fill"];
    ladder(c, y, [x(j) + 1, x(j) + half], group.bottom[j], group.step[j], group.levels, group);
    c.strokeStyle = ink.level;
    c.lineWidth = 2;
    clipped(c, left, LEVELS.top, width - left - right, LEVELS.base - LEVELS.top, () => {
      line(c, x(j), y(group.weights[j]), x(j), y(group.rounded[j]));
    });
    c.strokeStyle = ink.card;
    c.fillStyle = ink.weight;
    dot(c, x(j), y(group.weights[j]), Math.min(4, cell * 0.2));
  });
}

// What the rounding of each channel adds to the error of the output, before and after.
function costs(c, group, { cell, x }, ink, width) {
  title(c, ink, "what rounding each channel costs the output, all rows", COSTS.top);
  const most = Math.max(1, ...group.cost);
  const y = (v) => COSTS.base - ((COSTS.base - COSTS.top) * v) / most;
  rules(c, ink, [0, 1], y, [left, width - right], (v) => (v ? "largest" : "0"));
  const half = cell * 0.36;
  group.channels.forEach((_, j) => {
    c.fillStyle = ink.soft;
    faint(c, 0.6, () => {
      c.fillRect(x(j) - half, y(group.cost_before[j]), half - 0.5, COSTS.base - y(group.cost_before[j]));
    });
    c.fillStyle = ink.level;
    c.fillRect(x(j) + 0.5, y(group.cost[j]), half - 0.5, COSTS.base - y(group.cost[j]));
  });
}

function names(c, group, { cell, x }, ink, width) {
  c.textAlign = "center";
  c.textBaseline = "top";
  const every = Math.ceil(38 / cell);
  group.channels.forEach((channel, j) => {
    const near = Math.abs(j - group.current) < every;
    if (j !== group.current && (near || channel % every)) return;
    c.fillStyle = j === group.current ? ink.changed : ink.soft;
    c.fillText(String(channel), x(j), COSTS.base + 6);
  });
  ends(c, ink, COSTS.base + 24, [left, "input channel"], [width - right, ""]);
}

// The figure with one bar elsewhere: its own levels follow at once, those of its neighbours Python works out.
export function scaled(group, channel, to) {
  const j = Array.from(group.channels).indexOf(channel);
  if (j < 0) return group;
  const ratio = group.scale[j] / 2 ** to;
  const changed = (values, value) => values.map((v, i) => (i === j ? value : v));
  return {
    ...group,
    current: j,
    scale: changed(group.scale, 2 ** to),
    step: changed(group.step, group.step[j] * ratio),
    bottom: changed(group.bottom, group.bottom[j] * ratio),
  };
}

export function ChannelGroup(host, view) {
  const it = picture(host, view, {
    height: 370,
    hint: "Up and down scale the channel on show, left and right choose another",
    moves: ["scale", "step", "bottom", "rounded", "cost"],
    draw(c, group, { width, ink, grip }) {
      const place = across(group, width);
      c.fillStyle = ink.changed;
      const [at, wide] = [place.x(group.current) - place.cell / 2, place.cell];
      faint(c, 0.12, () => c.fillRect(at, BARS.top - 4, wide, COSTS.base - BARS.top + 4));
      bars(c, group, place, ink, width, grip);
      ladders(c, group, place, ink, width);
      costs(c, group, place, ink, width);
      names(c, group, place, ink, width);
      c.strokeStyle = ink.soft;
      c.lineWidth = 1;
      dashed(c, [4, 3], () => line(c, left, sharp(height(0)), width - right, sharp(height(0))));
    },
  });
  draggable(it, view, {
    along: "y",
    things(group, { width }) {
      const { x } = across(group, width);
      const all = Array.from(group.channels, (id, j) => {
        const value = Math.log2(group.scale[j]);
        return { id, value, range: [LEAST, MOST], step: 0.25, x: x(j), y: height(value) };
      });
      return [...all.slice(group.current), ...all.slice(0, group.current)]; // the one on show is the first to be taken
    },
    value: ({ y }) => power(y),
    held: scaled,
    order: (channel, value) => ({ event: "hand", channel, scale: Number((2 ** value).toPrecision(3)) }),
  });
  return it;
}

// The range of every input channel, of inputs above and of weights below, as it was and as it became.
import { rules } from "../layer/axes.js";
import { dashed, dot, line, sharp } from "../layer/canvas.js";
import { picture } from "../layer/picture.js";
import { logTicks, number } from "../layer/text.js";

const [left, right, tall, gap, top] = [64, 14, 54, 25, 18];
const foot = top + 2 * tall + gap;

// The few largest channels are what it is about: they get more room.
const bend = (n, i) => Math.log1p(i / 4) / Math.log1p(n / 4);

// The ends of a logarithmic row; nothing below a thousandth of the largest gets room.
function range(values) {
  const known = Array.from(values).filter((v) => v > 0 && Number.isFinite(v));
  if (!known.length) return [-1, 0];
  const most = Math.log10(Math.max(...known));
  const low = Math.max(Math.log10(Math.min(...known)), most - 3);
  return [low - 0.12, Math.max(most + 0.1, low + 0.3)];
}

function side(c, k, title, before, after, edge, width, ink) {
  const y0 = top + k * (tall + gap);
  const base = y0 + tall;
  const [low, high] = range([...before, ...after]);
  const y = (v) => base - (tall * (Math.max(low, v > 0 ? Math.log10(v) : low) - low)) / (high - low);
  c.textBaseline = "bottom";
  c.textAlign = "left";
  c.fillStyle = ink.ink;
  c.fillText(title, left, y0 - 2);
  rules(c, ink, logTicks(low, high), y, [left, width - right], (v) => number(v, 2, 1e-3));
  before.forEach((v, i) => {
    const room = edge(i + 1) - edge(i);
    c.fillStyle = ink.soft;
    c.globalAlpha = 0.55;
    c.fillRect(edge(i), y(v), Math.max(1, room - (room > 3 ? 1.5 : 0)), base - y(v));
    c.globalAlpha = 1;
  });
  c.fillStyle = ink.weight;
  after.forEach((v, i) => dot(c, (edge(i) + edge(i + 1)) / 2, y(v), edge(i + 1) - edge(i) > 6 ? 3 : 1.6, false));
  c.lineWidth = 1.5;
  for (const [values, colour] of [
    [before, ink.soft],
    [after, ink.weight],
  ]) {
    c.strokeStyle = colour;
    const at = sharp(y(Math.max(...values)));
    dashed(c, [6, 4], () => line(c, left, at, width - right, at));
  }
}

export function ChannelRanges(host, view) {
  return picture(host, view, {
    height: foot + 26,
    draw(c, ranges, { width, ink }) {
      const n = ranges.order.length;
      const edge = (i) => left + (width - left - right) * bend(n, i);
      const sides = [
        ["inputs: largest |x| of each channel", ranges.inputs_before, ranges.inputs_after],
        ["weights: largest |w| that meets it", ranges.weights_before, ranges.weights_after],
      ];
      sides.forEach(([title, before, after], k) => side(c, k, title, before, after, edge, width, ink));
      c.textBaseline = "top";
      c.fillStyle = ink.soft;
      c.textAlign = "left";
      c.fillText("largest inputs", left, foot + 8);
      c.textAlign = "right";
      c.fillText("smallest inputs", width - right, foot + 8);
    },
  });
}

// Size, step and cost of every input channel, in three rows over one axis.
import { rules } from "../layer/axes.js";
import { clipped, dashed, dot, line, sharp } from "../layer/canvas.js";
import { chosen } from "../layer/keys.js";
import { picture } from "../layer/picture.js";
import { logTicks, number } from "../layer/text.js";

const [left, right, tall, gap, top] = [64, 12, 82, 30, 18];
const foot = top + 3 * tall + 2 * gap;

// Sorted by size, the first few are what it is all about: they get more room.
const bend = (tracks, i) =>
  tracks.sorted ? Math.log1p(i / 4) / Math.log1p(tracks.order.length / 4) : i / tracks.order.length;

// The ends of a logarithmic row; a few channels that hardly matter may not squeeze the others.
function range(values, least) {
  const known = Array.from(values)
    .filter((v) => v > 0 && Number.isFinite(v))
    .map(Math.log10)
    .sort((a, b) => a - b);
  if (!known.length) return [-1, 0];
  const most = known[known.length - 1];
  const low = Math.max(known[0], most - least);
  return [low - 0.08, Math.max(most + 0.08, low + 0.3)];
}

// One of the three rows: its title, its grid, the edges of groups, and what `draw` puts into it.
function track(c, k, title, [low, high], tracks, edge, width, ink, draw) {
  const y0 = top + k * (tall + gap);
  const y = (v) => y0 + tall - (tall * (Math.max(low, v > 0 ? Math.log10(v) : low) - low)) / (high - low);
  c.textBaseline = "bottom";
  c.textAlign = "left";
  c.fillStyle = ink.ink;
  c.fillText(title, left, y0 - 2);
  rules(c, ink, logTicks(low, high), y, [left, width - right], (v) => number(v, 2, 1e-3));
  c.strokeStyle = ink.soft;
  dashed(c, [2, 4], () => {
    for (const first of tracks.edges) line(c, sharp(edge(first)), y0, sharp(edge(first)), y0 + tall);
  });
  clipped(c, left, y0 - 4, width - left - right, tall + 8, () => draw(y, y0 + tall));
}

function rows(c, tracks, edge, width, ink) {
  const x = (i) => (edge(i) + edge(i + 1)) / 2;
  const wide = (i) => {
    const room = edge(i + 1) - edge(i);
    return Math.max(1, room - (room > 3 ? 1.5 : 0.3));
  };
  const salient = new Set(tracks.salient);
  const each = tracks.order.map((_, i) => i);
  const point = (i, y, colour, radius) => {
    c.fillStyle = colour;
    dot(c, x(i), y, radius, false);
  };
  track(c, 0, "mean |x|", range(tracks.size, 4), tracks, edge, width, ink, (y, base) =>
    each.forEach((i) => {
      const at = y(tracks.size[i]);
      c.fillStyle = salient.has(i) ? ink.changed : ink.soft;
      c.fillRect(x(i) - wide(i) / 2, at, wide(i), base - at);
      if (salient.has(i)) point(i, at, ink.changed, 3);
    }),
  );
  const steps = range([...tracks.step, 1], 3);
  track(c, 1, "distance of levels, before = 1", steps, tracks, edge, width, ink, (y) => {
    const one = y(1);
    each.forEach((i) => {
      const at = y(tracks.step[i]);
      c.fillStyle = ink.weight;
      c.globalAlpha = 0.75;
      c.fillRect(x(i) - wide(i) / 2, Math.min(at, one), wide(i), Math.max(1, Math.abs(at - one)));
      c.globalAlpha = 1;
      if (salient.has(i)) point(i, at, ink.changed, 3);
    });
    c.strokeStyle = ink.level;
    c.lineWidth = 1.5;
    line(c, left, one, width - right, one);
  });
  const cost = "cost: share of the output that its rounding alone would lose";
  track(c, 2, cost, range([...tracks.before, ...tracks.after], 4), tracks, edge, width, ink, (y) =>
    each.forEach((i) => {
      const [from, to] = [y(tracks.before[i]), y(tracks.after[i])];
      c.strokeStyle = ink.soft;
      c.globalAlpha = 0.45;
      c.lineWidth = Math.min(1.2, wide(i));
      line(c, x(i), from, x(i), to);
      c.globalAlpha = 1;
      point(i, from, ink.level, salient.has(i) ? 3.5 : 1.5);
      point(i, to, ink.weight, salient.has(i) ? 3.5 : 1.5);
    }),
  );
  return x(tracks.current);
}

// The channel on show, through all three rows; words at both ends of the axis, where its name leaves room.
function current(c, tracks, at, width, ink) {
  c.strokeStyle = ink.ink;
  c.lineWidth = 1;
  dashed(c, [5, 3], () => line(c, at, top, at, foot));
  c.textBaseline = "top";
  c.fillStyle = ink.ink;
  const name = `channel ${tracks.order[tracks.current]}`;
  const half = c.measureText(name).width / 2;
  c.textAlign = "center";
  c.fillText(name, Math.min(width - right - half, Math.max(left + half, at)), foot + 8);
  const words = tracks.edges.length ? ["first channel", "last channel"] : ["largest inputs", "smallest inputs"];
  const [first, last] = words.map((text) => c.measureText(text).width);
  c.fillStyle = ink.soft;
  c.textAlign = "left";
  if (left + first < at - half - 8) c.fillText(words[0], left, foot + 8);
  c.textAlign = "right";
  if (width - right - last > at + half + 8) c.fillText(words[1], width - right, foot + 8);
}

export function ChannelTracks(host, view) {
  const it = picture(host, view, {
    height: 3 * tall + 3 * gap + top + 10,
    hint: "Arrow keys choose a channel",
    draw(c, tracks, { width, ink }) {
      const edge = (i) => left + (width - left - right) * bend(tracks, i);
      const at = rows(c, tracks, edge, width, ink);
      current(c, tracks, sharp(at), width, ink);
    },
  });
  it.canvas.style.cursor = "pointer";
  chosen(it.canvas, view, {
    far: 10,
    at: () => [it.figure.current, it.figure.order.length - 1],
    pick: (place) => {
      const share = (place.x - left) / (place.width - left - right);
      let at = 0;
      while (at < it.figure.order.length - 1 && bend(it.figure, at + 1) < share) at++;
      return at;
    },
    order: (place) => ({ event: "channel", place }),
  });
  return it;
}

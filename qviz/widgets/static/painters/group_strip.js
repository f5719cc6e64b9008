// One row of values above, their errors below, group by group.
import { ends } from "../layer/axes.js";
import { dashed, faint, line } from "../layer/canvas.js";
import { chosen } from "../layer/keys.js";
import { patched } from "../layer/labels.js";
import { picture } from "../layer/picture.js";
import { number } from "../layer/text.js";

const [left, right, top, middle, roof, base] = [56, 10, 18, 74, 150, 214];
const reach = middle - top;

const across = (strip, width) => (column) => left + ((width - left - right) * column) / strip.values.length;

// The values as bars. An outlier would flatten all others: what leaves the frame ends in its number.
function values(c, strip, x, frame, bar, width, ink) {
  strip.values.forEach((value, i) => {
    const on = i === strip.column;
    const colour = on ? ink.changed : ink.weight;
    const height = reach * Math.max(-1, Math.min(1, value / frame));
    const wide = on ? Math.max(bar, 3) : bar;
    c.fillStyle = colour;
    c.fillRect(x(i + 0.5) - wide / 2, Math.min(middle, middle - height), wide, Math.max(0.6, Math.abs(height)));
    if (!on && Math.abs(value) <= 2 * frame) return;
    const beyond = Math.abs(value) > 1.02 * frame;
    const up = value > 0;
    const at = beyond ? (up ? top - 7 : middle + reach + 9) : up ? middle + 12 : middle - 12;
    const long = c.measureText(number(value)).width;
    const start = x(i) > width - 80 ? x(i + 0.5) + 4 - long : x(i + 0.5) - 4;
    patched(c, number(value), start, at, ink, { colour, alpha: 0.75 });
  });
}

// The error of each value, and a line for the noise of each group; a value that was multiplied does not set the scale.
function errors(c, strip, x, bar, width, ink) {
  const n = strip.values.length;
  const off = Array.from(strip.values, (value, i) => Math.abs(strip.rounded[i] - value));
  const touched = strip.values[strip.column] !== Math.fround(strip.original);
  const most = Math.max(...off.filter((_, i) => !touched || i !== strip.column), strip.quiet, 1e-30) * 1.05;
  const y = (error) => base - (base - roof) * Math.min(1, error / most);
  faint(c, 0.65, () =>
    off.forEach((error, i) => {
      c.fillStyle = touched && i === strip.column ? ink.changed : ink["level-fill"];
      c.fillRect(x(i + 0.5) - bar / 2, y(error), bar, base - y(error));
    }),
  );
  c.strokeStyle = ink.level;
  c.lineWidth = 2.5;
  strip.starts.forEach((from, g) => {
    line(c, x(from) + 1, y(strip.noise[g]), x(strip.starts[g + 1] ?? n) - 1, y(strip.noise[g]));
  });
  c.strokeStyle = ink.ink;
  c.lineWidth = 1.25;
  if (touched) dashed(c, [4, 3], () => line(c, left, y(strip.quiet), width - right, y(strip.quiet)));
  const said = touched ? "error of each; dashed: of the whole row before" : "error of each";
  ends(c, ink, base + 6, [left + 2, said], [width - right, `column ${strip.column} of ${n}`]);
  return most;
}

export function GroupStrip(host, view) {
  const it = picture(host, view, {
    height: 240,
    moves: ["values", "rounded", "steps", "noise", "quiet"],
    hint: "Arrow keys pick another",
    draw(c, strip, { width, ink }) {
      const x = across(strip, width);
      const n = strip.values.length;
      // every other group on a band, so that borders need no lines
      c.fillStyle = ink.line;
      faint(c, 0.5, () =>
        strip.starts.forEach((from, g) => {
          if (g % 2) c.fillRect(x(from), 4, x(strip.starts[g + 1] ?? n) - x(from), base - 4);
        }),
      );
      const sizes = Array.from(strip.values, Math.abs).sort((a, b) => a - b);
      const frame = Math.max(1e-30, Math.min(sizes[n - 1], 2.2 * sizes[Math.floor(0.98 * (n - 1))]));
      const bar = Math.max(0.8, Math.min(8, ((width - left - right) / n) * 0.7));
      values(c, strip, x, frame, bar, width, ink);
      c.strokeStyle = ink.soft;
      c.lineWidth = 1;
      line(c, left, middle + 0.5, width - right, middle + 0.5);
      line(c, left, base + 0.5, width - right, base + 0.5);
      const most = errors(c, strip, x, bar, width, ink);
      c.fillStyle = ink.soft;
      c.textBaseline = "middle";
      c.textAlign = "right";
      for (const [text, y] of [
        [number(frame, 2), top + 2],
        ["0", middle],
        [number(-frame, 2), middle + reach - 2],
        [number(most, 2), roof + 2],
        ["0", base - 2],
      ]) {
        c.fillText(text, left - 6, y);
      }
    },
  });
  chosen(it.canvas, view, {
    far: 16,
    at: () => [it.figure.column, it.figure.values.length - 1],
    pick: (place) => {
      const x = across(it.figure, place.width);
      const n = it.figure.values.length;
      return Math.floor(((place.x - x(0)) / (x(n) - x(0))) * n);
    },
    order: (column) => ({ event: "column", column }),
  });
  return it;
}

// Values as a hill; the levels of a codebook run down from where they began; below, the levels of others.
import { axis, hill } from "../layer/axes.js";
import { dot, faint, lines, polyline, sharp } from "../layer/canvas.js";
import { picture } from "../layer/picture.js";

const [top, base, start, end, bars, row] = [10, 112, 122, 204, 236, 31];

const range = (n) => Array.from({ length: n }, (_, i) => i);

// The way of each level: time runs downwards.
function ways(c, figure, x, level, down, ink) {
  const [, n] = figure.paths.shape;
  c.strokeStyle = ink.level;
  c.lineWidth = n > 20 ? 1 : 1.5;
  faint(c, 0.6, () => {
    for (let i = 0; i < n; i++) {
      polyline(
        c,
        range(figure.current + 1).map((k) => [x(level(k, i)), down(k)]),
      );
    }
  });
  c.lineWidth = 1;
  const now = range(n).map((i) => x(level(figure.current, i)));
  const between = now.flatMap((at) => [
    [at, base, at, start], // from the hill into the picture of time
    [at, down(figure.current), at, bars],
  ]);
  faint(c, 0.35, () => lines(c, between));
}

// How many values each level has now.
function uses(c, figure, x, level, down, width, ink) {
  const [, n] = figure.paths.shape;
  const at = range(n).map((i) => x(level(figure.current, i)));
  const gap = at.reduce((least, here, i) => (i ? Math.min(least, here - at[i - 1]) : least), width);
  const most = figure.used.reduce((a, b) => Math.max(a, b), 1);
  const wide = Math.min(14, Math.max(2, gap - 2));
  for (let i = 0; i < n; i++) {
    const height = figure.used[i] ? Math.max(1.5, (bars - end - 8) * (figure.used[i] / most)) : 0;
    c.fillStyle = ink["level-fill"];
    c.fillRect(at[i] - wide / 2, bars - height, wide, height);
    c.fillStyle = ink.level;
    c.strokeStyle = ink.card;
    dot(c, at[i], down(figure.current), gap < 7 ? 2.5 : 4);
  }
}

// The levels of others: combs, each under its name.
function combs(c, figure, x, ink) {
  c.textAlign = "left";
  c.textBaseline = "middle";
  figure.names.forEach((name, i) => {
    const head = bars + 12 + i * row;
    c.strokeStyle = ink.ink;
    c.lineWidth = 1.5;
    const tooth = (value) => [sharp(x(value)), head + 12, sharp(x(value)), head + 25];
    faint(c, 0.85, () => lines(c, Array.from(figure.others[i], tooth)));
    c.fillStyle = ink.ink;
    c.fillText(name, 2, head + 5);
  });
}

export function LloydPicture(host, view) {
  return picture(host, view, {
    height: 300,
    tall: (figure) => bars + 46 + figure.names.length * row,
    draw(c, figure, { width, ink }) {
      const { low, high } = figure.values;
      const x = (value) => ((value - low) / (high - low)) * width;
      const [steps, n] = figure.paths.shape;
      const level = (step, i) => figure.paths[step * n + i];
      const down = (k) => start + ((end - start) * k) / Math.max(1, steps - 1);
      // where the nearest level changes
      c.strokeStyle = ink.line;
      c.lineWidth = 1;
      lines(
        c,
        Array.from(figure.edges, (edge) => [sharp(x(edge)), top, sharp(x(edge)), base]),
      );
      hill(c, x, figure.values, [top, base], ink.soft, 0.3, ink.soft);
      ways(c, figure, x, level, down, ink);
      uses(c, figure, x, level, down, width, ink);
      c.fillStyle = ink.soft;
      c.textBaseline = "top";
      c.textAlign = "left";
      c.fillText("start", 2, start);
      combs(c, figure, x, ink);
      axis(c, x, low, high, bars + 16 + figure.names.length * row, width, ink);
    },
  });
}

// Weights above, levels below: each weight is joined to the level that it is rounded to.
import { area, axis } from "../layer/axes.js";
import { dot, faint, lines, sharp } from "../layer/canvas.js";
import { picture } from "../layer/picture.js";
import { minus } from "../layer/text.js";

const [sky, dots, ground, floor] = [54, 72, 124, 164];

// Levels run up through the picture; below each stands how many weights of the group it gets, and its code.
function levels(c, figure, x, gap, ink) {
  const most = figure.used.reduce((a, b) => Math.max(a, b), 1);
  const bar = Math.min(22, Math.max(1, gap - 2));
  c.fillStyle = ink["level-fill"];
  figure.used.forEach((used, i) => {
    const height = used ? Math.max(2, ((floor - ground - 8) * used) / most) : 0;
    c.fillRect(x(figure.levels[i]) - bar / 2, ground + 6, bar, height);
  });
  c.fillStyle = ink.level;
  c.strokeStyle = ink.card;
  for (const level of figure.levels) dot(c, x(level), ground, gap < 6 ? 1.5 : 4, gap >= 6);
  c.fillStyle = ink.level;
  c.textAlign = "center";
  c.textBaseline = "top";
  const every = 2 ** Math.max(0, Math.ceil(Math.log2(30 / gap)));
  figure.codes.forEach((code, i) => {
    if (i % every === 0) c.fillText(minus(String(code)), x(figure.levels[i]), floor + 4);
  });
}

// Names above dots, in lines one above the other where they would run into each other.
function nameDots(c, values, x, y, { names, current }, width, ink) {
  c.textBaseline = "bottom";
  c.textAlign = "center";
  const free = [];
  for (const i of Array.from(values.keys()).sort((a, b) => values[a] - values[b])) {
    c.font = i === current ? `bold ${ink.font}` : ink.font;
    const half = c.measureText(names[i]).width / 2;
    const at = Math.min(width - half, Math.max(half, x(values[i])));
    let row = free.findIndex((end) => end < at - half - 6);
    if (row < 0) row = free.length;
    free[row] = at + half;
    c.fillStyle = i === current ? ink.weight : ink.soft;
    c.fillText(names[i], at, y - 17 * row);
  }
  c.font = ink.font;
}

export function NumberLine(host, view) {
  return picture(host, view, {
    height: 222,
    draw(c, figure, { width, ink, panel }) {
      const { low, high } = figure.density;
      const x = (value) => ((value - low) / (high - low)) * width;
      const named = panel.options?.names ? panel.options : null; // the dots, where they are few and known
      if (!named) area(c, x, figure.density, sky, sky - 6, { colour: ink.soft, alpha: 0.22 }, ink.soft);
      const gap = figure.levels.length > 1 ? x(figure.levels[1]) - x(figure.levels[0]) : width;
      c.strokeStyle = ink.level;
      c.lineWidth = 1;
      const upright = (level) => [sharp(x(level)), sky + 4, sharp(x(level)), ground];
      faint(c, gap < 6 ? 0.18 : 0.35, () => lines(c, Array.from(figure.levels, upright)));
      c.strokeStyle = ink.weight;
      c.lineWidth = 1.25;
      const way = (weight, i) => [x(weight), dots, x(figure.snapped[i]), ground];
      faint(c, 0.75, () => lines(c, Array.from(figure.weights, way)));
      c.fillStyle = ink.weight;
      c.strokeStyle = ink.card;
      figure.weights.forEach((weight, i) => dot(c, x(weight), dots, named?.current === i ? 6 : 4));
      if (named) nameDots(c, figure.weights, x, dots - 18, named, width, ink);
      levels(c, figure, x, gap, ink);
      axis(c, x, low, high, 192, width, ink);
    },
  });
}

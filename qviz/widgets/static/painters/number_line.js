import { area, axis, dot } from "../layer/axes.js";
import { surface } from "../layer/surface.js";
import { minus } from "../layer/text.js";

export function NumberLine(host, view) {
  let line;
  let names; // of the dots, where they are few and known; and which of them is meant
  const { canvas, redraw } = surface(272, (c, width) => {
    if (!line) return;
    const ink = view.ink();
    const { low, high } = line.density;
    const x = (value) => ((value - low) / (high - low)) * width;
    const [sky, dots, ground, floor] = [74, 96, 158, 206];

    if (!names) area(c, x, line.density, sky, sky - 6, { colour: ink.soft, alpha: 0.22 }, ink.soft);

    // levels run up through the picture: the grid that weights fall onto
    const n = line.levels.length;
    const gap = n > 1 ? x(line.levels[1]) - x(line.levels[0]) : width;
    c.strokeStyle = ink.level;
    c.lineWidth = 1;
    c.globalAlpha = gap < 6 ? 0.18 : 0.35;
    c.beginPath();
    for (const level of line.levels) {
      const at = Math.round(x(level)) + 0.5;
      c.moveTo(at, sky + 4);
      c.lineTo(at, ground);
    }
    c.stroke();
    c.globalAlpha = 1;

    // each sampled weight, its fall, its level
    c.strokeStyle = ink.weight;
    c.lineWidth = 1.25;
    c.globalAlpha = 0.75;
    c.beginPath();
    line.weights.forEach((weight, i) => {
      c.moveTo(x(weight), dots);
      c.lineTo(x(line.snapped[i]), ground);
    });
    c.stroke();
    c.globalAlpha = 1;
    c.fillStyle = ink.weight;
    c.strokeStyle = ink.card;
    line.weights.forEach((weight, i) => dot(c, x(weight), dots, names?.current === i ? 6 : 4));
    if (names) nameDots(c, line.weights, x, dots - 18, names, width, ink);

    // how many weights of the group land on each level
    let most = 1;
    for (const used of line.used) most = Math.max(most, used);
    const bar = Math.min(22, Math.max(1, gap - 2));
    c.fillStyle = ink["level-fill"];
    line.used.forEach((used, i) => {
      const height = used ? Math.max(2, ((floor - ground - 8) * used) / most) : 0;
      c.fillRect(x(line.levels[i]) - bar / 2, ground + 6, bar, height);
    });
    c.fillStyle = ink.level;
    c.strokeStyle = ink.card;
    const radius = gap < 6 ? 1.5 : 4;
    for (const level of line.levels) dot(c, x(level), ground, radius, gap >= 6);

    // codes, as many as fit
    c.font = ink.font;
    c.fillStyle = ink.level;
    c.textAlign = "center";
    c.textBaseline = "top";
    const every = 2 ** Math.max(0, Math.ceil(Math.log2(30 / gap)));
    line.codes.forEach((code, i) => {
      if (i % every === 0) c.fillText(minus(String(code)), x(line.levels[i]), floor + 4);
    });
    axis(c, x, low, high, 240, width, ink);
  });
  host.append(canvas);
  return {
    show(panel) {
      line = panel.figure;
      names = panel.options?.names ? panel.options : null;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}`);
      redraw();
    },
    redraw,
  };
}

// Names above dots, in lines one above the other where they would run into each other.
function nameDots(c, values, x, y, { names, current }, width, ink) {
  c.textBaseline = "bottom";
  c.textAlign = "center";
  const free = [];
  const order = Array.from(values.keys()).sort((a, b) => values[a] - values[b]);
  for (const i of order) {
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

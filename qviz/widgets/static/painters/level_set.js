// The values as a hill, the levels as stems: as high as many values are rounded to them.
import { area, axis } from "../layer/axes.js";
import { dot, lines } from "../layer/canvas.js";
import { picture } from "../layer/picture.js";

const base = 100;

export function LevelSet(host, view) {
  return picture(host, view, {
    height: 132,
    draw(c, set, { width, ink }) {
      const { low, high } = set.density;
      const x = (value) => ((value - low) / (high - low)) * width;
      area(c, x, set.density, base, base - 10, { colour: ink.soft, alpha: 0.22 }, ink.soft);
      const most = Math.max(1, ...set.used);
      const n = set.levels.length;
      c.strokeStyle = ink.level;
      c.fillStyle = ink.level;
      c.lineWidth = n > 64 ? 1 : n > 16 ? 1.5 : 2.5;
      const stem = (level, i) => [x(level), base, x(level), base - ((base - 10) * set.used[i]) / most];
      lines(c, Array.from(set.levels, stem));
      c.strokeStyle = ink.card;
      for (const level of n <= 64 ? set.levels : []) dot(c, x(level), base, n > 16 ? 2.5 : 4);
      axis(c, x, low, high, base + 4, width, ink);
    },
  });
}

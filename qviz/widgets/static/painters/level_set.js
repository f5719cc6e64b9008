import { area, axis, dot } from "../layer/axes.js";
import { surface } from "../layer/surface.js";

// The values as a hill, the levels as stems: as high as many values fall onto them.
export function LevelSet(host, view) {
  let set;
  const { canvas, redraw } = surface(132, (c, width) => {
    if (!set) return;
    const ink = view.ink();
    const { low, high } = set.density;
    const x = (value) => ((value - low) / (high - low)) * width;
    const base = 100;
    area(c, x, set.density, base, base - 10, { colour: ink.soft, alpha: 0.22 }, ink.soft);
    const most = Math.max(1, ...set.used);
    const n = set.levels.length;
    c.strokeStyle = ink.level;
    c.fillStyle = ink.level;
    c.lineWidth = n > 64 ? 1 : n > 16 ? 1.5 : 2.5;
    c.beginPath();
    set.levels.forEach((level, i) => {
      const at = x(level);
      c.moveTo(at, base);
      c.lineTo(at, base - ((base - 10) * set.used[i]) / most);
    });
    c.stroke();
    if (n <= 64) {
      c.strokeStyle = ink.card;
      for (const level of set.levels) dot(c, x(level), base, n > 16 ? 2.5 : 4);
    }
    axis(c, x, low, high, base + 4, width, ink);
  });
  host.append(canvas);
  return {
    show(panel) {
      set = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}: ${panel.label}`);
      redraw();
    },
    redraw,
  };
}

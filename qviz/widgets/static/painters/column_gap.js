import { role } from "../layer/colour.js";
import { surface } from "../layer/surface.js";
import { number, ticks } from "../layer/text.js";

// How far two matrices are apart in each column; lines between blocks.
export function ColumnGap(host, view) {
  let gap;
  const [left, right, top, base] = [46, 10, 10, 130];
  const { canvas, redraw } = surface(160, (c, width) => {
    if (!gap) return;
    const ink = view.ink();
    const n = gap.gap.length;
    const finite = Array.from(gap.gap).filter((v) => Number.isFinite(v));
    const most = Math.max(1e-6, ...finite) * 1.08;
    const x = (column) => left + ((width - left - right) * column) / n;
    const y = (value) => base - ((base - top) * value) / most;
    c.font = ink.font;
    c.lineWidth = 1;
    // blocks, as long as there is room between their lines
    const every = Math.max(1, Math.ceil(5 / ((x(gap.block) - x(0)) || 1)));
    c.strokeStyle = ink.line;
    c.beginPath();
    for (let column = 0; column <= n; column += gap.block * every) {
      const at = Math.round(x(column)) + 0.5;
      c.moveTo(at, top);
      c.lineTo(at, base);
    }
    c.stroke();
    c.fillStyle = ink.soft;
    c.strokeStyle = ink.line;
    c.textAlign = "right";
    c.textBaseline = "middle";
    for (const value of finite.length ? ticks(0, most, 3) : []) {
      const at = Math.round(y(value)) + 0.5;
      c.beginPath();
      c.moveTo(left, at);
      c.lineTo(width - right, at);
      c.stroke();
      c.fillText(number(value, 2), left - 7, at);
    }
    // one bar a column, or as many columns as share a pixel
    const broken = role(host, "changed");
    const across = Math.max(1, x(1) - x(0));
    for (let column = 0; column < n; column++) {
      const value = gap.gap[column];
      const isBroken = !Number.isFinite(value);
      const height = isBroken ? base - top : base - y(value);
      c.fillStyle = isBroken ? broken : ink.level;
      if (height > 0) c.fillRect(x(column), base - Math.max(height, 1), across, Math.max(height, 1));
    }
    c.strokeStyle = ink.soft;
    c.beginPath();
    c.moveTo(left, base + 0.5);
    c.lineTo(width - right, base + 0.5);
    c.stroke();
    c.fillStyle = ink.soft;
    c.textBaseline = "top";
    c.textAlign = "center";
    let free = -Infinity;
    const end = width - right - c.measureText("input column →").width - 14;
    for (let column = 0; column <= n; column += gap.block) {
      const at = x(column);
      const half = c.measureText(String(column)).width / 2;
      if (at - half < free || at + half > end) continue;
      c.fillText(String(column), at, base + 7);
      free = at + half + 16;
    }
    c.textAlign = "right";
    c.fillText("input column →", width - right, base + 7);
  });
  host.append(canvas);
  return {
    show(panel) {
      gap = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}: ${panel.label}.`);
      redraw();
    },
    redraw,
  };
}

// How far two matrices are apart in each column; lines between blocks.
import { rules } from "../../../widgets/static/layer/axes.js";
import { line, sharp } from "../../../widgets/static/layer/canvas.js";
import { picture } from "../../../widgets/static/layer/picture.js";
import { number, ticks } from "../../../widgets/static/layer/text.js";

const [left, right, top, base] = [46, 10, 10, 130];

export function ColumnGap(host, view) {
  return picture(host, view, {
    height: 160,
    draw(c, gap, { width, ink }) {
      const n = gap.gap.length;
      const finite = Array.from(gap.gap).filter((v) => Number.isFinite(v));
      const most = Math.max(1e-6, ...finite) * 1.08;
      const x = (column) => left + ((width - left - right) * column) / n;
      const y = (value) => base - ((base - top) * value) / most;
      // blocks, as long as there is room between their lines
      const every = Math.max(1, Math.ceil(5 / (x(gap.block) - x(0) || 1)));
      c.strokeStyle = ink.line;
      c.lineWidth = 1;
      for (let column = 0; column <= n; column += gap.block * every) {
        line(c, sharp(x(column)), top, sharp(x(column)), base);
      }
      rules(c, ink, finite.length ? ticks(0, most, 3) : [], y, [left, width - right], (v) => number(v, 2), 7);
      // one bar a column, or as many columns as share a pixel
      const across = Math.max(1, x(1) - x(0));
      gap.gap.forEach((value, column) => {
        const broken = !Number.isFinite(value);
        const height = broken ? base - top : base - y(value);
        c.fillStyle = broken ? ink.changed : ink.level;
        if (height > 0) c.fillRect(x(column), base - Math.max(height, 1), across, Math.max(height, 1));
      });
      c.strokeStyle = ink.soft;
      line(c, left, base + 0.5, width - right, base + 0.5);
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
    },
  });
}

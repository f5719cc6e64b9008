// Row i of U as bars; what the explicit formula gives, as points on their tips.
import { ends, rules, wholes } from "../layer/axes.js";
import { line } from "../layer/canvas.js";
import { picture } from "../layer/picture.js";
import { clicked, stepped, waiting } from "../layer/steps.js";
import { number, ticks } from "../layer/text.js";

const [left, right, top, base] = [56, 10, 10, 96];
const middle = (top + base) / 2;

export function PullRow(host, view) {
  const it = picture(host, view, {
    height: 138,
    hint: "Arrow keys choose a column",
    draw(c, pull, { width, ink }) {
      const n = pull.pull.length;
      const cell = (width - left - right) / n;
      const x = (j) => left + j * cell;
      const y = (v) => middle - ((base - top) / 2) * Math.min(1, Math.max(-1, v / (1.1 * pull.limit)));
      waiting(c, x(pull.waits), width - right, top, base - top, ink, "");
      const values = ticks(-1.1 * pull.limit, 1.1 * pull.limit, 6);
      rules(c, ink, values, y, [left, width - right], (v) => `${number(100 * v)} %`, 6);
      const wide = Math.max(1, cell - (cell > 3 ? 1 : 0));
      c.fillStyle = ink.weight;
      pull.pull.forEach((v, j) => c.fillRect(x(j), Math.min(middle, y(-v)), wide, Math.abs(y(-v) - middle)));
      c.fillStyle = ink.level;
      const size = Math.max(2.2, Math.min(4, cell * 0.8));
      pull.explicit.forEach((v, j) => {
        if (j > pull.column) c.fillRect(x(j) + wide / 2 - size / 2, y(-v) - size / 2, size, size);
      });
      c.strokeStyle = ink.ink;
      c.lineWidth = 2;
      line(c, x(pull.column) + wide / 2, top, x(pull.column) + wide / 2, base);
      wholes(c, ink, n - 1, (j) => x(j) + wide / 2, base + 6, width);
      ends(c, ink, base + 26, [left, "column, in processing order →"]);
    },
  });
  const n = () => it.figure.pull.length;
  stepped(it.canvas, view, () => ({ column: it.figure.column, row: -1, n: n() }));
  clicked(it.canvas, view, ({ x, width }) => {
    const j = Math.floor(((x - left) / (width - left - right)) * n());
    return j >= 0 && j < n() ? j : undefined;
  });
  return it;
}

// Two running losses; what is past in full strength, what is to come faint.
import { ends, percent, rules, wholes } from "../layer/axes.js";
import { clipped, dot, faint, line, polyline } from "../layer/canvas.js";
import { within } from "../layer/keys.js";
import { picture } from "../layer/picture.js";
import { clicked, stepped } from "../layer/steps.js";
import { ticks } from "../layer/text.js";

const [left, right, top, base] = [56, 10, 10, 96];

export function LossRace(host, view) {
  const it = picture(host, view, {
    height: 138,
    hint: "Arrow keys choose a column",
    draw(c, race, { width, ink }) {
      const n = race.ours.length;
      const known = [...race.ours, ...race.nearest].filter(Number.isFinite);
      const most = Math.min(Math.max(1, ...known), 4) * 1.06; // a loss that explodes leaves the picture; a readout says how far
      const x = (j) => left + ((width - left - right) * j) / Math.max(1, n - 1);
      const y = (v) => base - ((base - top) * v) / most;
      rules(c, ink, ticks(0, most, 5), y, [left, width - right], percent, 6);
      clipped(c, left - 2, top - 6, width - left - right + 4, base - top + 8, () => {
        for (const [values, colour] of [
          [race.nearest, ink.level],
          [race.ours, ink.weight],
        ]) {
          const points = Array.from(values, (v, j) => [x(j), y(v)]);
          c.strokeStyle = colour;
          c.lineWidth = 1.5;
          faint(c, 0.35, () => polyline(c, points.slice(race.column)));
          c.lineWidth = 2.5;
          polyline(c, points.slice(0, race.column + 1));
          c.fillStyle = colour;
          c.strokeStyle = ink.card;
          dot(c, ...points[race.column], 5);
        }
      });
      c.strokeStyle = ink.soft;
      c.lineWidth = 1;
      line(c, x(race.column), top, x(race.column), base);
      wholes(c, ink, n - 1, x, base + 6, width);
      ends(c, ink, base + 26, [left, "columns rounded so far →"]);
    },
  });
  const last = () => it.figure.ours.length - 1;
  stepped(it.canvas, view, () => ({ column: it.figure.column, row: -1, n: last() + 1 }));
  clicked(it.canvas, view, ({ x, width }) =>
    within(Math.round(((x - left) / (width - left - right)) * last()), last()),
  );
  return it;
}

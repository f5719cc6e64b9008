// What clipping loses against how much of the largest weight is kept; behind it, how many groups took each part.
import { ends, percent, rules } from "../layer/axes.js";
import { dot, faint, polyline } from "../layer/canvas.js";
import { picture } from "../layer/picture.js";
import { marked } from "../layer/plane.js";
import { ticks } from "../layer/text.js";

const [left, right, top, base] = [52, 14, 14, 196];

export function ClipCurve(host, view) {
  return picture(host, view, {
    height: 244,
    draw(c, clip, { width, ink }) {
      const n = clip.tried.length;
      const slot = (width - left - right) / n;
      const x = (k) => left + slot * (k + 0.5);
      const most = Math.min(3, Math.max(1, ...clip.loss) * 1.08);
      const y = (v) => base - ((base - top) * Math.min(v, most)) / most;
      const all = clip.counts.reduce((a, b) => a + b, 0) || 1;
      const peak = Math.max(...clip.counts, 1);
      c.fillStyle = ink.soft;
      faint(c, 0.22, () =>
        clip.counts.forEach((count, k) => {
          const high = (0.62 * (base - top) * count) / peak;
          c.fillRect(x(k) - slot * 0.36, base - high, slot * 0.72, high);
        }),
      );
      rules(c, ink, ticks(0, most, 5), y, [left, width - right], percent);
      c.strokeStyle = ink.level;
      c.lineWidth = 2;
      polyline(
        c,
        Array.from(clip.loss, (v, k) => [x(k), y(v)]),
      );
      c.strokeStyle = ink.card;
      c.fillStyle = ink.level;
      clip.loss.forEach((v, k) => dot(c, x(k), y(v), k === clip.chosen ? 6.5 : 4));
      marked(c, ink, x(clip.chosen), y(clip.loss[clip.chosen]), 10.5);
      c.textBaseline = "top";
      c.textAlign = "center";
      c.fillStyle = ink.soft;
      const every = slot < 34 ? 2 : 1;
      for (let k = 0; k < n; k += every) c.fillText(percent(clip.tried[k]), x(k), base + 8);
      const unclipped = `unclipped: ${percent(clip.counts[0] / all)} of the groups`;
      ends(c, ink, base + 28, [left, "kept of the largest weight"], [width - right, unclipped]);
    },
  });
}

// Confidence across, share of right answers upwards; on the diagonal one is as right as one is sure.
import { ends, rules } from "../layer/axes.js";
import { dashed, dot, line } from "../layer/canvas.js";
import { picture } from "../layer/picture.js";

const [left, right, top, base] = [50, 16, 12, 232];
const size = base - top;

// Tens of percent, and where the axis begins: a guess among three is right once in three.
const marks = (least) => [least, ...[0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1].filter((p) => p - least > 0.04)];

export function Calibration(host, view) {
  return picture(host, view, {
    height: 282,
    draw(c, score, { width, ink }) {
      const least = Math.min(0.5, ...score.confidence);
      const across = Math.min(width - left - right, 1.7 * size);
      const x = (p) => left + 14 + ((across - 28) * (p - least)) / (1 - least);
      const y = (share) => base - size * share;
      rules(c, ink, [0, 0.25, 0.5, 0.75, 1], y, [left, left + across], (share) => `${100 * share} %`);
      c.textAlign = "center";
      c.textBaseline = "top";
      for (const p of marks(least)) c.fillText(`${Math.round(100 * p)} %`, x(p), base + 8);
      ends(c, ink, base + 28, [left, "how sure →"], [left + across, "↑ how many of them right"]);
      c.strokeStyle = ink.soft;
      dashed(c, [5, 4], () => line(c, x(least), y(least), x(1), y(1)));
      score.counts.forEach((n, i) => {
        const at = x(score.confidence[i]);
        c.strokeStyle = ink.weight;
        c.lineWidth = 1.5;
        line(c, at, y(score.low[i]), at, y(score.high[i]));
        c.fillStyle = ink.weight;
        c.strokeStyle = ink.card;
        dot(c, at, y(score.share[i]), 4 + 2 * Math.sqrt(n));
      });
    },
  });
}

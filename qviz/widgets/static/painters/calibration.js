import { dot } from "../layer/axes.js";
import { surface } from "../layer/surface.js";

// Confidence across, share of right answers upwards; on the diagonal one is as right as one is sure.
export function Calibration(host, view) {
  let score;
  const [left, right, top, base, size] = [50, 16, 12, 232, 232 - 12];
  const { canvas, redraw } = surface(282, (c, width) => {
    if (!score) return;
    const ink = view.ink();
    const least = Math.min(0.5, ...score.confidence);
    const across = Math.min(width - left - right, 1.7 * size);
    const x = (p) => left + 14 + ((across - 28) * (p - least)) / (1 - least);
    const y = (share) => base - size * share;
    c.font = ink.font;
    c.lineWidth = 1;
    c.fillStyle = ink.soft;
    c.strokeStyle = ink.line;
    c.textAlign = "right";
    c.textBaseline = "middle";
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      const at = Math.round(y(share)) + 0.5;
      c.beginPath();
      c.moveTo(left, at);
      c.lineTo(left + across, at);
      c.stroke();
      c.fillText(`${100 * share} %`, left - 8, at);
    }
    c.textAlign = "center";
    c.textBaseline = "top";
    for (let p = 0.5; p < 1.01; p += 0.1) c.fillText(`${Math.round(100 * p)} %`, x(p), base + 8);
    c.textAlign = "left";
    c.fillText("how sure →", left, base + 28);
    c.textAlign = "right";
    c.fillText("↑ how many of them right", left + across, base + 28);
    c.strokeStyle = ink.soft;
    c.setLineDash([5, 4]);
    c.beginPath();
    c.moveTo(x(least), y(least));
    c.lineTo(x(1), y(1));
    c.stroke();
    c.setLineDash([]);
    score.counts.forEach((n, i) => {
      const at = x(score.confidence[i]);
      c.strokeStyle = ink.weight;
      c.lineWidth = 1.5;
      c.beginPath();
      c.moveTo(at, y(score.low[i]));
      c.lineTo(at, y(score.high[i]));
      c.stroke();
      c.fillStyle = ink.weight;
      c.strokeStyle = ink.card;
      dot(c, at, y(score.share[i]), 4 + 2 * Math.sqrt(n));
    });
  });
  host.append(canvas);
  return {
    show(panel) {
      score = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}`);
      redraw();
    },
    redraw,
  };
}

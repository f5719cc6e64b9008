import { area, axis } from "../layer/axes.js";
import { surface } from "../layer/surface.js";
import { number } from "../layer/text.js";

export function ErrorHistogram(host, view) {
  let figure;
  const { canvas, redraw } = surface(178, (c, width) => {
    if (!figure) return;
    const ink = view.ink();
    const { low, high } = figure.errors;
    const x = (value) => ((value - low) / (high - low)) * width;
    const base = 146;
    area(c, x, figure.weights, base, base - 24, { colour: ink.soft, alpha: 0.22 }, ink.soft);
    area(c, x, figure.errors, base, base - 24, { colour: ink["level-fill"], alpha: 0.75 }, ink.level);
    if (figure.rmse !== null && figure.rmse < high) {
      c.strokeStyle = ink.ink;
      c.lineWidth = 1.25;
      c.setLineDash([4, 3]);
      c.beginPath();
      for (const sign of [-1, 1]) {
        const at = Math.round(x(sign * figure.rmse)) + 0.5;
        c.moveTo(at, 18);
        c.lineTo(at, base);
      }
      c.stroke();
      c.setLineDash([]);
      c.fillStyle = ink.ink;
      c.font = ink.font;
      c.textBaseline = "top";
      c.textAlign = "left";
      c.fillText(`RMSE ${number(figure.rmse)}`, x(figure.rmse) + 6, 16);
    }
    axis(c, x, low, high, base, width, ink);
  });
  host.append(canvas);
  return {
    show(panel) {
      figure = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}`);
      redraw();
    },
    redraw,
  };
}

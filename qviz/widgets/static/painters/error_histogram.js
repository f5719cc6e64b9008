// Errors as a hill, before the hill of the weights; their root mean square as two dashed lines.
import { area, axis } from "../layer/axes.js";
import { dashed, line, sharp } from "../layer/canvas.js";
import { picture } from "../layer/picture.js";
import { number } from "../layer/text.js";

const base = 146;

export function ErrorHistogram(host, view) {
  return picture(host, view, {
    height: 178,
    draw(c, figure, { width, ink }) {
      const { low, high } = figure.errors;
      const x = (value) => ((value - low) / (high - low)) * width;
      area(c, x, figure.weights, base, base - 24, { colour: ink.soft, alpha: 0.22 }, ink.soft);
      area(c, x, figure.errors, base, base - 24, { colour: ink["level-fill"], alpha: 0.75 }, ink.level);
      if (figure.rmse !== null && figure.rmse < high) {
        c.strokeStyle = ink.ink;
        c.lineWidth = 1.25;
        dashed(c, [4, 3], () => {
          for (const sign of [-1, 1]) line(c, sharp(x(sign * figure.rmse)), 18, sharp(x(sign * figure.rmse)), base);
        });
        c.fillStyle = ink.ink;
        c.textBaseline = "top";
        c.textAlign = "left";
        c.fillText(`RMSE ${number(figure.rmse)}`, x(figure.rmse) + 6, 16);
      }
      axis(c, x, low, high, base, width, ink);
    },
  });
}

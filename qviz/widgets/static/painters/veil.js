import { line } from "../layer/canvas.js";
import { patched } from "../layer/labels.js";
import { picture } from "../layer/picture.js";

// Hatching, and in its middle why nothing is to be seen.
export function Veil(host, view) {
  return picture(host, view, {
    height: 220,
    draw(c, { reason }, { width, height, ink }) {
      c.strokeStyle = ink.line;
      c.lineWidth = 1;
      for (let x = -height; x < width; x += 12) line(c, x, height, x + height, 0);
      const words = reason.split(" ");
      const rows = [""];
      for (const word of words) {
        const longer = rows.at(-1) ? `${rows.at(-1)} ${word}` : word;
        if (c.measureText(longer).width > width - 40 && rows.at(-1)) rows.push(word);
        else rows[rows.length - 1] = longer;
      }
      rows.forEach((row, i) => {
        const y = height / 2 + 22 * (i - (rows.length - 1) / 2);
        patched(c, row, (width - c.measureText(row).width) / 2, y, ink, { height: 22, alpha: 1, margin: 8 });
      });
    },
  });
}

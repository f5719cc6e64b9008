// One bar a plan, cut into what its bytes hold; all bars to one scale.
import { legible } from "../layer/colour.js";
import { picture } from "../layer/picture.js";
import { number } from "../layer/text.js";

const ROLES = { codes: "weight", scales: "level", mins: "field-2", floats: "soft" };

export function ByteBars(host, view) {
  return picture(host, view, {
    height: 96,
    draw(c, bars, { width, ink }) {
      const n = bars.parts.length;
      const sums = bars.names.map((_, i) => bars.nbytes.slice(i * n, (i + 1) * n).reduce((a, b) => a + b, 0));
      const most = Math.max(...sums, 1);
      c.textBaseline = "middle";
      c.textAlign = "left";
      const label = Math.max(...bars.names.map((text) => c.measureText(text).width)) + 14;
      bars.names.forEach((text, i) => {
        const y = 4 + 46 * i;
        c.fillStyle = ink.soft;
        c.fillText(text, 0, y + 18);
        let x = label;
        bars.parts.forEach((part, j) => {
          const share = bars.nbytes[i * n + j];
          const wide = ((width - label) * share) / most;
          const colour = ink[ROLES[part]];
          c.fillStyle = colour;
          c.fillRect(x, y, Math.max(0, wide - 1), 36);
          c.fillStyle = legible(...[1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16)));
          const said = `${number((100 * share) / sums[i])} %`;
          if (c.measureText(said).width < wide - 8) c.fillText(said, x + 6, y + 18);
          x += wide;
        });
      });
    },
  });
}

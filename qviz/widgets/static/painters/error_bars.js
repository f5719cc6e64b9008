// A bar a method on held-out tokens, and a tick where the calibration tokens would put it; the first one is the unit.
import { percent } from "../layer/axes.js";
import { line, sharp } from "../layer/canvas.js";
import { picture } from "../layer/picture.js";
import { ticks } from "../layer/text.js";

const [top, row, right] = [6, 30, 132];

export function ErrorBars(host, view) {
  return picture(host, view, {
    height: 240,
    tall: (bars) => top + bars.names.length * row + 26,
    draw(c, bars, { width, ink }) {
      const base = top + bars.names.length * row;
      c.textBaseline = "middle";
      const left = Math.min(0.45 * width, Math.max(...bars.names.map((t) => c.measureText(t).width)) + 14);
      const most = Math.min(3, Math.max(1, ...bars.heldout, ...bars.calibration)) * 1.02;
      const x = (v) => left + ((width - left - right) * Math.min(v, most)) / most;
      c.lineWidth = 1;
      c.textAlign = "center";
      c.strokeStyle = ink.line;
      c.fillStyle = ink.soft;
      for (const value of ticks(0, most, Math.max(3, width / 150))) {
        const at = sharp(x(value));
        line(c, at, top, at, base);
        c.fillText(percent(value), at, base + 14);
      }
      bars.names.forEach((name, i) => {
        const y = top + row * i;
        c.fillStyle = ink.ink;
        c.textAlign = "right";
        c.fillText(name, left - 8, y + row / 2);
        c.fillStyle = bars.marked.includes(i) ? ink["field-2"] : ink["level-fill"];
        c.fillRect(left, y + 6, Math.max(1, x(bars.heldout[i]) - left), row - 12);
        c.strokeStyle = ink.ink;
        c.lineWidth = 2;
        line(c, x(bars.calibration[i]), y + 4, x(bars.calibration[i]), y + row - 4);
        c.textAlign = "left";
        c.fillStyle = i === bars.best ? ink.ok : ink.ink;
        const end = Math.max(x(bars.heldout[i]), x(bars.calibration[i])) + 8;
        const text = percent(bars.heldout[i]);
        c.fillText(text, end, y + row / 2);
        c.fillStyle = ink.soft;
        if (bars.notes[i]) c.fillText(`  ${bars.notes[i]}`, end + c.measureText(text).width, y + row / 2);
      });
    },
  });
}

import { role } from "../layer/colour.js";
import { surface } from "../layer/surface.js";
import { number } from "../layer/text.js";

// One row of values above, their errors below, group by group.
export function GroupStrip(host, view) {
  let strip;
  let panel;
  const [left, right, top, middle, roof, base] = [56, 10, 18, 74, 150, 214];
  const across = (width) => (column) => left + ((width - left - right) * column) / strip.values.length;
  const { canvas, redraw } = surface(240, (c, width) => {
    if (!strip) return;
    const ink = view.ink();
    const changed = role(host, "changed");
    const x = across(width);
    const n = strip.values.length;
    const groups = Array.from(strip.starts, (start, g) => [start, strip.starts[g + 1] ?? n]);
    c.font = ink.font;

    // every other group on a band, so that borders need no lines
    c.fillStyle = ink.line;
    c.globalAlpha = 0.5;
    groups.forEach(([from, to], g) => {
      if (g % 2) c.fillRect(x(from), 4, x(to) - x(from), base - 4);
    });
    c.globalAlpha = 1;

    // an outlier would flatten all others: what leaves the frame ends in its number
    const sizes = Array.from(strip.values, Math.abs).sort((a, b) => a - b);
    const frame = Math.max(1e-30, Math.min(sizes[n - 1], 2.2 * sizes[Math.floor(0.98 * (n - 1))]));
    const reach = middle - top;
    const bar = Math.max(0.8, Math.min(8, ((width - left - right) / n) * 0.7));
    strip.values.forEach((value, i) => {
      const on = i === strip.column;
      const height = reach * Math.max(-1, Math.min(1, value / frame));
      c.fillStyle = on ? changed : ink.weight;
      const wide = on ? Math.max(bar, 3) : bar;
      c.fillRect(x(i + 0.5) - wide / 2, Math.min(middle, middle - height), wide, Math.max(0.6, Math.abs(height)));
      if (Math.abs(value) > 1.02 * frame || on) {
        c.textAlign = x(i) > width - 80 ? "right" : "left";
        c.textBaseline = "middle";
        const at = Math.abs(value) > 1.02 * frame ? (value > 0 ? top - 7 : middle + reach + 9) : value > 0 ? middle + 12 : middle - 12;
        if (on || Math.abs(value) > 2 * frame) {
          const [text, where] = [number(value), x(i + 0.5) + (c.textAlign === "left" ? -4 : 4)];
          const wide = c.measureText(text).width;
          const colour = c.fillStyle;
          c.fillStyle = ink.card;
          c.globalAlpha = 0.75;
          c.fillRect(c.textAlign === "left" ? where - 2 : where - wide - 2, at - 8, wide + 4, 16);
          c.globalAlpha = 1;
          c.fillStyle = colour;
          c.fillText(text, where, at);
        }
      }
    });
    c.strokeStyle = ink.soft;
    c.lineWidth = 1;
    c.beginPath();
    c.moveTo(left, middle + 0.5);
    c.lineTo(width - right, middle + 0.5);
    c.moveTo(left, base + 0.5);
    c.lineTo(width - right, base + 0.5);
    c.stroke();

    // errors, on a scale of their own; the multiplied one does not set it
    const off = Array.from(strip.values, (value, i) => Math.abs(strip.rounded[i] - value));
    const touched = strip.values[strip.column] !== Math.fround(strip.original);
    const others = off.filter((_, i) => !touched || i !== strip.column);
    const most = Math.max(...others, strip.quiet, 1e-30) * 1.05;
    const y = (error) => base - (base - roof) * Math.min(1, error / most);
    off.forEach((error, i) => {
      c.fillStyle = touched && i === strip.column ? changed : ink["level-fill"];
      c.globalAlpha = 0.65;
      c.fillRect(x(i + 0.5) - bar / 2, y(error), bar, base - y(error));
    });
    c.globalAlpha = 1;
    c.strokeStyle = ink.level;
    c.lineWidth = 2.5;
    groups.forEach(([from, to], g) => {
      c.beginPath();
      c.moveTo(x(from) + 1, y(strip.noise[g]));
      c.lineTo(x(to) - 1, y(strip.noise[g]));
      c.stroke();
    });
    if (touched) {
      c.strokeStyle = ink.ink;
      c.lineWidth = 1.25;
      c.setLineDash([4, 3]);
      c.beginPath();
      c.moveTo(left, y(strip.quiet));
      c.lineTo(width - right, y(strip.quiet));
      c.stroke();
      c.setLineDash([]);
    }
    c.fillStyle = ink.soft;
    c.textBaseline = "middle";
    c.textAlign = "right";
    c.fillText(number(frame, 2), left - 6, top + 2);
    c.fillText("0", left - 6, middle);
    c.fillText(number(-frame, 2), left - 6, middle + reach - 2);
    c.fillText(number(most, 2), left - 6, roof + 2);
    c.fillText("0", left - 6, base - 2);
    c.textBaseline = "top";
    c.textAlign = "left";
    c.fillText(touched ? "error of each; dashed: of the whole row before" : "error of each", left + 2, base + 6);
    c.textAlign = "right";
    c.fillText(`column ${strip.column} of ${n}`, width - right, base + 6);
  });
  canvas.tabIndex = 0;
  canvas.dataset.lmSuppressShortcuts = "true";
  host.append(canvas);

  const choose = (column) => view.send({ event: "column", column: Math.min(strip.values.length - 1, Math.max(0, column)) });
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const x = across(box.width);
    choose(Math.floor(((event.clientX - box.left - x(0)) / (x(strip.values.length) - x(0))) * strip.values.length));
  });
  canvas.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 16 : 1;
    const to = { ArrowLeft: strip.column - step, ArrowRight: strip.column + step, Home: 0, End: strip.values.length - 1 }[event.key];
    if (to === undefined) return;
    choose(to);
    event.preventDefault();
    event.stopPropagation();
  });
  return {
    show(next) {
      panel = next;
      strip = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}. Arrow keys pick another.`);
      redraw();
    },
    redraw,
  };
}

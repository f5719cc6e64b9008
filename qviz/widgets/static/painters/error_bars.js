import { role } from "../layer/colour.js";
import { surface } from "../layer/surface.js";
import { ticks } from "../layer/text.js";

// A bar a method on held-out tokens, and a tick where the calibration tokens would put it; the first one is the unit.
export function ErrorBars(host, view) {
  let bars;
  const [top, row] = [6, 30];
  const { canvas, redraw } = surface(240, (c, width) => {
    if (!bars) return;
    const ink = view.ink();
    const ok = role(host, "ok");
    const n = bars.names.length;
    const base = top + n * row;
    c.font = ink.font;
    c.textBaseline = "middle";
    const left = Math.min(0.45 * width, Math.max(...bars.names.map((t) => c.measureText(t).width)) + 14);
    const right = 132;
    const most = Math.min(3, Math.max(1, ...bars.heldout, ...bars.calibration)) * 1.02;
    const x = (v) => left + ((width - left - right) * Math.min(v, most)) / most;
    c.lineWidth = 1;
    c.textAlign = "center";
    for (const value of ticks(0, most, Math.max(3, width / 150))) {
      const at = Math.round(x(value)) + 0.5;
      c.strokeStyle = ink.line;
      c.beginPath();
      c.moveTo(at, top);
      c.lineTo(at, base);
      c.stroke();
      c.fillStyle = ink.soft;
      c.fillText(`${Math.round(100 * value)} %`, at, base + 14);
    }
    bars.names.forEach((name, i) => {
      const y = top + row * i;
      const spends = bars.marked.includes(i);
      c.fillStyle = ink.ink;
      c.textAlign = "right";
      c.fillText(name, left - 8, y + row / 2);
      c.fillStyle = spends ? role(host, "field-2") : role(host, "level-fill");
      c.fillRect(left, y + 6, Math.max(1, x(bars.heldout[i]) - left), row - 12);
      c.strokeStyle = ink.ink;
      c.lineWidth = 2;
      c.beginPath();
      c.moveTo(x(bars.calibration[i]), y + 4);
      c.lineTo(x(bars.calibration[i]), y + row - 4);
      c.stroke();
      c.textAlign = "left";
      c.fillStyle = i === bars.best ? ok : ink.ink;
      const end = Math.max(x(bars.heldout[i]), x(bars.calibration[i])) + 8;
      const text = `${Math.round(100 * bars.heldout[i])} %`;
      c.fillText(text, end, y + row / 2);
      c.fillStyle = ink.soft;
      if (bars.notes[i]) c.fillText(`  ${bars.notes[i]}`, end + c.measureText(text).width, y + row / 2);
    });
  });
  host.append(canvas);
  return {
    show(panel) {
      bars = panel.figure;
      canvas.style.height = `${top + bars.names.length * row + 26}px`;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}`);
      redraw();
    },
    redraw,
  };
}

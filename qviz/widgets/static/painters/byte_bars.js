import { isLight, role } from "../layer/colour.js";
import { surface } from "../layer/surface.js";
import { number } from "../layer/text.js";

// One bar a plan, cut into what its bytes hold; all bars to one scale.
export function ByteBars(host, view) {
  let bars;
  const roles = { codes: "weight", scales: "level", mins: "field-2", floats: "soft" };
  const { canvas, redraw } = surface(96, (c, width) => {
    if (!bars) return;
    const ink = view.ink();
    const n = bars.parts.length;
    const sums = bars.names.map((_, i) => bars.nbytes.slice(i * n, (i + 1) * n).reduce((a, b) => a + b, 0));
    const most = Math.max(...sums, 1);
    c.font = ink.font;
    c.textBaseline = "middle";
    const label = Math.max(...bars.names.map((text) => c.measureText(text).width)) + 14;
    bars.names.forEach((text, i) => {
      const y = 4 + 46 * i;
      c.fillStyle = ink.soft;
      c.textAlign = "left";
      c.fillText(text, 0, y + 18);
      let x = label;
      bars.parts.forEach((part, j) => {
        const share = bars.nbytes[i * n + j];
        const w = ((width - label) * share) / most;
        const colour = role(host, roles[part]);
        c.fillStyle = colour;
        c.fillRect(x, y, Math.max(0, w - 1), 36);
        const [r, g, b] = [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16));
        c.fillStyle = isLight(r, g, b) ? "#111" : "#fff";
        const said = `${number((100 * share) / sums[i])} %`;
        if (c.measureText(said).width < w - 8) c.fillText(said, x + 6, y + 18);
        x += w;
      });
    });
  });
  host.append(canvas);
  return {
    show(panel) {
      bars = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}`);
      redraw();
    },
    redraw,
  };
}

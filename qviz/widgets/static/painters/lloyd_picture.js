import { axis, dot } from "../layer/axes.js";
import { surface } from "../layer/surface.js";

// Values as a hill; the levels of a codebook run down from where they began; below, the levels of others.
export function LloydPicture(host, view) {
  let figure;
  const [top, base, start, end, bars, row] = [12, 136, 146, 226, 262, 35];
  const { canvas, redraw } = surface(300, (c, width) => {
    if (!figure) return;
    const ink = view.ink();
    const { low, high, counts } = figure.values;
    const x = (value) => ((value - low) / (high - low)) * width;
    const [steps, n] = figure.paths.shape;
    const level = (step, i) => figure.paths[step * n + i];

    // where the nearest level changes
    c.strokeStyle = ink.line;
    c.lineWidth = 1;
    c.beginPath();
    for (const edge of figure.edges) {
      const at = Math.round(x(edge)) + 0.5;
      c.moveTo(at, top);
      c.lineTo(at, base);
    }
    c.stroke();

    let peak = 2;
    for (const count of counts) peak = Math.max(peak, count);
    const y = (count) => (count ? base - (base - top) * (0.06 + (0.94 * Math.log(count)) / Math.log(peak)) : base);
    const step = (high - low) / counts.length;
    c.beginPath();
    c.moveTo(0, base);
    counts.forEach((count, i) => {
      c.lineTo(x(low + i * step), y(count));
      c.lineTo(x(low + (i + 1) * step), y(count));
    });
    c.lineTo(width, base);
    c.globalAlpha = 0.3;
    c.fillStyle = ink.soft;
    c.fill();
    c.globalAlpha = 1;
    c.strokeStyle = ink.soft;
    c.stroke();

    // the way of each level: time runs downwards
    const down = (k) => start + ((end - start) * k) / Math.max(1, steps - 1);
    c.strokeStyle = ink.level;
    c.lineWidth = n > 20 ? 1 : 1.5;
    c.globalAlpha = 0.6;
    for (let i = 0; i < n; i++) {
      c.beginPath();
      for (let k = 0; k <= figure.current; k++) {
        if (k) c.lineTo(x(level(k, i)), down(k));
        else c.moveTo(x(level(k, i)), down(k));
      }
      c.stroke();
    }
    c.globalAlpha = 0.35;
    c.lineWidth = 1;
    c.beginPath();
    for (let i = 0; i < n; i++) {
      const at = x(level(figure.current, i));
      c.moveTo(at, base);
      c.lineTo(at, start); // from the hill into the picture of time
      c.moveTo(at, down(figure.current));
      c.lineTo(at, bars);
    }
    c.stroke();
    c.globalAlpha = 1;
    let most = 1;
    for (const used of figure.used) most = Math.max(most, used);
    let gap = width;
    for (let i = 1; i < n; i++) gap = Math.min(gap, x(level(figure.current, i)) - x(level(figure.current, i - 1)));
    const wide = Math.min(14, Math.max(2, gap - 2));
    for (let i = 0; i < n; i++) {
      const at = x(level(figure.current, i));
      const height = figure.used[i] ? Math.max(1.5, (bars - end - 8) * (figure.used[i] / most)) : 0;
      c.fillStyle = ink["level-fill"];
      c.fillRect(at - wide / 2, bars - height, wide, height);
      c.fillStyle = ink.level;
      c.strokeStyle = ink.card;
      dot(c, at, down(figure.current), gap < 7 ? 2.5 : 4);
    }
    c.fillStyle = ink.soft;
    c.font = ink.font;
    c.textBaseline = "top";
    c.textAlign = "left";
    c.fillText("start", 2, start);

    // others: combs, each under its name
    figure.names.forEach((name, i) => {
      const head = bars + 12 + i * row;
      c.strokeStyle = ink.ink;
      c.lineWidth = 1.5;
      c.globalAlpha = 0.85;
      c.beginPath();
      for (const value of figure.others[i]) {
        const at = Math.round(x(value)) + 0.5;
        c.moveTo(at, head + 14);
        c.lineTo(at, head + 29);
      }
      c.stroke();
      c.globalAlpha = 1;
      c.fillStyle = ink.ink;
      c.textBaseline = "middle";
      c.fillText(name, 2, head + 5);
    });
    axis(c, x, low, high, bars + 16 + figure.names.length * row, width, ink);
  });
  host.append(canvas);
  return {
    show(panel) {
      figure = panel.figure;
      canvas.style.height = `${bars + 46 + figure.names.length * row}px`;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}`);
      redraw();
    },
    redraw,
  };
}

import { role } from "../layer/colour.js";
import { surface } from "../layer/surface.js";
import { number } from "../layer/text.js";

// A wide pale bar for what memory allows, a narrow one for what the products reach; tokens per second, logarithmic.
export function TokenRates(host, view) {
  let rates;
  let panel;
  const [left, right, top, row] = [74, 120, 8, 30];
  const { canvas, redraw } = surface(400, (c, width) => {
    if (!rates) return;
    const ink = view.ink();
    const n = rates.names.length;
    const base = top + n * row;
    const known = [...rates.bounds, ...rates.reached].filter((v) => Number.isFinite(v) && v > 0);
    const low = Math.log10(Math.min(...known)) - 0.3;
    const high = Math.log10(Math.max(...known)) + 0.05;
    const x = (v) => left + ((width - left - right) * (Math.log10(v) - low)) / (high - low);
    c.font = ink.font;
    c.lineWidth = 1;
    c.strokeStyle = ink.line;
    c.fillStyle = ink.soft;
    c.textAlign = "center";
    c.textBaseline = "top";
    let free = -Infinity;
    for (let power = Math.floor(low); power <= high; power++) {
      for (const digit of [1, 2, 5]) {
        const at = Math.round(x(digit * 10 ** power)) + 0.5;
        if (at < Math.max(left, free) || at > width - right) continue;
        c.beginPath();
        c.moveTo(at, top);
        c.lineTo(at, base);
        c.stroke();
        c.fillText(number(digit * 10 ** power), at, base + 6);
        free = at + 40;
      }
    }
    c.textAlign = "right";
    c.fillText("tokens per second, logarithmic →", width - right, base + 26);
    c.textBaseline = "middle";
    rates.names.forEach((name, i) => {
      const y = top + i * row;
      const on = i === rates.current;
      if (on) {
        c.fillStyle = ink.line;
        c.globalAlpha = 0.5;
        c.fillRect(0, y + 1, width, row - 2);
        c.globalAlpha = 1;
      }
      c.fillStyle = on ? ink.ink : ink.soft;
      c.textAlign = "right";
      c.fillText(name, left - 8, y + row / 2);
      c.fillStyle = role(host, "level-fill");
      c.globalAlpha = 0.45;
      c.fillRect(left, y + 5, Math.max(1, x(rates.bounds[i]) - left), row - 10);
      c.globalAlpha = 1;
      const reached = rates.reached[i];
      if (Number.isFinite(reached)) {
        c.fillStyle = ink.weight;
        c.fillRect(left, y + 11, Math.max(1, x(reached) - left), row - 22);
      }
      c.fillStyle = ink.ink;
      c.textAlign = "left";
      const end = x(Math.max(rates.bounds[i], Number.isFinite(reached) ? reached : 0));
      const text = Number.isFinite(reached) ? `${number(reached)} of ${number(rates.bounds[i])}` : number(rates.bounds[i]);
      c.fillText(text, end + 6, y + row / 2);
    });
  });
  canvas.tabIndex = 0;
  canvas.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take the arrow keys
  canvas.style.cursor = "pointer";
  host.append(canvas);

  const choose = (point) => view.send({ event: "point", point: Math.min(rates.names.length - 1, Math.max(0, point)) });
  canvas.addEventListener("click", (event) => {
    choose(Math.floor((event.clientY - canvas.getBoundingClientRect().top - top) / row));
  });
  canvas.addEventListener("keydown", (event) => {
    const at = rates.current;
    const last = rates.names.length - 1;
    const to = { ArrowLeft: at - 1, ArrowUp: at - 1, ArrowRight: at + 1, ArrowDown: at + 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    choose(to);
    event.preventDefault();
    event.stopPropagation();
  });
  return {
    show(next) {
      panel = next;
      rates = panel.figure;
      canvas.style.height = `${top + rates.names.length * row + 44}px`;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label} Arrow keys choose a format.`);
      redraw();
    },
    redraw,
  };
}

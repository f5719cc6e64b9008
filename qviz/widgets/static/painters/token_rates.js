// A wide pale bar for what memory allows, a narrow one for what the products reach; tokens per second, logarithmic.
import { line, sharp } from "../layer/canvas.js";
import { chosen } from "../layer/keys.js";
import { picture } from "../layer/picture.js";
import { number } from "../layer/text.js";

const [left, right, top, row] = [74, 120, 8, 30];

function grid(c, x, low, high, base, width, ink) {
  c.lineWidth = 1;
  c.strokeStyle = ink.line;
  c.fillStyle = ink.soft;
  c.textAlign = "center";
  c.textBaseline = "top";
  let free = -Infinity;
  for (let power = Math.floor(low); power <= high; power++) {
    for (const digit of [1, 2, 5]) {
      const at = sharp(x(digit * 10 ** power));
      if (at < Math.max(left, free) || at > width - right) continue;
      line(c, at, top, at, base);
      c.fillText(number(digit * 10 ** power), at, base + 6);
      free = at + 40;
    }
  }
  c.textAlign = "right";
  c.fillText("tokens per second, logarithmic →", width - right, base + 26);
}

export function TokenRates(host, view) {
  const it = picture(host, view, {
    height: 400,
    hint: "Arrow keys choose a format",
    tall: (rates) => top + rates.names.length * row + 44,
    draw(c, rates, { width, ink }) {
      const known = [...rates.bounds, ...rates.reached].filter((v) => Number.isFinite(v) && v > 0);
      const low = Math.log10(Math.min(...known)) - 0.3;
      const high = Math.log10(Math.max(...known)) + 0.05;
      const x = (v) => left + ((width - left - right) * (Math.log10(v) - low)) / (high - low);
      grid(c, x, low, high, top + rates.names.length * row, width, ink);
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
        c.fillStyle = ink["level-fill"];
        c.globalAlpha = 0.45;
        c.fillRect(left, y + 5, Math.max(1, x(rates.bounds[i]) - left), row - 10);
        c.globalAlpha = 1;
        const reached = Number.isFinite(rates.reached[i]) ? rates.reached[i] : null;
        if (reached !== null) {
          c.fillStyle = ink.weight;
          c.fillRect(left, y + 11, Math.max(1, x(reached) - left), row - 22);
        }
        c.fillStyle = ink.ink;
        c.textAlign = "left";
        const bound = number(rates.bounds[i]);
        const text = reached === null ? bound : `${number(reached)} of ${bound}`;
        c.fillText(text, x(Math.max(rates.bounds[i], reached ?? 0)) + 6, y + row / 2);
      });
    },
  });
  it.canvas.style.cursor = "pointer";
  chosen(it.canvas, {
    down: 1,
    at: () => [it.figure.current, it.figure.names.length - 1],
    pick: ({ y }) => Math.floor((y - top) / row),
    choose: (point) => view.send({ event: "point", point }),
  });
  return it;
}

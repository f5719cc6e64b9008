import { number } from "./text.js";

// The plane of every picture of size against damage: logarithmic axes, and what lies beyond the budget in the shade.
export function sizeAndDamage(c, ink, plane, { x, y, low, high, least, most, left, right, top, base, width, foot }) {
  const wall = x(plane.budget);
  c.font = ink.font;
  c.lineWidth = 1;
  c.textBaseline = "middle";
  c.fillStyle = ink.line;
  c.globalAlpha = 0.45;
  c.fillRect(wall, top, Math.max(0, width - right - wall), base - top);
  c.globalAlpha = 1;
  c.strokeStyle = ink.line;
  c.fillStyle = ink.soft;
  c.textAlign = "right";
  for (let power = Math.ceil(low); power <= high; power++) {
    const at = Math.round(y(10 ** power)) + 0.5;
    c.beginPath();
    c.moveTo(left, at);
    c.lineTo(width - right, at);
    c.stroke();
    c.fillText(number(10 ** power, 3, 1e-6), left - 8, at);
  }
  c.textAlign = "center";
  c.textBaseline = "top";
  let free = -Infinity;
  for (let power = Math.floor(Math.log10(least)); power <= Math.log10(most); power++) {
    for (const digit of [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9]) {
      const at = x(digit * 10 ** power);
      if (at < Math.max(left, free) || at > width - right) continue;
      c.fillText(number(digit * 10 ** power), at, base + foot);
      free = at + 48;
    }
  }
  c.textAlign = "right";
  c.fillText(`${plane.across}, logarithmic →`, width - right, base + foot + 20);
  c.textAlign = "left";
  c.fillText(`↑ ${plane.upwards}, logarithmic`, left, base + foot + 20);
  c.strokeStyle = ink.soft;
  c.lineWidth = 2;
  c.beginPath();
  c.moveTo(wall, top);
  c.lineTo(wall, base);
  c.stroke();
}

import { dot } from "../layer/axes.js";
import { role } from "../layer/colour.js";
import { sizeAndDamage } from "../layer/plane.js";
import { surface } from "../layer/surface.js";

// Memory across, damage upwards, both logarithmic. Damage is hidden until a choice was carried out: then only sizes stand at
// the foot, as ticks, with a bar where the damage of the choice is expected.
export function Chooser(host, view) {
  let plane;
  let panel;
  const [left, right, top, base] = [66, 20, 16, 300];
  const { canvas, redraw } = surface(352, (c, width) => {
    if (!plane) return;
    const ink = view.ink();
    const ok = role(host, "ok");
    const across = [...plane.sizes, plane.budget, plane.size, ...Array.from(plane.tried).filter((_, i) => i % 2 === 0)];
    const [least, most] = [Math.min(...across) * 0.92, Math.max(...across) * 1.08];
    const x = (v) => left + ((width - left - right) * Math.log(v / least)) / Math.log(most / least);
    const [low, high] = [Math.log10(plane.low), Math.log10(plane.high)];
    const y = (v) => base - ((base - top) * (Math.min(high, Math.max(low, v > 0 ? Math.log10(v) : low)) - low)) / (high - low);
    const wall = x(plane.budget);
    sizeAndDamage(c, ink, plane, { x, y, low, high, least, most, left, right, top, base, width, foot: 14 });
    const wide = c.measureText("budget").width;
    c.textAlign = wall + wide + 12 < width - right ? "left" : "right";
    c.fillText("budget", wall + (c.textAlign === "left" ? 6 : -6), base - 18);

    // sizes stand at the foot, whether their damage is known or not
    plane.names.forEach((_, i) => {
      c.strokeStyle = plane.kept[i] ? ink.level : ink.soft;
      c.lineWidth = 2;
      c.beginPath();
      c.moveTo(x(plane.sizes[i]), base);
      c.lineTo(x(plane.sizes[i]), base + 9);
      c.stroke();
    });

    // what is expected of the choice
    const here = x(plane.size);
    c.fillStyle = ink.weight;
    c.globalAlpha = 0.25;
    const [above, below] = [y(plane.predicted[1]), y(plane.predicted[0])];
    c.fillRect(here - 8, above, 16, Math.max(2, below - above));
    c.globalAlpha = 1;
    c.strokeStyle = ink.weight;
    c.lineWidth = 1.5;
    c.setLineDash([4, 3]);
    c.beginPath();
    c.moveTo(here, top);
    c.lineTo(here, base + 9);
    c.stroke();
    c.setLineDash([]);

    const shown = Array.from(plane.names.keys()).filter((i) => Number.isFinite(plane.damage[i]));
    if (plane.front.length) {
      c.strokeStyle = ok;
      c.lineWidth = 2;
      c.beginPath();
      plane.front.forEach((i, k) => (k ? c.lineTo(x(plane.sizes[i]), y(plane.damage[i])) : c.moveTo(x(plane.sizes[i]), y(plane.damage[i]))));
      c.stroke();
    }
    const taken = [];
    for (const i of shown) {
      const [px, py] = [x(plane.sizes[i]), y(plane.damage[i])];
      c.fillStyle = plane.kept[i] ? ink.level : ink.soft;
      c.strokeStyle = ink.card;
      dot(c, px, py, 4.5);
      taken.push([px - 5, py - 5, 10, 10]);
      if (i !== plane.best) continue;
      c.strokeStyle = ok;
      c.lineWidth = 2.5;
      c.beginPath();
      c.arc(px, py, 10, 0, 2 * Math.PI);
      c.stroke();
    }
    const tries = plane.tries.map((name, k) => [name, x(plane.tried[2 * k]), y(plane.tried[2 * k + 1])]);
    tries.forEach(([, px, py], k) => {
      const latest = k === tries.length - 1;
      c.strokeStyle = ink.weight;
      c.lineWidth = latest ? 3 : 1.5;
      c.beginPath();
      for (const [dx, dy] of [[1, 1], [1, -1]]) {
        c.moveTo(px - 7 * dx, py - 7 * dy);
        c.lineTo(px + 7 * dx, py + 7 * dy);
      }
      c.stroke();
      taken.push([px - 8, py - 8, 16, 16]);
    });

    c.textBaseline = "middle";
    const place = (text, px, py, colour) => {
      const long = c.measureText(text).width;
      for (const [dx, dy, align] of [[11, -11, "left"], [-11, 12, "right"], [11, 12, "left"], [-11, -11, "right"]]) {
        const box = [px + dx - (align === "right" ? long : 0), py + dy - 7, long, 14];
        if (box[0] < left || box[0] + long > width - 2) continue;
        if (taken.some((b) => box[0] < b[0] + b[2] && b[0] < box[0] + box[2] && box[1] < b[1] + b[3] && b[1] < box[1] + box[3])) continue;
        taken.push(box);
        c.textAlign = align;
        c.fillStyle = colour;
        c.fillText(text, px + dx, py + dy);
        return;
      }
    };
    if (tries.length) place(...tries[tries.length - 1], ink.weight);
    const front = new Set(plane.front);
    const rank = (i) => (i === plane.best ? 0 : front.has(i) ? 1 : 2);
    const last = plane.tries[plane.tries.length - 1]; // its name stands there already
    for (const i of shown.filter((i) => plane.names[i] !== last).sort((a, b) => rank(a) - rank(b))) place(plane.names[i], x(plane.sizes[i]), y(plane.damage[i]), ink.ink);
    if (!shown.length) {
      c.textAlign = "center";
      c.fillStyle = ink.soft;
      c.fillText("What each format costs is hidden until you have chosen.", (left + width - right) / 2, top + 60);
    }
  });
  host.append(canvas);
  return {
    show(next) {
      panel = next;
      plane = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}`);
      redraw();
    },
    redraw,
  };
}

import { dot } from "../layer/axes.js";
import { role } from "../layer/colour.js";
import { sizeAndDamage } from "../layer/plane.js";
import { surface } from "../layer/surface.js";

// Points with error bars: size across, damage upwards on a logarithmic scale; a budget as a wall, a line along the front.
export function Balance(host, view) {
  let plane;
  let panel;
  const [left, right, top, base] = [66, 20, 16, 300];
  const scales = (width) => {
    const most = Math.max(...plane.sizes, plane.budget) * 1.06;
    const least = Math.min(...plane.sizes, plane.budget) * 0.94;
    const positive = Array.from(plane.damage).filter((v) => v > 1e-5); // below that it is the noise of the arithmetic
    const low = Math.log10(Math.min(...positive, 1)) - 0.25;
    const high = Math.log10(Math.max(...positive, 10 ** (low + 1))) + 0.2;
    const x = (v) => left + ((width - left - right) * Math.log(v / least)) / Math.log(most / least);
    const y = (v) => base - ((base - top) * (Math.max(low, v > 0 ? Math.log10(v) : low) - low)) / (high - low);
    return { x, y, low, high, least, most };
  };
  const { canvas, redraw } = surface(346, (c, width) => {
    if (!plane) return;
    const ink = view.ink();
    const ok = role(host, "ok");
    const { x, y, low, high, least, most } = scales(width);
    sizeAndDamage(c, ink, plane, { x, y, low, high, least, most, left, right, top, base, width, foot: 8 });

    c.strokeStyle = ok;
    c.lineWidth = 2;
    c.beginPath();
    plane.front.forEach((i, k) => {
      if (k) c.lineTo(x(plane.sizes[i]), y(plane.damage[i]));
      else c.moveTo(x(plane.sizes[i]), y(plane.damage[i]));
    });
    c.stroke();

    const order = Array.from(plane.names.keys()).sort((a, b) => (a === plane.current) - (b === plane.current));
    const taken = order.map((i) => [x(plane.sizes[i]) - 5, y(plane.damage[i]) - 5, 10, 10]);
    for (const i of order) {
      const [px, py] = [x(plane.sizes[i]), y(plane.damage[i])];
      c.strokeStyle = plane.fits[i] ? ink.level : ink.soft;
      c.lineWidth = 1.5;
      c.beginPath();
      c.moveTo(px, y(plane.damage[i] - plane.errors[i]));
      c.lineTo(px, y(plane.damage[i] + plane.errors[i]));
      c.stroke();
      c.fillStyle = i === plane.current ? ink.weight : plane.fits[i] ? ink.level : ink.soft;
      c.strokeStyle = ink.card;
      dot(c, px, py, i === plane.current ? 7 : 4.5);
      if (i === plane.best) {
        c.strokeStyle = ok;
        c.lineWidth = 2.5;
        c.beginPath();
        c.arc(px, py, 10, 0, 2 * Math.PI);
        c.stroke();
      }
    }
    // names go where nothing has been written: the one on show first, then those along the front
    c.textBaseline = "middle";
    const front = new Set(plane.front);
    const rank = (i) => (i === plane.current ? 0 : i === plane.best ? 1 : front.has(i) ? 2 : 3);
    for (const i of Array.from(plane.names.keys()).sort((a, b) => rank(a) - rank(b))) {
      const [px, py] = [x(plane.sizes[i]), y(plane.damage[i])];
      const wide = c.measureText(plane.names[i]).width;
      for (const [dx, dy, align] of [[11, -9, "left"], [-11, 10, "right"], [11, 10, "left"], [-11, -9, "right"]]) {
        const box = [px + dx - (align === "right" ? wide : 0), py + dy - 7, wide, 14];
        if (box[0] < left || box[0] + wide > width - 2) continue;
        if (taken.some((b) => box[0] < b[0] + b[2] && b[0] < box[0] + box[2] && box[1] < b[1] + b[3] && b[1] < box[1] + box[3])) continue;
        taken.push(box);
        c.textAlign = align;
        c.fillStyle = i === plane.current ? ink.weight : ink.ink;
        c.fillText(plane.names[i], px + dx, py + dy);
        break;
      }
    }
  });
  canvas.tabIndex = 0;
  canvas.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take the arrow keys
  host.append(canvas);

  const bySize = () => Array.from(plane.names.keys()).sort((a, b) => plane.sizes[a] - plane.sizes[b]);
  const choose = (point) => view.send({ event: "point", point });
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const { x, y } = scales(box.width);
    const far = (i) => Math.hypot(x(plane.sizes[i]) - event.clientX + box.left, y(plane.damage[i]) - event.clientY + box.top);
    choose(Array.from(plane.names.keys()).reduce((a, b) => (far(a) <= far(b) ? a : b)));
  });
  canvas.addEventListener("keydown", (event) => {
    const order = bySize();
    const at = order.indexOf(plane.current);
    const to = { ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1, Home: 0, End: order.length - 1 }[event.key];
    if (to === undefined) return;
    choose(order[Math.min(order.length - 1, Math.max(0, to))]);
    event.preventDefault();
    event.stopPropagation();
  });
  return {
    show(next) {
      panel = next;
      plane = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}. Arrow keys choose a point.`);
      redraw();
    },
    redraw,
  };
}

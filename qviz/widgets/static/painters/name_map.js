// Names of tensors in a folder and in a file, joined by lines: who is renamed, who comes earlier, whose rows move.
import { faint, line } from "../layer/canvas.js";
import { chosen } from "../layer/keys.js";
import { picture } from "../layer/picture.js";

const [TOP, STEP, FOOT, GAP] = [34, 21, 8, 8];

const y = (i) => TOP + STEP * (i + 0.5);

// How wide the longest of some names is.
const widest = (c, names) => Math.max(...names.map((name) => c.measureText(name).width));

function draw(c, map, { width, ink }) {
  c.font = ink.font.replace(/[\d.]+px/, "12px");
  c.textBaseline = "middle";
  const left = 4 + widest(c, map.sources) + GAP;
  const right = width - 6 - widest(c, map.targets);
  c.fillStyle = ink.soft;
  c.textAlign = "left";
  c.fillText("in the folder", 4, 14);
  c.fillText("in the file", right, 14);
  map.sources.forEach((name, i) => {
    const to = map.places[i];
    const on = to === map.current;
    c.strokeStyle = map.moved[to] ? ink.level : ink.weight;
    c.lineWidth = on ? 3 : 1.25;
    faint(c, on ? 1 : 0.55, () => line(c, left, y(i), right - GAP, y(to)));
    c.fillStyle = on ? ink.ink : ink.soft;
    c.fillText(name, 4, y(i));
  });
  map.targets.forEach((name, i) => {
    c.fillStyle = i === map.current ? ink.ink : ink.soft;
    c.fillText(name, right, y(i));
  });
}

export function NameMap(host, view) {
  const it = picture(host, view, {
    draw,
    hint: "Arrow keys walk from name to name",
    tall: (map) => TOP + STEP * map.targets.length + FOOT,
  });
  chosen(it.canvas, view, {
    down: 1,
    at: () => [it.figure.current, it.figure.targets.length - 1],
    // at the left a name is chosen by what it becomes
    pick({ x, y: height, width }) {
      const i = Math.floor((height - TOP) / STEP);
      if (i < 0 || i >= it.figure.targets.length) return undefined;
      return x < width / 2 ? it.figure.places[i] : i;
    },
    order: (i) => ({ event: "choose", name: it.figure.targets[i] }),
  });
  return it;
}

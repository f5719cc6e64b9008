// A loss of one rounded weight as stairs, without rounding as a bowl; below, the weight's path, a line for each step.
import { ends, percent, rules } from "../layer/axes.js";
import { clipped, dashed, dot, faint, line, polyline } from "../layer/canvas.js";
import { chosen } from "../layer/keys.js";
import { picture } from "../layer/picture.js";
import { number, ticks } from "../layer/text.js";

const [left, right, top, base] = [56, 16, 14, 176]; // the loss
const [first, last] = [206, 396]; // the path

const across = (stairs, width) => (v) => {
  const [low, high] = [stairs.weights[0], stairs.weights.at(-1)];
  return left + ((width - left - right) * (v - low)) / (high - low);
};
const down = (stairs) => (k) => first + ((last - first) * k) / Math.max(1, stairs.path.length - 1);

// What rounds to one level, every second strip shaded.
function strips(c, stairs, x, ink, width) {
  const { levels } = stairs;
  const half = (levels[1] - levels[0]) / 2;
  levels.forEach((level, k) => {
    const from = k ? x(level - half) : left;
    const to = k < levels.length - 1 ? x(level + half) : width - right;
    if (k % 2 === 0) {
      c.fillStyle = ink.line;
      faint(c, 0.35, () => c.fillRect(from, first, to - from, last - first));
    }
    c.fillStyle = ink.soft;
    c.textAlign = "center";
    c.textBaseline = "top";
    if (to - from > 44) {
      c.fillText(number(level, 2), Math.min(Math.max(x(level), left + 18), width - right - 18), last + 6);
    }
  });
}

function bowlAndStairs(c, stairs, x, y, ink, width) {
  clipped(c, left, top - 8, width - left - right, base - top + 8, () => {
    c.strokeStyle = ink.soft;
    c.lineWidth = 1.5;
    dashed(c, [5, 4], () =>
      polyline(
        c,
        Array.from(stairs.straight, (v, i) => [x(stairs.weights[i]), y(v)]),
      ),
    );
    c.strokeStyle = ink.level;
    c.lineWidth = 2.5;
    polyline(
      c,
      Array.from(stairs.loss, (v, i) => [x(stairs.weights[i]), y(v)]),
    );
  });
}

// An arrow along the axis: which way the weight is told to go.
function told(c, ink, x, y, way) {
  c.strokeStyle = ink.weight;
  c.lineWidth = 2.5;
  const tip = x + 34 * way;
  line(c, x + 9 * way, y, tip, y);
  line(c, tip, y, tip - 6 * way, y - 5);
  line(c, tip, y, tip - 6 * way, y + 5);
}

export function Staircase(host, view) {
  const it = picture(host, view, {
    height: 440,
    hint: "Arrow keys go through the steps",
    draw(c, stairs, { width, ink }) {
      const x = across(stairs, width);
      const most = Math.max(...stairs.level_loss, ...stairs.path_loss) * 1.12 || 1;
      const y = (v) => base - ((base - top) * v) / most;
      rules(c, ink, ticks(0, most, 4), y, [left, width - right], percent);
      strips(c, stairs, x, ink, width);
      c.strokeStyle = ink.ok;
      c.lineWidth = 1.5;
      dashed(c, [2, 3], () => line(c, x(stairs.best), top, x(stairs.best), last));
      bowlAndStairs(c, stairs, x, y, ink, width);
      const at = down(stairs);
      const walked = Array.from(stairs.path, (v, k) => [x(v), at(k)]);
      c.strokeStyle = ink.weight;
      c.lineWidth = 1.5;
      faint(c, 0.25, () => polyline(c, walked));
      polyline(c, walked.slice(0, stairs.current + 1));
      const k = stairs.current;
      c.fillStyle = ink.weight;
      c.strokeStyle = ink.card;
      dot(c, x(stairs.path[k]), at(k), 5.5);
      dot(c, x(stairs.path[k]), y(stairs.path_loss[k]), 6.5);
      if (stairs.slopes[k]) told(c, ink, x(stairs.path[k]), y(stairs.path_loss[k]), -Math.sign(stairs.slopes[k]));
      c.fillStyle = ink.soft;
      c.textAlign = "right";
      c.textBaseline = "middle";
      for (const step of [0, stairs.path.length - 1]) c.fillText(String(step), left - 8, at(step));
      ends(c, ink, last + 24, [left, "↓ steps"], [width - right, "the weight, and the levels it rounds to →"]);
    },
  });
  it.canvas.style.cursor = "pointer";
  chosen(it.canvas, view, {
    at: () => [it.figure.current, it.figure.path.length - 1],
    pick: (place) => {
      const at = down(it.figure);
      return Math.round((place.y - at(0)) / (at(1) - at(0) || 1));
    },
    order: (step) => ({ event: "step", step }),
  });
  return it;
}

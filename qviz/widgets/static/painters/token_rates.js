// Formats under the roof of a machine. Its slope is memory, its flat parts are arithmetic; a hollow point on the roof is
// what a format may reach, the filled one below what its products do reach. The slope can be dragged.
import { rules } from "../layer/axes.js";
import { clipped, dashed, dot, faint, line, polyline, ring, sharp } from "../layer/canvas.js";
import { draggable } from "../layer/drag.js";
import { aim, keyed, pointed, walked } from "../layer/keys.js";
import { beside, places } from "../layer/labels.js";
import { picture } from "../layer/picture.js";
import { handle } from "../layer/plane.js";
import { number } from "../layer/text.js";

const [left, right, top, base] = [66, 70, 22, 340];
const INKS = ["weight", "field-2", "ok", "level"]; // of the kinds of arithmetic
const finite = (values) => Array.from(values).filter((v) => Number.isFinite(v) && v > 0);

// Both scales in logarithms; they stand still while the bandwidth changes.
function scales(rates, width) {
  const [least, most] = [Math.min(...rates.intensities) / 1.6, Math.max(...rates.intensities) * 2];
  const reached = finite(rates.reached).map((v) => v * rates.work);
  const high = Math.log10(1.6 * Math.max(...rates.peaks, ...reached));
  const low = Math.min(Math.log10(Math.min(...reached, 10 ** high) / 2.5), high - 1);
  const x = (v) => left + ((width - left - right) * Math.log(v / least)) / Math.log(most / least);
  const y = (v) => base - ((base - top) * (Math.log10(v) - low)) / (high - low);
  return { x, y, low, high, least, most, speed: (at) => 10 ** (low + ((base - at) / (base - top)) * (high - low)) };
}

// 1, 2 and 5 of every power of ten between two powers.
function marks(low, high) {
  const powers = Array.from({ length: Math.ceil(high) - Math.floor(low) + 1 }, (_, k) => Math.floor(low) + k);
  const all = powers.flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power));
  return all.filter((v) => Math.log10(v) >= low && Math.log10(v) <= high);
}

// Where the slope is taken: a third of the way from the left.
const grasp = ({ least, most }) => least * (most / least) ** 0.3;

function axes(c, rates, { x, y, low, high, least, most }, width, ink) {
  rules(c, ink, marks(low, high), y, [left, width - right], (v) => number(v / 1e9));
  c.textAlign = "left";
  for (const rate of marks(low - Math.log10(rates.work), high - Math.log10(rates.work))) {
    c.fillText(number(rate), width - right + 8, y(rate * rates.work));
  }
  c.textBaseline = "bottom";
  c.fillText("10⁹ operations per second", left, top - 4);
  c.textAlign = "right";
  c.fillText("tokens per second", width - 4, top - 4);
  c.textAlign = "center";
  c.textBaseline = "top";
  for (const at of marks(Math.log10(least), Math.log10(most))) {
    if (x(at) > left + 10 && x(at) < width - right - 10) c.fillText(number(at), x(at), base + 8);
  }
  c.textAlign = "right";
  c.fillText("operations per byte, logarithmic →", width - right, base + 26);
}

function roof(c, rates, { x, y, least, most }, ink) {
  const peak = rates.peaks.length ? Math.max(...rates.peaks) : Infinity;
  const ridge = Math.min(most, Math.max(least, peak / rates.bandwidth));
  const slope = [least, ridge].map((v) => [x(v), y(Math.min(peak, rates.bandwidth * v))]);
  c.strokeStyle = ink.soft;
  c.lineWidth = 2.5;
  polyline(c, slope);
  rates.peaks.forEach((height, k) => {
    const from = Math.min(most, Math.max(least, height / rates.bandwidth));
    c.strokeStyle = ink[INKS[k % INKS.length]];
    polyline(
      c,
      [from, most].map((v) => [x(v), y(height)]),
    );
    c.fillStyle = c.strokeStyle;
    c.textAlign = "right";
    c.textBaseline = "bottom";
    if (from < most) c.fillText(`${rates.kinds[k]}, at most`, x(most) - 4, y(height) - 4);
  });
}

function formats(c, rates, { x, y }, width, ink) {
  const at = (i, rate) => [x(rates.intensities[i]), y(rate * rates.work)];
  const names = places([left, top, width - 2, base]);
  rates.names.forEach((_, i) => {
    const [px, high] = at(i, rates.roof[i]);
    const on = i === rates.current;
    c.strokeStyle = on ? ink.changed : ink.soft;
    c.lineWidth = 1.75;
    ring(c, px, high, on ? 6 : 4.5);
    if (!Number.isFinite(rates.reached[i])) return;
    const low = at(i, rates.reached[i])[1];
    c.lineWidth = 1;
    faint(c, 0.7, () => dashed(c, on ? [] : [2, 3], () => line(c, sharp(px), high + 5, sharp(px), low)));
    c.strokeStyle = ink.card;
    c.fillStyle = on ? ink.changed : ink.level;
    dot(c, px, low, on ? 7 : 5);
    names.take(px - 6, low - 6, 12, 12);
  });
  c.textBaseline = "middle";
  c.textAlign = "left";
  const order = Array.from(rates.names.keys()).sort((a, b) => (b === rates.current) - (a === rates.current));
  for (const i of order) {
    const wide = c.measureText(rates.names[i]).width;
    const [px, py] = at(i, Number.isFinite(rates.reached[i]) ? rates.reached[i] : rates.roof[i]);
    const place = names.find(wide, 14, [...beside(px, py, wide, -8, 9), [px - wide / 2, py + 17]]);
    c.fillStyle = i === rates.current ? ink.changed : ink.ink;
    if (place) c.fillText(rates.names[i], ...place);
  }
}

// The figure with another bandwidth: its slope follows the hand, and what memory allows with it.
export function faster(rates, power) {
  const bandwidth = 1e9 * 10 ** power;
  const peak = rates.peaks.length ? Math.max(...rates.peaks) / rates.work : Infinity;
  const bounds = rates.nbytes.map((n) => bandwidth / n);
  return { ...rates, bandwidth, bounds, roof: bounds.map((v) => Math.min(v, peak)) };
}

export function TokenRates(host, view) {
  const it = picture(host, view, {
    height: 384,
    hint: "Left and right choose a format, up and down move the bandwidth",
    moves: ["bounds", "reached", "roof", "intensities", "bandwidth", "work"],
    draw(c, rates, { width, ink, grip }) {
      const scale = scales(rates, width);
      axes(c, rates, scale, width, ink);
      clipped(c, left - 8, top - 8, width - left - right + 16, base - top + 10, () => roof(c, rates, scale, ink));
      formats(c, rates, scale, width, ink);
      const [hx, hy] = [scale.x(grasp(scale)), scale.y(rates.bandwidth * grasp(scale))];
      if (hy > top && hy < base) handle(c, ink, hx, hy, grip);
    },
  });
  draggable(it, view, {
    along: "y",
    things(rates, { width }) {
      const scale = scales(rates, width);
      const y = Math.max(top + 1, Math.min(base, scale.y(rates.bandwidth * grasp(scale))));
      const value = Math.log10(rates.bandwidth / 1e9);
      return [{ id: "bandwidth", value, range: [0, Math.log10(4000)], step: 0.05, x: scale.x(grasp(scale)), y }];
    },
    value: ({ y }, { width }, rates) => {
      const scale = scales(rates, width);
      return Math.log10(scale.speed(y) / grasp(scale) / 1e9);
    },
    held: (rates, _id, value) => faster(rates, value),
    order: (control, value) => ({ event: "set", control, value: Number((10 ** value).toPrecision(3)) }),
  });
  const aimed = aim(
    view,
    () => it.figure.current,
    (point) => ({ event: "point", point }),
  );
  keyed(it.canvas, (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return false; // the others move the roof
    aimed.go(walked(event, aimed.at, it.figure.names.length - 1));
    return true;
  });
  it.canvas.addEventListener("click", (event) => {
    const place = pointed(it.canvas, event);
    const { x, y } = scales(it.figure, place.width);
    const far = (i) => {
      const rate = Number.isFinite(it.figure.reached[i]) ? it.figure.reached[i] : it.figure.roof[i];
      return Math.hypot(x(it.figure.intensities[i]) - place.x, y(rate * it.figure.work) - place.y);
    };
    aimed.go(Array.from(it.figure.names.keys()).reduce((a, b) => (far(a) <= far(b) ? a : b)));
  });
  return it;
}

// The bits of a small float as switches; below, its numbers on a logarithmic line, above those of an integer grid.
import { dot, line, lines, sharp } from "../layer/canvas.js";
import { aim, keyed, pointed, walked } from "../layer/keys.js";
import { picture } from "../layer/picture.js";
import { number } from "../layer/text.js";

const [left, right, box, tall, top] = [96, 16, 40, 40, 6];
const [upper, lower, reach, foot] = [108, 150, 26, 190];

const digits = (bits) => [...bits.sign, ...bits.exponent, ...bits.mantissa];

// The part that a bit belongs to: 0 the sign, 1 the exponent, 2 the mantissa; parts stand apart.
const part = (bits, i) => (i < 1 ? 0 : i <= bits.exponent.length ? 1 : 2);
const place = (bits, i) => left + i * (box + 4) + 14 * part(bits, i);

function switches(c, bits, ink) {
  const colours = [ink.changed, ink.level, ink.weight];
  const names = ["sign", "exponent", "mantissa"];
  c.textBaseline = "middle";
  digits(bits).forEach((digit, i) => {
    const [x, colour] = [place(bits, i), colours[part(bits, i)]];
    c.globalAlpha = digit === "1" ? 0.3 : 0.1;
    c.fillStyle = colour;
    c.fillRect(x, top, box, tall);
    c.globalAlpha = 1;
    c.fillRect(x, top + tall - 3, box, 3);
    c.fillStyle = ink.ink;
    c.textAlign = "center";
    c.fillText(digit, x + box / 2, top + tall / 2);
  });
  let from = 0;
  [1, bits.exponent.length, bits.mantissa.length].forEach((length, k) => {
    c.fillStyle = ink.soft;
    c.textAlign = "left";
    if (length) c.fillText(names[k], place(bits, from), top + tall + 13);
    from += length;
  });
}

// Numbers as strokes on one line; `low` and `high` are logarithms to the base 2.
function comb(c, values, base, x, colour) {
  c.strokeStyle = colour;
  c.lineWidth = 1;
  lines(
    c,
    Array.from(values, (v) => [sharp(x(v)), base - reach, sharp(x(v)), base]),
  );
}

function rulers(c, bits, width, ink) {
  const low = Math.log2(Math.min(bits.positive[0], bits.even[0])) - 0.3;
  const high = Math.log2(bits.positive[bits.positive.length - 1]) + 0.15;
  const x = (v) => left + ((width - left - right) * (Math.log2(v) - low)) / (high - low);
  comb(c, bits.positive, upper, x, ink.level);
  comb(c, bits.even, lower, x, ink.soft);
  c.textAlign = "right";
  c.textBaseline = "middle";
  c.fillStyle = ink.level;
  c.fillText(bits.name, left - 12, upper - reach / 2);
  c.fillStyle = ink.soft;
  c.fillText(`INT${digits(bits).length}, scaled`, left - 12, lower - reach / 2);
  c.strokeStyle = ink.soft;
  line(c, left, sharp(lower + 6), width - right, sharp(lower + 6));
  c.textAlign = "center";
  c.textBaseline = "top";
  const every = Math.max(1, Math.ceil((high - low) / Math.max(4, width / 90)));
  for (let power = Math.ceil(low); power <= high; power += every) {
    line(c, sharp(x(2 ** power)), lower + 6, sharp(x(2 ** power)), lower + 11);
    c.fillText(number(2 ** power, 3, 1e-3), x(2 ** power), lower + 14);
  }
  const size = Math.abs(bits.value);
  if (!(size > 0 && Number.isFinite(size))) return;
  c.fillStyle = ink.weight;
  c.strokeStyle = ink.card;
  dot(c, x(size), upper - reach, 6);
}

export function FloatBits(host, view) {
  const it = picture(host, view, {
    height: foot,
    hint: "Arrow keys choose another code; click a bit to flip it",
    draw(c, bits, { width, ink }) {
      switches(c, bits, ink);
      rulers(c, bits, width, ink);
    },
  });
  it.canvas.style.cursor = "pointer";
  it.canvas.addEventListener("click", (event) => {
    const { x, y } = pointed(it.canvas, event);
    const at = digits(it.figure).findIndex((_, i) => x >= place(it.figure, i) && x <= place(it.figure, i) + box);
    if (at >= 0 && y >= top && y <= top + tall) view.send({ event: "bit", place: at });
  });
  const aimed = aim(
    view,
    () => it.figure.code,
    (code) => ({ event: "code", code }),
  );
  keyed(it.canvas, (event) => {
    const to = walked(event, aimed.at, 2 ** digits(it.figure).length - 1, { far: 8 });
    if (to !== undefined) aimed.go(to);
    return to !== undefined;
  });
  return it;
}

// Two bars a token: how probable it was for either model; what each of them wrote has its share in bold.
import { line, sharp } from "../layer/canvas.js";
import { picture } from "../layer/picture.js";
import { number } from "../layer/text.js";

const [left, right, top, row] = [130, 60, 4, 30];

// Spaces and line breaks can be seen.
const seen = (text) =>
  text.trim() ? text.replace(/\n/g, "↵") : text.replace(/ /g, "␣").replace(/\n/g, "↵") || "(nothing)";

export function TokenOdds(host, view) {
  return picture(host, view, {
    moves: ["odds"],
    tall: (odds) => top + row * odds.tokens.length + 6,
    draw(c, odds, { width, ink }) {
      const k = odds.tokens.length;
      const most = Math.max(...odds.odds);
      const x = (share) => left + ((width - left - right) * share) / most;
      const colours = [ink.weight, ink.level];
      c.textBaseline = "middle";
      odds.tokens.forEach((token, i) => {
        const y = top + row * i;
        c.textAlign = "right";
        c.fillStyle = ink.ink;
        c.fillText(seen(token), left - 10, y + row / 2, left - 14);
        c.textAlign = "left";
        for (const side of [0, 1]) {
          const [share, at] = [odds.odds[side * k + i], y + 4 + side * 12];
          c.fillStyle = colours[side];
          c.fillRect(left, at, Math.max(1, x(share) - left), 9);
          c.font = `${odds.chosen[side] === i ? "bold " : ""}${ink.font.replace("12.5px", "11px")}`;
          c.fillText(`${number(100 * share, 2)} %`, x(share) + 6, at + 5);
          c.font = ink.font;
        }
      });
      c.strokeStyle = ink.soft;
      c.lineWidth = 1;
      line(c, sharp(left), top, sharp(left), top + row * k);
    },
  });
}

// Names that never run into each other.

const GAP = 5; // CSS pixels between two names of one line: less, and they would be read as one

// Boxes that are taken, and the first free place for a name.
export function places([left, top, right, bottom]) {
  const taken = [];
  const free = (a) =>
    !taken.some((b) => a[0] < b[0] + b[2] && b[0] < a[0] + a[2] && a[1] < b[1] + b[3] && b[1] < a[1] + a[3]);
  return {
    // Nothing is written over this box.
    take(x, y, width, height) {
      taken.push([x, y, width, height]);
    },
    // Of the places [left edge, middle], the first where a text fits; it is taken then. Undefined if there is none.
    find(width, height, candidates) {
      return candidates.find(([x, y]) => {
        const box = [x, y - height / 2, width, height];
        const inside = x >= left && x + width <= right && box[1] >= top && box[1] + height <= bottom;
        if (!inside || !free(box)) return false;
        taken.push([x - GAP, box[1], width + 2 * GAP, height]);
        return true;
      });
    },
  };
}

// The four places beside a point, as `places` wants them.
export const beside = (x, y, width, up = -9, down = 10) => [
  [x + 11, y + up],
  [x - 11 - width, y + down],
  [x + 11, y + down],
  [x - 11 - width, y + up],
];

// Text on a patch of the card's colour, so that it can be read over lines.
export function patched(c, text, x, y, ink, { colour = ink.ink, height = 16, alpha = 0.8, margin = 2 } = {}) {
  const wide = c.measureText(text).width;
  c.fillStyle = ink.card;
  c.globalAlpha = alpha;
  c.fillRect(x - margin, y - height / 2, wide + 2 * margin, height);
  c.globalAlpha = 1;
  c.fillStyle = colour;
  c.textAlign = "left";
  c.textBaseline = "middle";
  c.fillText(text, x, y);
}

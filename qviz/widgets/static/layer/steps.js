// What the pictures of the GPTQ debugger share: they stand at one column, and all answer the arrow keys alike.
import { clipped } from "./canvas.js";
import { aim, keyed, pointed, within } from "./keys.js";

// Arrow keys walk over columns (and rows, where there are some: `row` is −1 where not). `at()` says where it stands now.
export function stepped(canvas, view, at) {
  canvas.style.cursor = "pointer";
  const aimed = aim(
    view,
    () => ({ column: at().column, row: at().row }),
    ({ column, row }) => (row < 0 ? { event: "step", column } : { event: "step", column, row }),
  );
  keyed(canvas, (event) => {
    const { column, row } = aimed.at;
    const far = event.shiftKey ? 8 : 1;
    const to = { ArrowLeft: column - far, ArrowRight: column + far, Home: 0, End: at().n - 1 }[event.key];
    const down = { ArrowUp: -far, ArrowDown: far }[event.key];
    if (to !== undefined) aimed.go({ column: within(to, at().n - 1), row });
    else if (down !== undefined && row >= 0) aimed.go({ column, row: Math.max(0, row + down) });
    else return false;
    return true;
  });
}

// A click chooses a column; `column` turns the pointer's place into one, or undefined.
export function clicked(canvas, view, column) {
  canvas.addEventListener("click", (event) => {
    const to = column(pointed(canvas, event));
    if (to !== undefined) view.send({ event: "step", column: to });
  });
}

// What lies behind the current batch hears of its errors only when it ends.
export function waiting(c, from, to, top, height, ink, text) {
  if (to - from < 1) return;
  clipped(c, from, top, to - from, height, () => {
    c.fillStyle = ink.line;
    c.globalAlpha = 0.35;
    c.fillRect(from, top, to - from, height);
    c.strokeStyle = ink.soft;
    c.lineWidth = 1;
    c.beginPath();
    for (let x = from - height; x < to; x += 9) {
      c.moveTo(x, top + height);
      c.lineTo(x + height, top);
    }
    c.globalAlpha = 0.18;
    c.stroke();
    c.globalAlpha = 1;
    if (!text || to - from <= c.measureText(text).width + 12) return;
    c.fillStyle = ink.soft;
    c.textAlign = "left";
    c.textBaseline = "top";
    c.fillText(text, from + 6, top + 4);
  });
}

// Arrow keys walk over columns (and rows, where there are some); all pictures of the debugger answer them alike.
export function gptqSteers(canvas, view, at) {
  canvas.tabIndex = 0;
  canvas.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take the arrow keys
  canvas.style.cursor = "pointer";
  canvas.addEventListener("keydown", (event) => {
    const { column, row, n } = at();
    const far = event.shiftKey ? 8 : 1;
    const to = { ArrowLeft: column - far, ArrowRight: column + far, Home: 0, End: n - 1 }[event.key];
    const down = { ArrowUp: -far, ArrowDown: far }[event.key];
    if (to !== undefined) view.send({ event: "step", column: Math.min(n - 1, Math.max(0, to)) });
    else if (down !== undefined && row >= 0) view.send({ event: "step", row: row + down });
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
}

// What lies behind the current batch hears of its errors only when it ends.
export function gptqWaiting(c, from, to, top, height, ink, text) {
  if (to - from < 1) return;
  c.save();
  c.beginPath();
  c.rect(from, top, to - from, height);
  c.clip();
  c.fillStyle = ink.line;
  c.globalAlpha = 0.35;
  c.fillRect(from, top, to - from, height);
  c.globalAlpha = 0.6;
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
  if (text && to - from > c.measureText(text).width + 12) {
    c.fillStyle = ink.soft;
    c.textAlign = "left";
    c.textBaseline = "top";
    c.fillText(text, from + 6, top + 4);
  }
  c.restore();
}

// Arrow keys walk, Home and End jump; returns the place to go to, or undefined for any other key.
export function walked(event, at, last) {
  const step = event.shiftKey ? 10 : 1;
  const to = { ArrowLeft: at - step, ArrowDown: at - step, ArrowRight: at + step, ArrowUp: at + step, Home: 0, End: last }[event.key];
  return to === undefined ? undefined : Math.min(last, Math.max(0, to));
}

export function keyed(canvas, answer) {
  canvas.tabIndex = 0;
  canvas.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take the arrow keys
  canvas.style.cursor = "pointer";
  canvas.addEventListener("keydown", (event) => {
    if (!answer(event)) return;
    event.preventDefault();
    event.stopPropagation();
  });
}

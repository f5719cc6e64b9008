// Keyboard and pointer on a canvas: every picture answers them alike.

// Reach a canvas with Tab; `answer` returns whether a key was meant for it.
export function keyed(canvas, answer) {
  canvas.tabIndex = 0;
  // what answers keys is no mere image: a screen reader passes the arrow keys on
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-roledescription", "picture that answers keys");
  canvas.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take the arrow keys
  canvas.addEventListener("keydown", (event) => {
    if (!answer(event)) return;
    event.preventDefault();
    event.stopPropagation();
  });
}

export const within = (value, last, first = 0) => Math.min(last, Math.max(first, value));

// Arrow keys walk, Home and End jump; returns the place to go to, or undefined for any other key. Shift walks `far`.
// In a list that runs downwards, `down` is 1: the arrow down leads on.
export function walked(event, at, last, { far = 1, down = -1 } = {}) {
  const step = event.shiftKey ? far : 1;
  const moves = { ArrowLeft: -step, ArrowRight: step, ArrowUp: -down * step, ArrowDown: down * step };
  const to = { Home: 0, End: last }[event.key] ?? (event.key in moves ? at + moves[event.key] : undefined);
  return to === undefined ? undefined : within(to, last);
}

// The place where a picture stands, or will: keys come faster than Python answers, and each goes on from the last one.
// `now()` is the place in the figure on show, `order(place)` the message to Python that moves it there.
export function aim(view, now, order) {
  let asked; // until Python has answered
  const arrived = () => {
    asked = undefined;
  };
  return {
    get at() {
      return asked ?? now();
    },
    go(place) {
      asked = place;
      view.order(order(place), arrived);
    },
  };
}

// Choose one of a row of things: by arrow keys, or by a click. `at` gives the place now and the last one, `pick` the
// place under a pointer ({x, y, width, height}, in CSS pixels), `order` the message to Python that chooses a place.
export function chosen(canvas, view, { at, pick, order, ...how }) {
  const aimed = aim(view, () => at()[0], order);
  const last = () => at()[1];
  keyed(canvas, (event) => {
    const to = walked(event, aimed.at, last(), how);
    if (to !== undefined) aimed.go(to);
    return to !== undefined;
  });
  canvas.addEventListener("click", (event) => {
    const to = pick(pointed(canvas, event));
    if (to !== undefined) aimed.go(within(to, last()));
  });
}

// Where a pointer is on a canvas.
export function pointed(canvas, event) {
  const box = canvas.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top, width: box.width, height: box.height };
}

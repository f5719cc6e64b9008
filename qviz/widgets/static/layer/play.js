// A ▶ that makes a picture step by itself.
import { h } from "./dom.js";

const STOPS = ["pointerdown", "keydown", "wheel"]; // whatever a person does on the page ends it

// Calls `step(i)` for i = 0, 1, … at a pace, until it returns false; `changed(playing)` hears of start and end.
export function pacer({ step, every, changed = () => {}, timers = globalThis }) {
  let timer = null;
  function stop() {
    if (timer === null) return;
    timers.clearTimeout(timer);
    timer = null;
    changed(false);
  }
  function go(i) {
    if (step(i) === false) stop();
    if (timer !== null) timer = timers.setTimeout(() => go(i + 1), every);
  }
  return {
    get playing() {
      return timer !== null;
    },
    stop,
    start() {
      if (timer !== null) return;
      timer = 0;
      changed(true);
      go(0);
    },
  };
}

// A button in the head of a picture's panel, which steps at a pace: `label` says through what. It stops at the end, at
// any input, and when the page is hidden. `step(i)` returns false where there is no more.
export function playButton(host, view, { label, step, every = 900 }) {
  const sign = h("span", { "aria-hidden": "true" }, "▶");
  const button = h("button.play", { type: "button", "aria-pressed": "false" }, sign, ` ${label}`);
  const pace = pacer({
    every,
    step: (i) => button.isConnected && step(i),
    changed(playing) {
      sign.textContent = playing ? "⏸" : "▶";
      button.setAttribute("aria-pressed", playing);
      for (const kind of STOPS) document[playing ? "addEventListener" : "removeEventListener"](kind, touched, true);
      document[playing ? "addEventListener" : "removeEventListener"]("visibilitychange", pace.stop);
    },
  });
  // what presses the button itself is heard by the button
  const presses = ({ type, key, target }) =>
    button.contains(target) && (type !== "keydown" || ["Enter", " "].includes(key));
  const touched = (event) => presses(event) || pace.stop();
  button.addEventListener("click", () => {
    if (pace.playing) pace.stop();
    else if (!view.refuse(button)) pace.start();
  });
  host.closest(".qviz-panel").querySelector(".qviz-legend").before(button);
  return { button, stop: pace.stop };
}

// A ▶ that leads a control through values, as a panel's options say: {tour: {control, values, label, every}}. The picture's
// `show` puts it there, and takes it away where there is no tour.
export function tour(it, host, view) {
  const { show } = it;
  let made = null;
  it.show = (panel) => {
    show(panel);
    const plan = panel.options?.tour;
    if (plan && !made) {
      const step = (i) => {
        const { control, values } = it.panel.options.tour;
        if (i < values.length) view.order({ event: "set", control, value: values[i] });
        return i + 1 < values.length;
      };
      made = playButton(host, view, { label: plan.label, step, every: plan.every });
    }
    if (made) made.button.hidden = !plan;
  };
}

// Panels that share a place, one page of them at a time: tabs.
import { h } from "./dom.js";

const STEPS = { ArrowRight: 1, ArrowLeft: -1 };

// `pages(bar)` gives `show(drawn, pages)`: pages are [[title, [names of panels]]]; panels of no page are always there.
export function pages(bar) {
  let titles = "";
  let chosen = 0;
  let all = [];
  let nodes = {};

  function turn(to, focus) {
    chosen = (to + all.length) % all.length;
    [...bar.children].forEach((tab, i) => {
      tab.setAttribute("aria-selected", i === chosen);
      tab.tabIndex = i === chosen ? 0 : -1;
      if (focus && i === chosen) tab.focus();
    });
    all.forEach(([, names], i) => {
      for (const name of names) if (nodes[name]) nodes[name].node.hidden = i !== chosen;
    });
  }

  return function show(drawn, wanted) {
    nodes = drawn;
    all = wanted.filter(([, names]) => names.some((name) => drawn[name]));
    bar.hidden = all.length < 2;
    const now = all.map(([title]) => title).join("\n");
    if (now !== titles) {
      titles = now;
      bar.replaceChildren(
        ...all.map(([title], i) => {
          const tab = h("button.tab", { type: "button", role: "tab" }, title);
          tab.addEventListener("click", () => turn(i));
          tab.addEventListener("keydown", (event) => {
            if (!STEPS[event.key]) return;
            event.preventDefault();
            event.stopPropagation();
            turn(chosen + STEPS[event.key], true);
          });
          return tab;
        }),
      );
    }
    if (all.length) turn(Math.min(chosen, all.length - 1));
  };
}

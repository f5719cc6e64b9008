// A riddle: which of many cells? They are chosen by clicks or with Enter, and Python says whether that was right.
import { h, say } from "./dom.js";

// `cells` holds the cells; `show(riddle)` gets {key, text} or nothing; `answer(places)` sends what was chosen.
export function guessing(cells, card, answer) {
  const chosen = new Set();
  let key = null;
  const text = h("p.sum", {});
  const count = h("span.soft", {}, "");
  const button = (words, act) => {
    const node = h("button.play", { type: "button" }, words);
    node.addEventListener("click", act);
    return node;
  };
  const mark = () => {
    [...cells.children].forEach((cell, i) => cell.classList.toggle("qviz-chosen", key !== null && chosen.has(i)));
    say(count, ` ${chosen.size} chosen`);
  };
  const all = (on) => () => {
    chosen.clear();
    if (on) for (let i = 0; i < cells.children.length; i++) chosen.add(i);
    mark();
  };
  const check = button("Check", () => answer([...chosen]));
  card.append(text, h("p", {}, check, button("Choose all", all(true)), button("Choose none", all(false)), count));

  function toggle(event) {
    const at = [...cells.children].indexOf(event.target.closest("[role=option]"));
    if (key === null || at < 0) return false;
    if (!chosen.delete(at)) chosen.add(at);
    mark();
    return true;
  }
  cells.addEventListener("click", toggle);
  cells.addEventListener("keydown", (event) => {
    if ((event.key === "Enter" || event.key === " ") && toggle(event)) event.preventDefault();
  });
  return {
    get on() {
      return key !== null;
    },
    show(riddle) {
      card.hidden = !riddle;
      if ((riddle?.key ?? null) !== key) chosen.clear();
      key = riddle?.key ?? null;
      if (riddle) say(text, riddle.text);
      mark();
    },
  };
}

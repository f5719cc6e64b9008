// What a lock of the explorer means to its pictures: nothing in them can be moved, and they say why.
import { h } from "./dom.js";

const SECONDS = 5;

// A few words beside the place that was touched.
function bubble(root) {
  const node = h("div.bubble", { role: "status" });
  node.hidden = true;
  root.append(node);
  let timer;
  return function tell(text, { x, y }) {
    const box = root.getBoundingClientRect();
    node.textContent = text;
    node.hidden = false;
    const [wide, high] = [node.offsetWidth, node.offsetHeight];
    node.style.left = `${Math.max(0, Math.min(box.width - wide, x - box.left - wide / 2))}px`;
    node.style.top = `${Math.max(0, y - box.top - high - 14)}px`;
    clearTimeout(timer);
    timer = setTimeout(() => {
      node.hidden = true;
    }, 1000 * SECONDS);
  };
}

// `locked()`, and `refuse(node, place)`: whether a lock holds the picture; then it says so beside what was touched, a
// canvas and a place on it, or any other node.
export function lock(root) {
  const tell = bubble(root);
  const line = () => root.closest(".qviz-locked")?.querySelector(":scope > .qviz-lock");
  return {
    locked: () => Boolean(line()),
    refuse(node, place) {
      const reason = line()?.textContent.trim();
      if (reason === undefined) return false;
      const box = node.getBoundingClientRect();
      tell(reason, { x: box.left + (place?.x ?? box.width / 2), y: box.top + (place?.y ?? 0) });
      return true;
    },
  };
}

// A line for each way in which tensors change their format: two colours, which tensors, and why.
import { entry } from "../layer/colour.js";
import { h } from "../layer/dom.js";

export function FormatChanges(host, view) {
  const list = h("ul.changes");
  let figure;
  host.append(list);

  function swatch(name, code) {
    const key = h("span.swatch", {}, name);
    key.style.setProperty("--role", `rgb(${entry(view.table("sequential"), code)})`);
    return key;
  }
  function redraw() {
    if (!figure) return;
    const lines = figure.before.map((before, i) => {
      const both = [swatch(before, figure.shades[2 * i]), " → ", swatch(figure.after[i], figure.shades[2 * i + 1])];
      return h("li", {}, h("span.change", {}, ...both), h("b", {}, figure.kinds[i]), `: ${figure.whys[i]}.`);
    });
    if (!lines.length) lines.push(h("li", {}, "No tensor changes its format."));
    list.replaceChildren(...lines);
  }
  return {
    show(panel) {
      figure = panel.figure;
      redraw();
    },
    redraw,
  };
}

import { h } from "../../../widgets/static/layer/dom.js";

// Two versions of a function, equal lines beside one another.
export function CodePair(host) {
  const sheet = h("div.code-pair");
  host.append(sheet);
  return {
    show(panel) {
      const side = (which, name, mark) =>
        h(
          "div.code-side",
          { role: "group", "aria-label": name, tabindex: 0 },
          h("div.code-name", {}, name),
          h(
            "pre.listing",
            {},
            ...panel.figure.lines.map((line) => {
              const text = line[which];
              const tag = line.same
                ? "span.code-line"
                : text
                  ? `span.code-line.code-${mark}`
                  : "span.code-line.code-none";
              return h(tag, {}, text || " ");
            }),
          ),
        );
      sheet.replaceChildren(side("left", "As it shipped", "shipped"), side("right", "As it should be", "mended"));
    },
    redraw() {},
  };
}

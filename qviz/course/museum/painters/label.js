import { h } from "../../../widgets/static/layer/dom.js";

// Paragraphs with headings, and links.
export function Label(host) {
  const sheet = h("div.label");
  host.append(sheet);
  return {
    show({ figure }) {
      const parts = figure.parts.map(([heading, text]) => h("p", {}, h("b", {}, heading), h("span", {}, text)));
      if (figure.links.length) {
        const links = figure.links.flatMap(([text, href], i) => [
          ...(i ? [" · "] : []),
          h("a", { href, target: "_blank", rel: "noopener noreferrer" }, text),
        ]);
        parts.push(h("p", {}, h("b", {}, figure.links.length > 1 ? "Threads" : "Thread"), h("span", {}, ...links)));
      }
      sheet.replaceChildren(...parts);
    },
    redraw() {},
  };
}

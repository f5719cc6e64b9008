import { h } from "../layer/dom.js";

// Two texts side by side, token by token; where they part, and after, tokens that differ are marked.
export function TokenDuel(host) {
  const columns = h("div.duel");
  host.append(columns);
  return {
    show(panel) {
      const duel = panel.figure;
      const made = duel.names.map((name, side) => {
        const tokens = duel.tokens[side];
        return h(
          "div.duel-side",
          { role: "group", "aria-label": `${name}: ${tokens.join("")}` },
          h("div.duel-name", {}, name),
          h(
            "p.duel-text",
            {},
            h("span.duel-prompt", {}, duel.prompt),
            ...tokens.map((text, i) =>
              h(i < duel.parts ? "span.duel-same" : i === duel.parts ? "mark.duel-first" : "mark", {}, text),
            ),
          ),
        );
      });
      columns.replaceChildren(...made);
    },
    redraw() {},
  };
}

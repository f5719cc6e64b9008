import { h, say } from "../../../widgets/static/layer/dom.js";

// A question with choices; a chosen one keeps its verdict.
export function Quiz(host, view) {
  let shown = "";
  const list = h("ol.answers");
  host.append(list);
  function build(figure) {
    shown = figure.name;
    list.replaceChildren(
      ...figure.answers.map(({ text }, i) => {
        const button = h(
          "button.answer",
          { type: "button" },
          h("span.mark", { "aria-hidden": "true" }),
          h("span", {}, text),
        );
        button.addEventListener("click", () => view.send({ event: "answer", answer: i }));
        return h("li", {}, button, h("p.feedback"));
      }),
    );
  }
  return {
    show({ figure }) {
      if (figure.name !== shown) build(figure);
      figure.answers.forEach(({ state, feedback }, i) => {
        const [button, note] = list.children[i].children;
        const closed = figure.solved || state !== "open";
        list.children[i].dataset.state = state;
        button.setAttribute("aria-disabled", closed);
        say(button.firstChild, { open: String.fromCharCode(65 + i), right: "✓", wrong: "✗" }[state]);
        button.setAttribute("aria-pressed", state !== "open");
        say(note, feedback);
        note.hidden = !feedback;
      });
    },
    redraw() {},
  };
}

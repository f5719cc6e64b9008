// Two texts side by side, token by token. The first token that differs is coloured; the one on show is framed in both.
import { h } from "../layer/dom.js";
import { aim, keyed, walked } from "../layer/keys.js";

// A line may end at the space that a token begins with; its word stays whole, and with it what frames it.
function tokenOf(text, i, parts) {
  const [, before, word, after] = /^(\s*)(.*?)(\s*)$/s.exec(text);
  const shown = word ? [before, h("span.word", {}, word), after] : [text];
  return h(i === parts ? "mark.token" : "span.token", { "data-token": i }, ...shown);
}

function side(duel, k) {
  const [name, tokens] = [duel.names[k], duel.tokens[k]];
  const spans = tokens.map((text, i) => tokenOf(text, i, duel.parts));
  const text = h("p.duel-text", {}, h("span.duel-prompt", {}, duel.prompt), ...spans);
  return h(
    "div.duel-side",
    { role: "group", "aria-label": `${name}: ${tokens.join("")}` },
    h("div.duel-name", {}, name),
    text,
  );
}

export function TokenDuel(host, view) {
  const columns = h("div.duel", { "aria-label": "Two texts. Arrow keys choose a token" });
  let duel = null;
  let drawn = "";
  host.append(columns);
  const last = () => Math.min(...duel.tokens.map((tokens) => tokens.length)) - 1;
  const aimed = aim(
    view,
    () => duel.current,
    (token) => ({ event: "token", token }),
  );
  const choose = (token) => {
    if (token !== aimed.at && token <= last()) aimed.go(token);
  };
  columns.addEventListener("pointerover", (event) => {
    const token = event.target.closest?.("[data-token]");
    if (token && duel) choose(Number(token.dataset.token));
  });
  keyed(columns, (event) => {
    const to = walked(event, aimed.at, last(), { far: 5, down: 1 });
    if (to !== undefined) choose(to);
    return to !== undefined;
  });
  return {
    show(panel) {
      duel = panel.figure;
      const wanted = JSON.stringify([duel.prompt, duel.names, duel.tokens]);
      if (wanted !== drawn) columns.replaceChildren(side(duel, 0), side(duel, 1));
      drawn = wanted;
      for (const token of columns.querySelectorAll("[data-token]")) {
        token.classList.toggle("qviz-on", Number(token.dataset.token) === duel.current);
      }
    },
    redraw() {},
  };
}

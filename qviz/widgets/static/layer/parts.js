// The parts of a scene around its pictures: panels with their words, readouts, notes, tables.
import { h, say } from "./dom.js";

// A panel without its words yet; `painter` draws into its body.
function panelNode(name, kind, painter) {
  const parts = { kind, title: h("h4"), legend: h("div.legend"), caption: h("p.caption") };
  const body = h("div.body");
  const head = h("div.head", {}, parts.title, parts.legend);
  parts.node = h("figure.panel", { "data-panel": name }, head, body, parts.caption);
  parts.node.style.margin = "0";
  parts.painter = painter(body);
  return parts;
}

function words({ title, caption, legend }, panel) {
  say(title, panel.title);
  title.parentNode.hidden = !panel.title;
  say(caption, panel.caption);
  caption.title = panel.caption;
  caption.hidden = !panel.caption;
  const wanted = JSON.stringify(panel.legend);
  if (legend.dataset.shown === wanted) return;
  legend.dataset.shown = wanted;
  legend.replaceChildren(
    ...panel.legend.map(([role, text]) => {
      const key = h("span.key", {}, text);
      key.style.setProperty("--role", `var(--qviz-${role})`);
      return key;
    }),
  );
}

// Put the panels of a scene in their order, with their words. `drawn` keeps them from one scene to the next: name -> {kind,
// node, painter, …}; `kinds` makes painters.
export function placePanels(parent, drawn, panels, kinds, view) {
  const names = Object.keys(panels);
  for (const name of Object.keys(drawn)) {
    if (names.includes(name) && drawn[name].kind === panels[name].figure.type) continue;
    drawn[name].node.remove();
    delete drawn[name];
  }
  names.forEach((name, i) => {
    const panel = panels[name];
    const kind = panel.figure.type;
    drawn[name] ??= panelNode(name, kind, (body) => kinds[kind](body, view));
    const { node } = drawn[name];
    if (parent.children[i] !== node) parent.insertBefore(node, parent.children[i] ?? null);
    words(drawn[name], panel);
  });
}

// Draw them: last, since a picture measures its place, and each word that is written after that has the page laid out anew.
export function drawPanels(drawn, panels) {
  for (const [name, panel] of Object.entries(panels)) drawn[name].painter.show(panel);
}

export function showReadouts(parent, readouts) {
  if (parent.children.length !== readouts.length) {
    parent.replaceChildren(...readouts.map(() => h("div.readout", {}, h("div.name"), h("div.value"))));
  }
  readouts.forEach(({ label, value, hint }, i) => {
    const tile = parent.children[i];
    say(tile.children[0], label);
    say(tile.children[1], value);
    tile.title = hint;
  });
  parent.hidden = !readouts.length;
}

export function showNotes(parent, notes) {
  const key = notes.map(({ level, text }) => `${level}\n${text}`).join("\n\n");
  if (parent.dataset.notes === key) return;
  parent.dataset.notes = key;
  parent.replaceChildren(...notes.map(({ level, text }) => h(`p.${level}`, {}, text)));
}

export function tableNode({ caption, columns, rows }) {
  const row = (tag, texts, attributes = {}) => h("tr", {}, ...texts.map((text) => h(tag, attributes, text)));
  const head = h("thead", {}, row("th", columns, { scope: "col" }));
  return h("table", {}, h("caption", {}, caption), head, h("tbody", {}, ...rows.map((texts) => row("td", texts))));
}

// Draws what Python computed: a frame holds every number of the picture, and nothing is computed here but pixels.
// Each picture has a painter, a file of its own in `painters/`; what painters share is in `layer/`. Python joins all of
// them into the one module that the browser gets (see modules.py), and makes KINDS, the painters by name.
/* global KINDS */

import { inksOf, isDark } from "./layer/colour.js";
import { h, say } from "./layer/dom.js";
import { decode } from "./layer/frame.js";

function render({ model, el }) {
  const readouts = h("div.readouts");
  const panels = h("div.panels");
  const located = h("p.located", { "aria-live": "polite" });
  const status = h("div.status", { role: "status" });
  const heard = h("p.heard", { "aria-live": "polite" });
  const data = h("details.data", {}, h("summary", {}, "The numbers behind the picture"));
  const root = h("div", {}, readouts, panels, located, status, heard, data);
  root.className = "qviz";
  el.append(root);

  let scene;
  let inks; // colours as the page's theme has them, read once per theme
  let drawn = {}; // panel name -> {kind, node, title, caption, legend, painter}
  let waiting = false; // one question to the kernel at a time; the latest next
  let next = null;

  const view = {
    pointer: null,
    ink() {
      inks ??= inksOf(root);
      return inks;
    },
    table(colours) {
      const all = new Uint8Array(model.get("palette").buffer, model.get("palette").byteOffset);
      const which = colours === "sequential" ? 2 : root.classList.contains("qviz-dark") ? 1 : 0;
      return all.subarray(768 * which, 768 * (which + 1));
    },
    send(message) {
      try {
        model.send(message);
      } catch {
        // the kernel is gone: the picture stays as it is
      }
    },
    point(at) {
      view.pointer = at;
      for (const { painter } of Object.values(drawn)) painter.mark?.();
      next = at;
      ask();
    },
    zoom: (at, into) => view.send({ event: "zoom", ...at, into }),
  };

  function ask() {
    if (waiting || !next) return;
    waiting = true;
    view.send({ event: "locate", ...next });
    next = null;
    setTimeout(() => {
      waiting = false; // no answer: the kernel is busy or gone
      ask();
    }, 1000);
  }

  function panelNode(name, panel) {
    const parts = {
      kind: panel.figure.type,
      title: h("h4"),
      legend: h("div.legend"),
      caption: h("p.caption"),
    };
    const body = h("div.body");
    parts.node = h(
      "figure.panel",
      { "data-panel": name },
      h("div.head", {}, parts.title, parts.legend),
      body,
      parts.caption,
    );
    parts.node.style.margin = "0";
    parts.painter = KINDS[parts.kind](body, view);
    return parts;
  }

  function show() {
    const frame = model.get("frame");
    if (!frame || !frame.byteLength) return;
    scene = decode(frame);
    root.dataset.layout = scene.layout;

    const names = Object.keys(scene.panels);
    for (const name of Object.keys(drawn)) {
      if (!names.includes(name) || drawn[name].kind !== scene.panels[name].figure.type) {
        drawn[name].node.remove();
        delete drawn[name];
      }
    }
    names.forEach((name, i) => {
      const panel = scene.panels[name];
      drawn[name] ??= panelNode(name, panel);
      if (panels.children[i] !== drawn[name].node)
        panels.insertBefore(drawn[name].node, panels.children[i] ?? null);
      const { title, caption, legend, painter } = drawn[name];
      say(title, panel.title);
      title.parentNode.hidden = !panel.title;
      say(caption, panel.caption);
      caption.hidden = !panel.caption;
      if (legend.children.length !== panel.legend.length) {
        legend.replaceChildren(
          ...panel.legend.map(([role, text]) => {
            const key = h("span.key", {}, text);
            key.style.setProperty("--role", `var(--qviz-${role})`);
            return key;
          }),
        );
      }
      painter.show(panel);
    });

    if (readouts.children.length !== scene.readouts.length) {
      readouts.replaceChildren(
        ...scene.readouts.map(() => h("div.readout", {}, h("div.name"), h("div.value"))),
      );
    }
    scene.readouts.forEach(({ label, value, hint }, i) => {
      const tile = readouts.children[i];
      say(tile.children[0], label);
      say(tile.children[1], value);
      tile.title = hint;
    });
    readouts.hidden = !scene.readouts.length;

    const notes = scene.status.map(({ level, text }) => `${level}\n${text}`).join("\n\n");
    if (status.dataset.notes !== notes) {
      status.dataset.notes = notes;
      status.replaceChildren(...scene.status.map(({ level, text }) => h(`p.${level}`, {}, text)));
    }
    located.hidden = !["tensor", "museum"].includes(scene.layout) || !scene.panels.error;
    if (!located.textContent)
      say(
        located,
        "Point at a picture to see one weight; click or press Enter to zoom in, Shift-click or Escape to zoom out.",
      );
    if (view.pointer) {
      next = view.pointer;
      ask();
    }
    data.hidden = !scene.tables.length;
    if (data.open) fillTables();
    clearTimeout(heard.timer);
    heard.timer = setTimeout(() => {
      say(heard, scene.summary); // spoken once the hand rests
      label();
    }, 500);
    root.dispatchEvent(new CustomEvent("qviz-drawn", { bubbles: true }));
  }

  function fillTables() {
    const made = scene.tables.map(({ caption, columns, rows }) =>
      h(
        "table",
        {},
        h("caption", {}, caption),
        h("thead", {}, h("tr", {}, ...columns.map((text) => h("th", { scope: "col" }, text)))),
        h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map((text) => h("td", {}, text))))),
      ),
    );
    data.replaceChildren(data.firstChild, h("div.tables", {}, ...made));
  }
  data.addEventListener("toggle", () => data.open && scene && fillTables());

  function retheme() {
    const dark = isDark(el);
    inks = undefined;
    root.classList.toggle("qviz-dark", dark);
    for (const { painter } of Object.values(drawn)) painter.redraw();
  }

  // What ipywidgets leaves unsaid about the controls around us: names of slider handles and of groups of buttons,
  // which button is pressed; and JupyterLab is to leave them their arrow keys.
  function label() {
    const explorer = el.closest(".qviz-explorer");
    for (const widget of explorer?.querySelectorAll(".widget-slider, .widget-toggle-buttons") ?? []) {
      const name = widget.querySelector(":scope > .widget-label")?.textContent ?? "";
      const handle = widget.querySelector("[role=slider]");
      handle?.setAttribute("aria-label", name);
      handle?.setAttribute("aria-disabled", handle.closest(".noUi-target").hasAttribute("disabled"));
      const buttons = widget.querySelectorAll("button");
      if (buttons.length) {
        widget.setAttribute("role", "group");
        widget.setAttribute("aria-label", name);
      }
      for (const button of buttons)
        button.setAttribute("aria-pressed", button.classList.contains("mod-active"));
    }
    const signs = { "fa-play": "Play", "fa-pause": "Pause", "fa-stop": "Stop", "fa-retweet": "Repeat" };
    for (const icon of explorer?.querySelectorAll(".widget-play button > i") ?? []) {
      const sign = Object.keys(signs).find((name) => icon.classList.contains(name));
      if (sign) icon.parentNode.setAttribute("aria-label", signs[sign]);
    }
    for (const node of explorer?.querySelectorAll("select, [role=slider], input") ?? [])
      node.dataset.lmSuppressShortcuts = "true";
  }

  const answer = (message) => {
    if (message?.located === undefined) return;
    waiting = false;
    say(located, message.located);
    ask();
  };
  const themes = new MutationObserver(() => requestAnimationFrame(retheme));
  themes.observe(document.body, {
    attributes: true,
    attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class"],
  });
  model.on("change:frame", show);
  model.on("msg:custom", answer);
  retheme();
  show();
  const locks = new MutationObserver(label); // controls are locked and unlocked without a new picture
  const placed = requestAnimationFrame(() => {
    retheme();
    label();
    const explorer = el.closest(".qviz-explorer");
    if (explorer) locks.observe(explorer, { subtree: true, attributes: true, attributeFilter: ["disabled"] });
  });
  return () => {
    cancelAnimationFrame(placed);
    themes.disconnect();
    locks.disconnect();
    model.off("change:frame", show);
    model.off("msg:custom", answer);
  };
}

export default { render };

// Draws what Python computed: a frame holds every number of the picture, and nothing is computed here but pixels.
// Each picture has a painter, a file of its own in `painters/`; what painters share is in `layer/`. Python joins all of
// them into the one module that the browser gets (see modules.py), and makes KINDS, the painters by name.
/* global KINDS */

import { asker, orders } from "./layer/asker.js";
import { labelControls } from "./layer/controls.js";
import { inksOf, isDark } from "./layer/colour.js";
import { h, say } from "./layer/dom.js";
import { decode } from "./layer/frame.js";
import { lock } from "./layer/lock.js";
import { pages } from "./layer/pages.js";
import { drawPanels, placePanels, showNotes, showReadouts, tableNode } from "./layer/parts.js";

const HOW = {
  tensor: "Drag the frame, or move it with the arrow keys; point at a cell of the lens to read one weight.",
  museum: "Point at a picture to see one weight; click or press Enter to zoom in, Shift-click or Escape to zoom out.",
};

const THEMED = ["data-jp-theme-light", "data-jp-theme-name", "class"]; // what JupyterLab changes with its theme

function page(el) {
  const nodes = {
    readouts: h("div.readouts"),
    tabs: h("div.tabs", { role: "tablist" }),
    panels: h("div.panels"),
    located: h("p.located", { "aria-live": "polite" }),
    status: h("div.status", { role: "status" }),
    heard: h("p.heard", { "aria-live": "polite" }),
    data: h("details.data", {}, h("summary", {}, "The numbers behind the picture")),
  };
  nodes.root = h("div", {}, ...Object.values(nodes));
  nodes.root.className = "qviz";
  el.append(nodes.root);
  nodes.turn = pages(nodes.tabs);
  return nodes;
}

// What painters may ask of the view, and tell it.
function viewOf(model, root, drawn) {
  let inks; // colours as the page's theme has them, read once a theme
  const send = (message) => {
    try {
      model.send(message);
    } catch {
      // the kernel is gone: the picture stays as it is
    }
  };
  const questions = asker(send, { patience: 1000 }); // about the weight that is pointed at
  const hands = orders(send);
  const view = {
    send,
    pointer: null,
    held: false, // whether a hand holds something: nothing else moves by itself then
    order: hands.order,
    ...lock(root),
    answered(which) {
      questions.answered(which);
      hands.answered(which);
    },
    ink() {
      inks ??= inksOf(root);
      return inks;
    },
    retheme(dark) {
      inks = undefined;
      root.classList.toggle("qviz-dark", dark);
      for (const { painter } of Object.values(drawn)) painter.redraw();
    },
    table(colours) {
      const all = new Uint8Array(model.get("palette").buffer, model.get("palette").byteOffset);
      const which = colours === "sequential" ? 2 : root.classList.contains("qviz-dark") ? 1 : 0;
      return all.subarray(768 * which, 768 * (which + 1));
    },
    point(at) {
      view.pointer = at;
      for (const { painter } of Object.values(drawn)) painter.mark?.();
      if (at) view.locate(at);
    },
    locate: (at) => questions.ask({ event: "locate", ...at }),
    zoom: (at, into) => send({ event: "zoom", ...at, into }),
  };
  return view;
}

function render({ model, el }) {
  const nodes = page(el);
  const { root, data, heard, located } = nodes;
  const drawn = {};
  const view = viewOf(model, root, drawn);
  const label = () => labelControls(el.closest(".qviz-explorer"));
  let scene;

  function fillTables() {
    data.replaceChildren(data.firstChild, h("div.tables", {}, ...scene.tables.map(tableNode)));
  }
  function show() {
    const frame = model.get("frame");
    if (!frame || !frame.byteLength) return;
    scene = decode(frame);
    root.dataset.layout = scene.layout;
    placePanels(nodes.panels, drawn, scene.panels, KINDS, view);
    nodes.turn(drawn, scene.pages);
    showReadouts(nodes.readouts, scene.readouts);
    showNotes(nodes.status, scene.status);
    located.hidden = !HOW[scene.layout] || !(scene.panels.error || scene.panels.lens);
    if (!located.textContent) say(located, HOW[scene.layout] ?? "");
    data.hidden = !scene.tables.length;
    if (data.open) fillTables();
    drawPanels(drawn, scene.panels);
    if (view.pointer) view.locate(view.pointer); // a lens that moved has carried it along
    clearTimeout(heard.timer);
    heard.timer = setTimeout(() => {
      say(heard, scene.summary); // spoken once the hand rests
      label();
    }, 500);
    root.dispatchEvent(new CustomEvent("qviz-drawn", { bubbles: true }));
  }
  const retheme = () => view.retheme(isDark(el));
  const answer = (message) => {
    if (message?.located !== undefined) say(located, message.located);
    if (message?.answered !== undefined) view.answered(message.answered);
  };
  data.addEventListener("toggle", () => data.open && scene && fillTables());
  const themes = new MutationObserver(() => requestAnimationFrame(retheme));
  themes.observe(document.body, { attributes: true, attributeFilter: THEMED });
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

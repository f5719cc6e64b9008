// A file as two strips, all of it and its header enlarged, above one page of bytes beside the fields that they form. Point
// at a byte and its field lights up, and the other way round; a click adds one to a byte, a digit flips that bit.
import { sharp } from "../layer/canvas.js";
import { h, say } from "../layer/dom.js";
import { pointed, within } from "../layer/keys.js";
import { patched } from "../layer/labels.js";
import { picture } from "../layer/picture.js";
import { hex } from "../layer/text.js";

const KEYS = { "data-lm-suppress-shortcuts": "true" }; // JupyterLab would take them
const WIDE = 16; // bytes of a line
const ROLES = ["ink", "weight", "ok", "line", "level-fill", "soft"]; // by kind of part
const KINDS = ["header", "keys", "tensor infos", "padding", "tensors", "unused"];
const [TOP, BAR, GAP] = [18, 22, 34];

// Which field of the page a byte of the file is in. Without a page: node tests it.
export function fieldOf(figure, position) {
  return figure.fields.findIndex((field) => field.start <= position && position < field.stop);
}

// Bytes as text, as far as they are printable.
export const ascii = (bytes) =>
  Array.from(bytes, (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·")).join("");

// The two strips: [first byte, one after the last, what it is].
function strips({ size, header }) {
  return [
    [0, size, "the whole file"],
    [0, Math.max(1, header), "its header, enlarged"],
  ];
}

// The byte of the file under a pointer.
function byteAt(figure, { x, y, width }) {
  const [from, to] = strips(figure)[y > TOP + BAR + GAP / 2 ? 1 : 0];
  return Math.floor(from + (x / width) * (to - from));
}

function drawStrips(c, figure, { width, ink }) {
  const { starts, stops, kinds, at, raw, changed, wrong_at: wrong } = figure;
  strips(figure).forEach(([from, to, what], row) => {
    const x = (position) => ((position - from) / (to - from)) * width;
    const y = TOP + row * (BAR + GAP);
    c.fillStyle = ink.soft;
    c.textBaseline = "middle";
    c.textAlign = "left";
    c.fillText(`${what}: ${(to - from).toLocaleString("en")} bytes`, 0, y - 9);
    for (let i = 0; i < kinds.length; i++) {
      if (starts[i] >= to) continue;
      const [left, right] = [x(starts[i]), x(Math.min(to, stops[i]))];
      c.fillStyle = ink[ROLES[kinds[i]]];
      c.globalAlpha = i % 2 ? 0.55 : 0.8; // neighbours of a kind stay apart
      c.fillRect(left, y, Math.max(right - left, 0.5), BAR);
    }
    c.globalAlpha = 1;
    c.strokeStyle = ink.ink;
    c.lineWidth = 2;
    if (at < to) c.strokeRect(sharp(x(at)) - 1, y - 2, Math.max(x(at + raw.length) - x(at), 3), BAR + 4);
    c.fillStyle = ink.changed;
    for (const position of [...changed, ...(wrong >= 0 ? [wrong] : [])]) {
      if (position < to) c.fillRect(Math.round(x(position)) - 1, y + BAR + 2, 3, 7);
    }
  });
  drawLegend(c, figure, ink, TOP + 2 * BAR + GAP + 22);
}

function drawLegend(c, { kinds }, ink, y) {
  const there = new Set(kinds);
  let x = 0;
  KINDS.forEach((name, kind) => {
    if (!there.has(kind)) return;
    c.fillStyle = ink[ROLES[kind]];
    c.fillRect(x, y - 5, 10, 10);
    patched(c, name, x + 14, y, ink, { alpha: 0, colour: ink.ink });
    x += 30 + c.measureText(name).width;
  });
}

// ----------------------------------------------------------------------------------------------------- bytes, fields

// The cells of a page; `select` hears which position is pointed at, `damage` which is changed.
function build(nodes, figure, select, damage) {
  const rows = [];
  for (let first = 0; first < figure.raw.length; first += WIDE) {
    const last = Math.min(first + WIDE, figure.raw.length);
    const address = h("span.address", { "aria-hidden": "true" }, hex(figure.at + first, 8));
    const cells = [];
    for (let i = first; i < first + WIDE; i++) {
      if (i >= last) {
        cells.push(h("span"));
        continue;
      }
      const cell = h("div.cell.byte", { role: "option", tabindex: -1, "data-i": i, ...KEYS }, h("span"));
      for (const event of ["pointerenter", "focus"]) cell.addEventListener(event, () => select(i));
      cell.addEventListener("click", () => damage(i));
      cells.push(cell);
    }
    rows.push(address, ...cells, h("span.ascii", { "aria-hidden": "true" }));
  }
  nodes.page.replaceChildren(...rows);
  nodes.cells = [...nodes.page.querySelectorAll(".qviz-byte")];
  nodes.texts = [...nodes.page.querySelectorAll(".qviz-ascii")];
}

function dress(nodes, figure) {
  nodes.cells.forEach((cell, i) => {
    const position = figure.at + i;
    const at = fieldOf(figure, position);
    const field = figure.fields[at];
    const raw = hex(figure.raw[i], 2);
    say(cell.firstChild, raw);
    cell.style.setProperty("--field", `var(--qviz-field-${Math.max(0, at) % 5})`);
    cell.classList.toggle("qviz-flipped", figure.raw[i] !== figure.original[i]);
    cell.classList.toggle("qviz-wrong", position === figure.wrong_at);
    const about = `byte ${position.toLocaleString("en")}: ${raw}${field ? `, ${field.name}` : ""}`;
    cell.setAttribute("aria-label", `${about}; Enter adds one, digits 0 to 7 flip a bit`);
    cell.title = about;
  });
  nodes.texts.forEach((text, row) => say(text, ascii(figure.raw.subarray(WIDE * row, WIDE * row + WIDE))));
  nodes.fields.replaceChildren(
    ...figure.fields.map((field, i) => {
      const row = h("div.field", { "data-i": i, title: `${field.name}: ${field.value}` }, h("b", {}, field.name));
      row.style.setProperty("--field", `var(--qviz-field-${i % 5})`);
      const length = field.stop - field.start;
      const bytes = `, ${length.toLocaleString("en")} byte${length > 1 ? "s" : ""}`;
      if (field.value) row.append(` ${field.value}`);
      row.append(h("span.soft", {}, bytes));
      return row;
    }),
  );
}

// Light up a field and its bytes.
function light(nodes, figure, active) {
  const at = fieldOf(figure, figure.at + active);
  nodes.cells.forEach((cell, i) => {
    const near = at >= 0 && fieldOf(figure, figure.at + i) === at;
    cell.classList.toggle("qviz-on", i === active);
    cell.classList.toggle("qviz-near", near && i !== active);
    cell.tabIndex = i === active ? 0 : -1;
    cell.setAttribute("aria-selected", i === active);
  });
  [...nodes.fields.children].forEach((row, i) => row.classList.toggle("qviz-on", i === at));
  const row = nodes.fields.children[at];
  if (!row) return;
  const box = nodes.fields; // scrolled by hand: scrollIntoView would move the page
  if (row.offsetTop < box.scrollTop) box.scrollTop = row.offsetTop;
  else if (row.offsetTop + row.offsetHeight > box.scrollTop + box.clientHeight) {
    box.scrollTop = row.offsetTop + row.offsetHeight - box.clientHeight;
  }
}

// Keys on the page: arrows walk, Enter adds one, a digit flips that bit.
function keyOf(event, active, n) {
  const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -WIDE, ArrowDown: WIDE };
  if (event.key in moves) return { to: within(active + moves[event.key], n - 1) };
  if (event.key === "Home" || event.key === "End") return { to: event.key === "Home" ? 0 : n - 1 };
  if (event.key === "Enter") return { change: {} };
  return /^[0-7]$/.test(event.key) ? { change: { bit: Number(event.key) } } : null;
}

export function FileStrip(host, view) {
  const strip = picture(host, view, {
    height: TOP + 2 * BAR + GAP + 34,
    draw: drawStrips,
    hint: "A click shows the bytes there.",
  });
  const nodes = {
    page: h("div.page", { role: "listbox", "aria-label": "bytes of the page" }),
    fields: h("div.fields.fieldlist", { role: "group", "aria-label": "fields of the page" }),
  };
  host.append(h("div.file", {}, nodes.page, nodes.fields));
  let figure;
  let active = 0;
  let built = "";
  const select = (i) => {
    active = i;
    light(nodes, figure, active);
  };
  const damage = (i, how = {}) => view.send({ event: "damage", byte: figure.at + i, ...how });
  strip.canvas.addEventListener("click", (event) => {
    view.send({ event: "goto", byte: byteAt(figure, pointed(strip.canvas, event)) });
  });
  nodes.page.addEventListener("keydown", (event) => {
    const answer = keyOf(event, active, nodes.cells.length);
    if (!answer) return;
    event.preventDefault();
    event.stopPropagation();
    if (answer.change) damage(active, answer.change);
    else nodes.cells[answer.to].focus();
  });
  nodes.fields.addEventListener("pointerover", (event) => {
    const row = event.target.closest("[data-i]");
    if (!row) return;
    const field = figure.fields[Number(row.dataset.i)];
    select(within(field.start - figure.at, figure.raw.length - 1));
  });
  const refresh = () => {
    dress(nodes, figure);
    light(nodes, figure, active);
  };
  return {
    show(panel) {
      const before = figure?.at;
      figure = panel.figure;
      strip.show(panel);
      const shape = `${figure.at} ${figure.raw.length}`;
      if (shape !== built) {
        built = shape;
        build(nodes, figure, select, damage);
        if (before !== figure.at) active = 0;
      }
      refresh();
    },
    redraw() {
      strip.redraw();
      if (figure) refresh();
    },
  };
}

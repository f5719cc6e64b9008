// The bytes of one block beside the weights that they make. Point at a byte or a weight and its partners light up,
// joined by wires; two cards below say what both are made of; a click on a bit flips it.
import { legible } from "../layer/colour.js";
import { become, h, say } from "../layer/dom.js";
import { guessing } from "../layer/guess.js";
import { hex, minus, number } from "../layer/text.js";
import { travel } from "../layer/travel.js";

const range = (n) => Array.from({ length: n }, (_, i) => i);
const KEYS = { "data-lm-suppress-shortcuts": "true" }; // JupyterLab would take them

// ---------------------------------------------------------------------------------------------- what makes what

// Which bits feed which weights, and what the bytes are called. Without a page: node tests it.
export class Structure {
  // `before` is the structure of the last block: a flipped bit rarely changes what feeds what.
  constructor(lens, before) {
    this.lens = lens;
    const { feeds, raw, weights, scales } = lens;
    this.shared = weights.length / scales.length; // weights of a sub-block
    this.many = raw.length > 48 || weights.length > 48;
    if (before?.lens.feeds.length === feeds.length && before.lens.feeds.every((bits, i) => bits === feeds[i])) {
      [this.makers, this.made] = [before.makers, before.made];
      return;
    }
    const fedBy = (bit, weight) => (feeds[bit * feeds.shape[1] + (weight >> 3)] >> (weight & 7)) & 1;
    this.makers = range(weights.length).map(() => []); // weight -> the bits that feed it
    this.made = range(8 * raw.length).map((bit) => {
      const reached = range(weights.length).filter((weight) => fedBy(bit, weight));
      for (const weight of reached) this.makers[weight].push(bit);
      return reached;
    }); // bit -> the weights that it feeds
  }

  // The weights that a byte feeds.
  fed(byte) {
    return [...new Set(this.made.slice(8 * byte, 8 * byte + 8).flat())].sort((a, b) => a - b);
  }

  // The bits of a weight's code; the others make the scale that its sub-block shares.
  own(weight) {
    return this.makers[weight].filter((bit) => this.made[bit].length < this.shared);
  }

  // What is pointed at before anybody points: a byte that holds codes, since a scale would light up everything.
  first() {
    const [bit] = range(this.lens.weights.length)
      .flatMap((weight) => this.own(weight))
      .sort((a, b) => a - b);
    return { from: "byte", byte: bit >> 3, weight: this.fed(bit >> 3)[0] ?? 0 };
  }

  fieldOf(byte) {
    return this.lens.fields.findIndex((f) => byte >= f.offset && byte < f.offset + f.size * f.count);
  }

  elementOf(byte) {
    const { fields, elements } = this.lens;
    const at = this.fieldOf(byte);
    const field = fields[at];
    const index = Math.floor((byte - field.offset) / field.size);
    const before = fields.slice(0, at).reduce((sum, f) => sum + f.count, 0);
    return { field, index, first: field.offset + index * field.size, value: elements[before + index] };
  }

  nameOf(byte) {
    const { field, index } = this.elementOf(byte);
    return field.count > 1 ? `${field.name}[${index}]` : field.name;
  }

  address(byte) {
    const { address } = this.lens;
    return address === null ? `byte ${byte} of the block` : `byte 0x${hex(address + byte, 1)} of the file`;
  }

  bit(bit) {
    return (this.lens.raw[bit >> 3] >> (bit & 7)) & 1;
  }

  flipped(bit) {
    return ((this.lens.raw[bit >> 3] ^ this.lens.original[bit >> 3]) >> (bit & 7)) & 1;
  }

  // Under a bit: its part of a float, or the weight that it belongs to.
  caption({ field, first }, bit) {
    if (field.parts.length) {
      const [, exponent, fraction] = field.parts;
      if (bit >= exponent + fraction) return "sign";
      return bit >= fraction ? "exp" : "frac";
    }
    const reached = this.made[8 * first + bit];
    if (reached.length === 1) return `w${reached[0]}`;
    return reached.length ? `${reached.length} w` : "";
  }
}

// What the three parts of a float mean, as parts of a sentence: text, or ["sup" or "b", text]. Null if it is no float.
export function floatParts(bits, { field, value }) {
  const [, exponents, fractions] = field.parts;
  if (!field.parts.length || fractions > 23) return null;
  const [one, most] = [2 ** fractions, 2 ** exponents - 1];
  const fraction = bits % one;
  const exponent = Math.floor(bits / one) % (most + 1);
  const sign = bits >= one * (most + 1) ? "−" : "";
  if (exponent === most) {
    const rest = fraction ? "NaN: every exponent bit is set, and some of the fraction" : "∞: every exponent bit is set";
    return [sign, rest];
  }
  if (!exponent && !fraction) return [sign, "0: no bit of exponent or fraction is set"];
  const power = minus(String(Math.max(1, exponent) - (most >> 1)));
  const size = number((exponent ? 1 : 0) + fraction / one, 6);
  return [sign, "2", ["sup", power], ` × ${size} = `, ["b", number(value, 6)]];
}

// ------------------------------------------------------------------------------------------------------- the cards

// A row of the bits of one element or weight.
function bitRow(bits, s, under) {
  const row = h("div.bits");
  row.style.gridTemplateColumns = `repeat(${Math.min(16, bits.length)}, minmax(0, 42px))`;
  for (const bit of bits) row.append(bitCell(bit, s, under(bit)));
  return row;
}

function bitCell(bit, s, under) {
  const [byte, place] = [bit >> 3, bit & 7];
  const cell = h("button.bit", {
    type: "button",
    "aria-label": `bit ${place} of byte ${byte}, ${s.bit(bit)}${under ? `, ${under}` : ""}; press to flip`,
    title: `bit ${place} of byte ${byte}: click to flip`,
    "data-bit": bit,
    ...KEYS,
  });
  cell.style.setProperty("--field", `var(--qviz-field-${Math.max(0, s.fieldOf(byte)) % 5})`);
  cell.classList.toggle("qviz-flipped", Boolean(s.flipped(bit)));
  cell.append(h("span.value", {}, String(s.bit(bit))), h("span.code", {}, under));
  return cell;
}

// The element that a byte belongs to: its name, value and bits.
function aboutByte(byte, s) {
  const element = s.elementOf(byte);
  const { size, parts, type, note } = element.field;
  const digits = range(size).map((i) => hex(s.lens.raw[element.first + size - 1 - i], 2));
  const raw = digits.join("");
  const value = parts.length ? number(element.value, 5) : minus(String(element.value));
  const bits = range(8 * size).map((bit) => 8 * size - 1 - bit);
  const row = bitRow(
    bits.map((bit) => 8 * element.first + bit),
    s,
    (bit) => s.caption(element, bit - 8 * element.first),
  );
  const meaning = floatParts(Number(`0x${raw}`), element)?.map((part) =>
    typeof part === "string" ? part : h(part[0], {}, part[1]),
  );
  const where = `${type}, ${note}; ${s.address(element.first)}. Click a bit to flip it.`;
  return [
    h("h4", {}, h("b", {}, s.nameOf(byte)), ` = 0x${raw} = ${value}`),
    h("p.soft", {}, where),
    row,
    ...(meaning ? [h("p.sum", {}, ...meaning)] : []),
  ];
}

// A weight: its own bits and where they stand, and the sum that makes it.
function aboutWeight(w, s) {
  const { lens } = s;
  const bits = s.own(w).sort((a, b) => Math.abs(lens.place[b]) - Math.abs(lens.place[a]) || b - a);
  const names = (of) => [...new Set(of.map((bit) => s.nameOf(bit >> 3)))];
  const shared = names(s.makers[w].filter((bit) => !bits.includes(bit)));
  const from = `Its own bits, from ${names(bits).join(" and ")}`;
  const under = (bit) => (lens.place[bit] ? `×${minus(String(lens.place[bit]))}` : `${s.made[bit].length} w`);
  const [scale, min] = [lens.scales, lens.mins].map((values) => values[Math.floor(w / s.shared)]);
  const [code, level] = [lens.codes[w], lens.levels[w]].map((n) => minus(String(n)));
  const factor = code === level ? `code ${code}` : `level ${level} (code ${code})`;
  const broken = !Object.is(lens.weights[w], lens.before[w]);
  const offset = min ? (min < 0 ? ` + ${number(-min, 4)}` : ` − ${number(min, 4)}`) : "";
  const result = h(broken ? "b.changed" : "b", {}, number(lens.weights[w], 4));
  const sum = h("p.sum", {}, `scale ${number(scale, 4)} × ${factor}${offset} = `, result);
  if (broken) sum.append(h("span.soft", {}, `, was ${number(lens.before[w], 4)}`));
  const at = ` at row ${lens.row}, column ${lens.column + w}`;
  return [
    h("h4", {}, h("b", {}, `weight ${w}`), h("span.soft", {}, at)),
    h("p.soft", {}, shared.length ? `${from}; shared: ${shared.join(", ")}.` : `${from}.`),
    bitRow(bits, s, under),
    sum,
  ];
}

// A card is only written when what it says may have changed.
function fill(card, key, make) {
  if (card.dataset.key === key && card.children.length) return;
  card.dataset.key = key;
  become(card, make());
}

// ------------------------------------------------------------------------------------------------------- the wires

// Wires run in the gaps between cells, like tracks on a board, so that they cross no number. `pairs` are cells that
// belong together, [byte's, weight's].
function routes(stage, bytes, weights, gap, pairs) {
  const box = stage.getBoundingClientRect();
  const place = (node) => {
    const { left, right, top, bottom } = node.getBoundingClientRect();
    const [l, r, t, b] = [left - box.left, right - box.left, top - box.top, bottom - box.top];
    return { left: l, right: r, top: t, bottom: b, x: (l + r) / 2, y: (t + b) / 2 };
  };
  const [from, to] = [place(bytes), place(weights)];
  const beside = to.left >= from.right;
  return pairs.map(([byte, weight]) => {
    const [a, b] = [place(byte), place(weight)];
    if (beside) {
      const [y1, y2, middle] = [a.bottom + gap, b.top - gap, (from.right + to.left) / 2];
      const curve = `C${middle} ${y1} ${middle} ${y2} ${to.left} ${y2}`;
      return `M${a.x} ${a.bottom}V${y1}H${from.right}${curve}H${b.x}V${b.top}`;
    }
    const [x1, x2, middle] = [a.right + gap, b.right + gap, (from.bottom + to.top) / 2];
    const curve = `C${x1} ${middle} ${x2} ${middle} ${x2} ${to.top}`;
    return `M${a.right} ${a.y}H${x1}V${from.bottom}${curve}V${b.y}H${b.right}`;
  });
}

// The same for places: pairs are [byte, weight].
function pathsOf(nodes, gap, pairs) {
  const cells = pairs.map(([byte, weight]) => [nodes.bytes.children[byte], nodes.weights.children[weight]]);
  return routes(nodes.stage, nodes.bytes, nodes.weights, gap, cells);
}

// What a flip has changed since the picture before: [byte, weight] for each weight that moved. Nothing if that showed
// another block.
export function changes(s, before) {
  const same = before && before.lens.row === s.lens.row && before.lens.column === s.lens.column;
  if (!same || String(before.lens.original) !== String(s.lens.original)) return [];
  const bytes = range(s.lens.raw.length).filter((i) => s.lens.raw[i] !== before.lens.raw[i]);
  const moved = (w) => !Object.is(s.lens.weights[w], before.lens.weights[w]);
  return bytes.flatMap((byte) =>
    s
      .fed(byte)
      .filter(moved)
      .map((w) => [byte, w]),
  );
}

// From bytes to all weights that are lit: strong wires, unless they would be many, and faint ones.
function drawWires(nodes, gap, lit, strong, faint) {
  const draw = (sources, name) => {
    const pairs = sources.flatMap((byte) => lit.map((weight) => [byte, weight]));
    return pathsOf(nodes, gap, pairs).map((path) => `<path class="${name}" d="${path}"/>`);
  };
  const crowded = strong.length * lit.length > 8;
  nodes.wires.innerHTML = [...draw(faint, "faint"), ...draw(strong, crowded ? "faint" : "strong")].join("");
}

// --------------------------------------------------------------------------------------------------------- the page

// The nodes of the picture.
function page(host) {
  const nodes = {
    bytes: h("div.cells.bytes", { role: "listbox", "aria-label": "bytes of the block" }),
    weights: h("div.cells.weights", { role: "listbox", "aria-label": "weights of the block" }),
    fields: h("div.fields"),
    byteCard: h("div.lens-card", { "aria-live": "off" }),
    weightCard: h("div.lens-card", { "aria-live": "off" }),
    riddleCard: h("div.riddle"),
    wires: document.createElementNS("http://www.w3.org/2000/svg", "svg"),
    byteTitle: h("h4"),
    weightTitle: h("h4"),
  };
  nodes.wires.classList.add("qviz-wires");
  nodes.wires.setAttribute("aria-hidden", "true");
  nodes.weightSide = h("section", {}, nodes.weightTitle, nodes.weights);
  const byteSide = h("section", {}, nodes.byteTitle, nodes.fields, nodes.bytes);
  nodes.stage = h("div.stage", {}, byteSide, nodes.weightSide, nodes.wires);
  host.append(nodes.stage, h("div.lens-cards", {}, nodes.byteCard, nodes.weightCard), nodes.riddleCard);
  return nodes;
}

// Cells for another block: `select` hears which one is pointed at.
function build(nodes, s, select) {
  const { lens } = s;
  const cells = (parent, kind, n, dress) => {
    parent.classList.toggle("qviz-many", s.many);
    parent.replaceChildren(
      ...range(n).map((i) => {
        const cell = h(`div.cell.${kind}`, { role: "option", tabindex: -1, ...KEYS });
        for (const event of ["pointerenter", "focus"]) {
          cell.addEventListener(event, () => select({ from: kind, [kind]: i }));
        }
        dress(cell, i);
        return cell;
      }),
    );
  };
  nodes.stage.parentNode.classList.toggle("qviz-many-cells", s.many);
  cells(nodes.bytes, "byte", lens.raw.length, (cell, i) => {
    cell.style.setProperty("--field", `var(--qviz-field-${Math.max(0, s.fieldOf(i)) % 5})`);
    cell.append(h("span"));
  });
  cells(nodes.weights, "weight", lens.weights.length, (cell) => cell.append(h("span.value"), h("span.code")));
  nodes.fields.replaceChildren(
    ...lens.fields.map((f, i) => {
      const row = h("div.field");
      row.style.setProperty("--field", `var(--qviz-field-${i % 5})`);
      const type = f.count > 1 ? `${f.count} × ${f.type}` : f.type;
      row.append(h("b", {}, f.name), h("span.soft", {}, ` ${type}, ${f.note}`));
      return row;
    }),
  );
  nodes.weightSide.hidden = !lens.weights.length;
  const coloured = lens.codes.length && s.many;
  say(nodes.weightTitle, coloured ? "Codes, coloured by weight" : "Weights they make");
}

// Numbers into the cells.
function dressBytes(nodes, s) {
  const { lens } = s;
  say(nodes.byteTitle, lens.address === null ? "Bytes of the block" : "Bytes in the file");
  [...nodes.bytes.children].forEach((cell, i) => {
    const raw = hex(lens.raw[i], 2);
    say(cell.firstChild, raw);
    cell.classList.toggle("qviz-flipped", lens.raw[i] !== lens.original[i]);
    cell.title = s.address(i);
    const reached = s.fed(i);
    const which = reached.length > 4 ? `${reached.length} weights` : `weights ${reached.join(", ")}`;
    const feeds = reached.length ? which : "nothing";
    const about = `${s.address(i)}: ${raw}, ${s.nameOf(i)}, feeds ${feeds}; digits 0 to 7 flip a bit`;
    cell.setAttribute("aria-label", about);
  });
}

function dressWeights(nodes, s, table) {
  const { lens } = s;
  const unit = Math.max(1e-12, ...Array.from(lens.before, (v) => (Number.isFinite(v) ? Math.abs(v) : 0)));
  [...nodes.weights.children].forEach((cell, i) => {
    const [now, was] = [lens.weights[i], lens.before[i]];
    const broken = now !== was && !(Number.isNaN(now) && Number.isNaN(was));
    const shade = Number.isFinite(now) ? Math.round(127 * Math.min(1, Math.max(-1, now / unit))) + 127 : 255;
    const [r, g, b] = table.subarray(3 * shade, 3 * shade + 3);
    cell.style.background = `rgb(${r},${g},${b})`;
    cell.style.color = legible(r, g, b);
    const code = lens.codes.length ? String(lens.codes[i]) : "";
    say(cell.children[0], s.many && code ? code : number(now, 2, 1e-3)); // a small cell: only the code, a short minus
    say(cell.children[1], s.many ? "" : minus(code));
    cell.classList.toggle("qviz-flipped", broken);
    const name = `weight ${i}: ${number(now, 4)}`;
    cell.title = broken ? `${name}, was ${number(was, 4)}` : name;
    const coded = lens.codes.length ? `${name}, code ${lens.codes[i]}` : name;
    cell.setAttribute("aria-label", broken ? `${coded}, changed from ${number(was, 4)}` : coded);
  });
}

// Arrow keys move through a grid; its columns are read off the screen, since they depend on the width.
function walk(event, cells, at) {
  const columns = [...cells].filter((cell) => cell.offsetTop === cells[0].offsetTop).length;
  const last = cells.length - 1;
  const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - columns, ArrowDown: at + columns };
  const to = { Home: 0, End: last, ...moves }[event.key];
  if (to === undefined) return false;
  cells[Math.min(last, Math.max(0, to))].focus();
  return true;
}

// Mark what is pointed at and its partners. Returns [weights lit, bytes of their own, bytes that they share].
function light(nodes, s, active) {
  const byWeight = active.from === "weight";
  const bytesOf = (bits) => new Set(bits.map((bit) => bit >> 3));
  const some = s.lens.weights.length > 0;
  const own = bytesOf(some ? s.own(active.weight) : []);
  const shared = bytesOf(some ? s.makers[active.weight] : []);
  const lit = new Set(byWeight ? [active.weight] : s.fed(active.byte));
  [...nodes.bytes.children].forEach((cell, i) => {
    const on = byWeight ? own.has(i) : i === active.byte;
    cell.classList.toggle("qviz-on", on);
    cell.classList.toggle("qviz-near", byWeight && !on && shared.has(i));
    cell.tabIndex = i === active.byte ? 0 : -1;
    cell.setAttribute("aria-selected", on);
  });
  [...nodes.weights.children].forEach((cell, i) => {
    cell.classList.toggle("qviz-on", lit.has(i));
    cell.tabIndex = i === active.weight ? 0 : -1;
    cell.setAttribute("aria-selected", lit.has(i));
  });
  [...nodes.fields.children].forEach((row, i) => row.classList.toggle("qviz-on", i === s.fieldOf(active.byte)));
  return byWeight ? [[...lit], [...own], [...shared].filter((b) => !own.has(b))] : [[...lit], [active.byte], []];
}

// While a riddle is open nothing lights up: wires and words would tell.
function puzzle(nodes) {
  nodes.byteCard.hidden = nodes.weightCard.hidden = true;
  for (const cell of nodes.weights.children) cell.classList.remove("qviz-on", "qviz-near");
  nodes.wires.replaceChildren();
}

// What is pointed at, and on the other side something that belongs to it.
function withPartner(active, s) {
  const byByte = active.from === "byte";
  const partners = byByte ? s.fed(active.byte) : s.own(active.weight).map((bit) => bit >> 3);
  const other = byByte ? "weight" : "byte";
  return partners.length && !partners.includes(active[other]) ? { ...active, [other]: partners[0] } : active;
}

// What both sides are made of, in words.
function cards(nodes, s, active, built) {
  const state = Array.from(s.lens.raw).join() + Array.from(s.lens.original).join();
  const { first } = s.elementOf(active.byte);
  nodes.byteCard.hidden = false;
  fill(nodes.byteCard, `${built} ${first} ${state} ${s.lens.address}`, () => aboutByte(active.byte, s));
  nodes.weightCard.hidden = !s.lens.codes.length; // without codes the element is the weight: all is said
  if (nodes.weightCard.hidden) nodes.weightCard.replaceChildren();
  else {
    const key = `${built} ${active.weight} ${state} ${s.lens.row} ${s.lens.column}`;
    fill(nodes.weightCard, key, () => aboutWeight(active.weight, s));
  }
}

export function BlockLens(host, view) {
  const nodes = page(host);
  let s; // the structure of the block on show
  let wired = ""; // the wires that are drawn
  let built = ""; // the structure that the cells were made for
  let active = { from: "byte", byte: 0, weight: 0 }; // what is pointed at, and its partner

  const riddle = guessing(nodes.weights, nodes.riddleCard, (weights) => view.order({ event: "guess", weights }));

  function wire(...parts) {
    const key = [built, ...parts].join("|");
    if (key === wired) return; // measuring cells is what takes time
    wired = key;
    drawWires(nodes, s.many ? 1 : 3, ...parts);
  }
  function highlight() {
    if (riddle.on) {
      wired = "";
      return puzzle(nodes);
    }
    const parts = light(nodes, s, active);
    cards(nodes, s, active, built);
    return wire(...parts);
  }
  function select(what) {
    active = withPartner({ ...active, ...what }, s);
    highlight();
  }
  function refresh() {
    dressBytes(nodes, s);
    dressWeights(nodes, s, view.table("diverging"));
    highlight();
  }
  listen(nodes, () => active, view);
  new ResizeObserver(() => {
    wired = ""; // cells have moved
    if (s) highlight();
  }).observe(nodes.stage);
  return {
    show({ figure, options }) {
      const before = s;
      s = new Structure(figure, s);
      const structure = `${figure.format}/${figure.raw.length}`;
      if (structure !== built) {
        built = structure;
        build(nodes, s, select);
        active = s.first();
      }
      riddle.show(options?.riddle);
      if (options?.solved !== undefined) active = withPartner({ from: "byte", byte: options.solved, weight: 0 }, s);
      refresh();
      const changed = riddle.on ? [] : changes(s, before);
      if (changed.length) travel(nodes.wires, pathsOf(nodes, s.many ? 1 : 3, changed));
    },
    redraw: () => s && refresh(),
  };
}

// Keys: arrows walk over cells, a digit flips that bit of a byte. A click on a bit of a card flips it.
function listen(nodes, active, view) {
  for (const card of [nodes.byteCard, nodes.weightCard]) {
    card.addEventListener("click", ({ target }) => {
      const cell = target.closest("[data-bit]");
      if (!cell || view.refuse(cell)) return;
      view.send({ event: "flip", byte: cell.dataset.bit >> 3, bit: cell.dataset.bit & 7 });
    });
  }
  const answer = (node, used) =>
    node.addEventListener("keydown", (event) => {
      if (!used(event)) return;
      event.preventDefault();
      event.stopPropagation();
    });
  answer(nodes.bytes, (event) => {
    if (walk(event, nodes.bytes.children, active().byte)) return true;
    if (!/^[0-7]$/.test(event.key)) return false;
    if (!view.refuse(event.target)) view.send({ event: "flip", byte: active().byte, bit: Number(event.key) });
    return true;
  });
  answer(nodes.weights, (event) => walk(event, nodes.weights.children, active().weight));
}

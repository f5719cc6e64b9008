import { isLight } from "../layer/colour.js";
import { h, say } from "../layer/dom.js";
import { hex, minus, number } from "../layer/text.js";

export function BlockLens(host, view) {
  let lens; // what Python sent
  let wired = ""; // the wires that are drawn
  let built = ""; // the structure that the nodes below were made for
  let active = { from: "byte", byte: 0, weight: 0 }; // what is pointed at, and its partner
  const bytes = h("div.cells.bytes", { role: "listbox", "aria-label": "bytes of the block" });
  const weights = h("div.cells.weights", { role: "listbox", "aria-label": "weights of the block" });
  const fields = h("div.fields");
  const byteCard = h("div.lens-card", { "aria-live": "off" });
  const weightCard = h("div.lens-card", { "aria-live": "off" });
  const wires = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  wires.classList.add("qviz-wires");
  wires.setAttribute("aria-hidden", "true");
  const byteTitle = h("h4");
  const byteSide = h("section", {}, byteTitle, fields, bytes);
  const weightTitle = h("h4");
  const weightSide = h("section", {}, weightTitle, weights);
  const stage = h("div.stage", {}, byteSide, weightSide, wires);
  host.append(stage, h("div.lens-cards", {}, byteCard, weightCard));

  let made = []; // bit -> the weights that it feeds
  let makers = []; // weight -> the bits that feed it
  const range = (n) => Array.from({ length: n }, (_, i) => i);
  const many = () => lens.raw.length > 48 || lens.weights.length > 48;
  const fed = (byte) => [...new Set(made.slice(8 * byte, 8 * byte + 8).flat())].sort((a, b) => a - b);
  const fieldOf = (byte) =>
    lens.fields.findIndex((f) => byte >= f.offset && byte < f.offset + f.size * f.count);
  const elementOf = (byte) => {
    const field = lens.fields[fieldOf(byte)];
    const index = Math.floor((byte - field.offset) / field.size);
    const before = lens.fields.slice(0, lens.fields.indexOf(field)).reduce((sum, f) => sum + f.count, 0);
    return { field, index, first: field.offset + index * field.size, value: lens.elements[before + index] };
  };
  const bitValue = (bit) => (lens.raw[bit >> 3] >> (bit & 7)) & 1;
  const flipped = (bit) => ((lens.raw[bit >> 3] ^ lens.original[bit >> 3]) >> (bit & 7)) & 1;
  const address = (byte) =>
    lens.address === null ? `byte ${byte} of the block` : `byte 0x${hex(lens.address + byte, 1)} of the file`;
  const elementName = (byte) => {
    const { field, index } = elementOf(byte);
    return field.count > 1 ? `${field.name}[${index}]` : field.name;
  };
  // The bits of a weight's code; the others make the scale that its sub-block shares.
  const own = (weight) =>
    makers[weight].filter((bit) => made[bit].length < lens.weights.length / lens.scales.length);

  function relate(before) {
    const now = lens.feeds;
    if (before?.length === now.length && before.every((bits, i) => bits === now[i])) return;
    makers = range(lens.weights.length).map(() => []);
    made = range(8 * lens.raw.length).map((bit) => {
      const fed = range(lens.weights.length).filter(
        (weight) => (now[bit * now.shape[1] + (weight >> 3)] >> (weight & 7)) & 1,
      );
      for (const weight of fed) makers[weight].push(bit);
      return fed;
    });
  }

  function build() {
    bytes.replaceChildren();
    weights.replaceChildren();
    for (const node of [bytes, weights]) node.classList.toggle("qviz-many", many());
    lens.raw.forEach((_, i) => {
      const cell = h("div.cell.byte", { role: "option", tabindex: -1, "data-lm-suppress-shortcuts": "true" });
      cell.style.setProperty("--field", `var(--qviz-field-${Math.max(0, fieldOf(i)) % 5})`);
      cell.append(h("span"));
      cell.addEventListener("pointerenter", () => select({ from: "byte", byte: i }));
      cell.addEventListener("focus", () => select({ from: "byte", byte: i }));
      bytes.append(cell);
    });
    lens.weights.forEach((_, i) => {
      const cell = h("div.cell.weight", {
        role: "option",
        tabindex: -1,
        "data-lm-suppress-shortcuts": "true",
      });
      cell.append(h("span.value"), h("span.code"));
      cell.addEventListener("pointerenter", () => select({ from: "weight", weight: i }));
      cell.addEventListener("focus", () => select({ from: "weight", weight: i }));
      weights.append(cell);
    });
    const described = lens.fields.map((f, i) => {
      const row = h("div.field");
      row.style.setProperty("--field", `var(--qviz-field-${i % 5})`);
      const type = f.count > 1 ? `${f.count} × ${f.type}` : f.type;
      row.append(h("b", {}, f.name), h("span.soft", {}, ` ${type}, ${f.note}`));
      return row;
    });
    fields.replaceChildren(...described);
    weightSide.hidden = !lens.weights.length;
    say(
      weightTitle,
      lens.codes.length && many() ? "Codes, coloured by the weights they make" : "Weights they make",
    );
    // by default a byte that holds codes: a scale would light up everything
    const first =
      range(lens.weights.length)
        .flatMap(own)
        .sort((a, b) => a - b)[0] >> 3;
    active = { from: "byte", byte: first, weight: fed(first)[0] ?? 0 };
  }

  // Arrow keys move through a grid; its columns are read off the screen, since they depend on the width.
  function arrows(event, cells, at) {
    const columns = [...cells].filter((cell) => cell.offsetTop === cells[0].offsetTop).length;
    const to = {
      ArrowLeft: at - 1,
      ArrowRight: at + 1,
      ArrowUp: at - columns,
      ArrowDown: at + columns,
      Home: 0,
      End: cells.length - 1,
    }[event.key];
    if (to === undefined) return false;
    cells[Math.min(cells.length - 1, Math.max(0, to))].focus();
    return true;
  }
  bytes.addEventListener("keydown", (event) => {
    const used =
      arrows(event, bytes.children, active.byte) ||
      (/^[0-7]$/.test(event.key) && flip(8 * active.byte + Number(event.key)));
    if (used) stop(event);
  });
  weights.addEventListener("keydown", (event) => {
    if (arrows(event, weights.children, active.weight)) stop(event);
  });
  const stop = (event) => {
    event.preventDefault();
    event.stopPropagation();
  };

  function flip(bit) {
    view.send({ event: "flip", byte: bit >> 3, bit: bit & 7 });
    return true;
  }

  function select(what) {
    active = { ...active, ...what };
    if (what.from === "byte") {
      const reached = fed(active.byte);
      if (reached.length && !reached.includes(active.weight)) active.weight = reached[0];
    } else if (what.from === "weight") {
      const sources = own(active.weight).map((bit) => bit >> 3);
      if (sources.length && !sources.includes(active.byte)) active.byte = sources[0];
    }
    highlight();
  }

  function highlight() {
    const lit = active.from === "weight" ? [active.weight] : fed(active.byte);
    const litSet = new Set(lit);
    const ownBytes = new Set(lens.weights.length ? own(active.weight).map((b) => b >> 3) : []);
    const sharedBytes = new Set(lens.weights.length ? makers[active.weight].map((b) => b >> 3) : []);
    [...bytes.children].forEach((cell, i) => {
      const on = active.from === "weight" ? ownBytes.has(i) : i === active.byte;
      cell.classList.toggle("qviz-on", on);
      cell.classList.toggle("qviz-near", active.from === "weight" && !on && sharedBytes.has(i));
      cell.tabIndex = i === active.byte ? 0 : -1;
      cell.setAttribute("aria-selected", on);
    });
    [...weights.children].forEach((cell, i) => {
      cell.classList.toggle("qviz-on", litSet.has(i));
      cell.tabIndex = i === active.weight ? 0 : -1;
      cell.setAttribute("aria-selected", litSet.has(i));
    });
    [...fields.children].forEach((row, i) => row.classList.toggle("qviz-on", i === fieldOf(active.byte)));
    cards();
    wire(
      lit,
      active.from === "weight" ? [...ownBytes] : [active.byte],
      active.from === "weight" ? [...sharedBytes].filter((b) => !ownBytes.has(b)) : [],
    );
  }

  // Wires run in the gaps between cells, like tracks on a board, so that they cross no number.
  function wire(lit, strong, faint) {
    const key = [built, lit, strong, faint].join("|");
    if (key === wired) return; // measuring cells is what takes time
    wired = key;
    const box = stage.getBoundingClientRect();
    const place = (node) => {
      const { left, right, top, bottom } = node.getBoundingClientRect();
      const [l, r, t, b] = [left - box.left, right - box.left, top - box.top, bottom - box.top];
      return { left: l, right: r, top: t, bottom: b, x: (l + r) / 2, y: (t + b) / 2 };
    };
    const [from, to] = [place(bytes), place(weights)];
    const beside = to.left >= from.right;
    const gap = many() ? 1 : 3;
    const route = (byte, weight) => {
      const [a, b] = [place(bytes.children[byte]), place(weights.children[weight])];
      if (beside) {
        const [y1, y2, middle] = [a.bottom + gap, b.top - gap, (from.right + to.left) / 2];
        const curve = `C${middle} ${y1} ${middle} ${y2} ${to.left} ${y2}`;
        return `M${a.x} ${a.bottom}V${y1}H${from.right}${curve}H${b.x}V${b.top}`;
      }
      const [x1, x2, middle] = [a.right + gap, b.right + gap, (from.bottom + to.top) / 2];
      const curve = `C${x1} ${middle} ${x2} ${middle} ${x2} ${to.top}`;
      return `M${a.right} ${a.y}H${x1}V${from.bottom}${curve}V${b.y}H${b.right}`;
    };
    const draw = (sources, name) =>
      sources.flatMap((byte) => lit.map((weight) => `<path class="${name}" d="${route(byte, weight)}"/>`));
    const crowded = strong.length * lit.length > 8;
    wires.innerHTML = [...draw(faint, "faint"), ...draw(strong, crowded ? "faint" : "strong")].join("");
  }

  function bitCell(bit, under) {
    const cell = h("button.bit", {
      type: "button",
      "aria-label": `bit ${bit & 7} of byte ${bit >> 3}, ${bitValue(bit)}${under ? `, ${under}` : ""}; press to flip`,
      "data-lm-suppress-shortcuts": "true",
      title: `bit ${bit & 7} of byte ${bit >> 3}: click to flip`,
    });
    cell.style.setProperty("--field", `var(--qviz-field-${Math.max(0, fieldOf(bit >> 3)) % 5})`);
    cell.classList.toggle("qviz-flipped", Boolean(flipped(bit)));
    cell.append(h("span.value", {}, String(bitValue(bit))), h("span.code", {}, under));
    cell.addEventListener("click", () => flip(bit));
    return cell;
  }

  function bitRow(n) {
    const row = h("div.bits");
    row.style.gridTemplateColumns = `repeat(${Math.min(16, n)}, minmax(0, 42px))`;
    return row;
  }

  // Replacing the nodes under the pointer or the focus would lose both: cards are only made again when they change.
  function fill(card, key, make) {
    if (card.dataset.key === key && card.children.length) return;
    const within = [...card.querySelectorAll("button")].indexOf(document.activeElement);
    card.dataset.key = key;
    card.replaceChildren(...make());
    if (within >= 0) card.querySelectorAll("button")[within]?.focus();
  }

  function cards() {
    const state = Array.from(lens.raw).join() + Array.from(lens.original).join();
    const element = elementOf(active.byte);
    fill(byteCard, `${built} ${element.first} ${state} ${lens.address}`, () => {
      const size = element.field.size;
      const raw = range(size)
        .map((i) => hex(lens.raw[element.first + size - 1 - i], 2))
        .join("");
      const value = element.field.parts.length ? number(element.value, 5) : minus(String(element.value));
      const row = bitRow(8 * size);
      for (let bit = 8 * size - 1; bit >= 0; bit--)
        row.append(bitCell(8 * element.first + bit, caption(element, bit)));
      return [
        h("h4", {}, h("b", {}, elementName(active.byte)), ` = 0x${raw} = ${value}`),
        h(
          "p.soft",
          {},
          `${element.field.type}, ${element.field.note}; ${address(element.first)}. Click a bit to flip it.`,
        ),
        row,
        ...floatParts(Number(`0x${raw}`), element),
      ];
    });
    weightCard.hidden = !lens.codes.length; // without codes the element is the weight: all is said
    if (weightCard.hidden) return weightCard.replaceChildren();
    fill(weightCard, `${built} ${active.weight} ${state} ${lens.row} ${lens.column}`, () => {
      const w = active.weight;
      const bits = own(w).sort((a, b) => Math.abs(lens.place[b]) - Math.abs(lens.place[a]) || b - a);
      const row = bitRow(bits.length);
      for (const bit of bits)
        row.append(
          bitCell(bit, lens.place[bit] ? `×${minus(String(lens.place[bit]))}` : `${made[bit].length} w`),
        );
      const shared = [
        ...new Set(makers[w].filter((bit) => !bits.includes(bit)).map((bit) => elementName(bit >> 3))),
      ];
      const broken = !Object.is(lens.weights[w], lens.before[w]);
      const sub = lens.weights.length / lens.scales.length;
      const [scale, min] = [lens.scales[Math.floor(w / sub)], lens.mins[Math.floor(w / sub)]];
      const [code, level] = [lens.codes[w], lens.levels[w]].map((n) => minus(String(n)));
      const sum = h(
        "p.sum",
        {},
        `scale ${number(scale, 4)} × ` + (code === level ? `code ${code}` : `level ${level} (code ${code})`),
      );
      if (min) sum.append(min < 0 ? ` + ${number(-min, 4)}` : ` − ${number(min, 4)}`);
      sum.append(" = ", h(broken ? "b.changed" : "b", {}, number(lens.weights[w], 4)));
      if (broken) sum.append(h("span.soft", {}, `, was ${number(lens.before[w], 4)}`));
      const places = [...new Set(bits.map((bit) => elementName(bit >> 3)))].join(" and ");
      const about =
        `Its own bits, from ${places}` + (shared.length ? `; shared: ${shared.join(", ")}.` : ".");
      return [
        h(
          "h4",
          {},
          h("b", {}, `weight ${w}`),
          h("span.soft", {}, ` at row ${lens.row}, column ${lens.column + w}`),
        ),
        h("p.soft", {}, about),
        row,
        sum,
      ];
    });
  }

  // What the three parts of a float mean.
  function floatParts(bits, { field, value }) {
    const [, exponents, fractions] = field.parts;
    if (!field.parts.length || fractions > 23) return [];
    const [one, most] = [2 ** fractions, 2 ** exponents - 1];
    const [fraction, exponent, sign] = [
      bits % one,
      Math.floor(bits / one) % (most + 1),
      bits >= one * (most + 1),
    ];
    const line = h("p.sum", {}, sign ? "−" : "");
    if (exponent === most)
      line.append(
        fraction
          ? "NaN: every exponent bit is set, and some of the fraction"
          : "∞: every exponent bit is set",
      );
    else if (exponent || fraction) {
      const power = Math.max(1, exponent) - (most >> 1);
      line.append(
        "2",
        h("sup", {}, minus(String(power))),
        ` × ${number((exponent ? 1 : 0) + fraction / one, 6)} = `,
        h("b", {}, number(value, 6)),
      );
    } else line.append("0: no bit of exponent or fraction is set");
    return [line];
  }

  // Under a bit: its part of a float, or the weight that it belongs to.
  function caption(element, bit) {
    const { parts } = element.field;
    if (parts.length) {
      const [, exponent, fraction] = parts;
      if (bit >= exponent + fraction) return "sign";
      return bit >= fraction ? "exp" : "frac";
    }
    const at = 8 * element.first + bit;
    if (made[at].length === 1) return `w${made[at][0]}`;
    return made[at].length ? `${made[at].length} w` : "";
  }

  function refresh() {
    const unit = Math.max(1e-12, ...Array.from(lens.before, (v) => (Number.isFinite(v) ? Math.abs(v) : 0)));
    const table = view.table("diverging");
    say(byteTitle, lens.address === null ? "Bytes of the block" : "Bytes in the file");
    [...bytes.children].forEach((cell, i) => {
      say(cell.firstChild, hex(lens.raw[i], 2));
      cell.classList.toggle("qviz-flipped", lens.raw[i] !== lens.original[i]);
      cell.title = address(i);
      const reached = fed(i);
      const which = reached.length > 4 ? `${reached.length} weights` : `weights ${reached.join(", ")}`;
      cell.setAttribute(
        "aria-label",
        `${address(i)}: ${hex(lens.raw[i], 2)}, ${elementName(i)}, feeds ${reached.length ? which : "nothing"}; digits 0 to 7 flip a bit`,
      );
    });
    [...weights.children].forEach((cell, i) => {
      const [now, was] = [lens.weights[i], lens.before[i]];
      const broken = now !== was && !(Number.isNaN(now) && Number.isNaN(was));
      const shade = Number.isFinite(now)
        ? Math.round(127 * Math.min(1, Math.max(-1, now / unit))) + 127
        : 255;
      const [r, g, b] = table.subarray(3 * shade, 3 * shade + 3);
      cell.style.background = `rgb(${r},${g},${b})`;
      cell.style.color = isLight(r, g, b) ? "#111" : "#fff";
      const code = lens.codes.length ? minus(String(lens.codes[i])) : "";
      say(cell.children[0], many() && code ? code : number(now, 2, 1e-3)); // a small cell has room for the code only
      say(cell.children[1], many() ? "" : code);
      cell.classList.toggle("qviz-flipped", broken);
      cell.title =
        `weight ${i}` + (broken ? `: ${number(now, 4)}, was ${number(was, 4)}` : `: ${number(now, 4)}`);
      cell.setAttribute(
        "aria-label",
        `weight ${i}: ${number(now, 4)}${lens.codes.length ? `, code ${lens.codes[i]}` : ""}${broken ? `, changed from ${number(was, 4)}` : ""}`,
      );
    });
    highlight();
  }
  new ResizeObserver(() => {
    wired = ""; // cells have moved
    if (lens) highlight();
  }).observe(stage);

  return {
    show(panel) {
      const before = lens?.feeds;
      lens = panel.figure;
      relate(before);
      const structure = `${lens.format}/${lens.raw.length}`;
      if (structure !== built) {
        built = structure;
        build();
      }
      refresh();
    },
    redraw: () => lens && refresh(),
  };
}

// Draws what Python computed: a frame holds every number of the picture, and nothing is computed here but pixels.
// A frame is a u32 length, that many bytes of JSON, then the arrays (see scene.py).

const DTYPES = { u1: Uint8Array, i1: Int8Array, i4: Int32Array, f4: Float32Array, f8: Float64Array };

function decode(view) {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const body = 4 + view.getUint32(0, true);
  return JSON.parse(new TextDecoder().decode(bytes.subarray(4, body)), (_key, value) => {
    if (!value?.$) return value;
    const start = body + value.at;
    const array = new DTYPES[value.$](bytes.slice(start, start + value.n).buffer); // copied: aligned for any type
    array.shape = value.shape ?? [array.length];
    return array;
  });
}

// ---------------------------------------------------------------------------------------------------- small things

function h(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const node = document.createElement(name || "div");
  if (classes.length) node.className = classes.map((c) => `qviz-${c}`).join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const minus = (text) => text.replace("-", "−");

function number(x, digits = 3, smallest = 1e-4) {
  if (Number.isNaN(x)) return "NaN";
  if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
  const size = Math.abs(x);
  if (size !== 0 && (size < smallest || size >= 1e6))
    return minus(
      x
        .toExponential(digits - 1)
        .replace("e-", "e−")
        .replace("e+", "e"),
    );
  return minus(String(Number(x.toPrecision(digits))));
}

const hex = (n, width) => n.toString(16).padStart(width, "0");

// Round numbers that cut an axis into at most n parts.
function ticks(low, high, n) {
  const rough = (high - low) / n;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= rough);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high && found.length < 100; i++) found.push(i * step);
  return found;
}

// Black text reads better than white on a colour whose relative luminance (WCAG) is above 0.179.
function isLight(...rgb) {
  const [r, g, b] = rgb.map((v) =>
    v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4,
  );
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179;
}

// A dark page has light text. JupyterLab says so itself; elsewhere look.
function isDark(node) {
  const said = document.body.dataset.jpThemeLight;
  if (said) return said === "false";
  return isLight(...(getComputedStyle(node).color.match(/[\d.]+/g) ?? [0, 0, 0]).slice(0, 3).map(Number));
}

// ------------------------------------------------------------------------------------------------------- a surface

// A canvas as wide as its place and as sharp as the screen. `draw` gets a context in CSS pixels.
function surface(height, draw) {
  const canvas = h("canvas", { role: "img" });
  canvas.style.height = `${height}px`;
  const redraw = () => {
    const width = canvas.clientWidth;
    if (!width) return;
    const ratio = window.devicePixelRatio || 1;
    const size = [Math.round(width * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, canvas.clientHeight);
    draw(context, width, canvas.clientHeight);
  };
  new ResizeObserver(redraw).observe(canvas);
  return { canvas, redraw };
}

function axis(c, scale, low, high, y, width, ink) {
  c.strokeStyle = ink.soft;
  c.fillStyle = ink.soft;
  c.lineWidth = 1;
  c.font = ink.font;
  c.textAlign = "center";
  c.textBaseline = "top";
  c.beginPath();
  c.moveTo(0, y + 0.5);
  c.lineTo(width, y + 0.5);
  for (const value of ticks(low, high, Math.max(3, width / 110))) {
    const x = Math.round(scale(value)) + 0.5;
    c.moveTo(x, y);
    c.lineTo(x, y + 5);
    const text = number(value);
    const half = c.measureText(text).width / 2;
    if (x - half >= 0 && x + half <= width) c.fillText(text, x, y + 8);
  }
  c.stroke();
}

// A histogram as a filled outline that reaches `height` at its peak.
function area(c, scale, histogram, base, height, fill, stroke) {
  const { counts, low, high } = histogram;
  let peak = 1;
  for (const n of counts) peak = Math.max(peak, n);
  const step = (high - low) / counts.length;
  c.beginPath();
  c.moveTo(scale(low), base);
  for (let i = 0; i < counts.length; i++) {
    const y = base - (height * counts[i]) / peak;
    c.lineTo(scale(low + i * step), y);
    c.lineTo(scale(low + (i + 1) * step), y);
  }
  c.lineTo(scale(high), base);
  c.globalAlpha = fill.alpha;
  c.fillStyle = fill.colour;
  c.fill();
  c.globalAlpha = 1;
  if (stroke) {
    c.strokeStyle = stroke;
    c.lineWidth = 1.25;
    c.stroke();
  }
}

// ------------------------------------------------------------------------------------------------------ number line

function NumberLine(host, view) {
  let line;
  let names; // of the dots, where they are few and known; and which of them is meant
  const { canvas, redraw } = surface(272, (c, width) => {
    if (!line) return;
    const ink = view.ink();
    const { low, high } = line.density;
    const x = (value) => ((value - low) / (high - low)) * width;
    const [sky, dots, ground, floor] = [74, 96, 158, 206];

    if (!names) area(c, x, line.density, sky, sky - 6, { colour: ink.soft, alpha: 0.22 }, ink.soft);

    // levels run up through the picture: the grid that weights fall onto
    const n = line.levels.length;
    const gap = n > 1 ? x(line.levels[1]) - x(line.levels[0]) : width;
    c.strokeStyle = ink.level;
    c.lineWidth = 1;
    c.globalAlpha = gap < 6 ? 0.18 : 0.35;
    c.beginPath();
    for (const level of line.levels) {
      const at = Math.round(x(level)) + 0.5;
      c.moveTo(at, sky + 4);
      c.lineTo(at, ground);
    }
    c.stroke();
    c.globalAlpha = 1;

    // each sampled weight, its fall, its level
    c.strokeStyle = ink.weight;
    c.lineWidth = 1.25;
    c.globalAlpha = 0.75;
    c.beginPath();
    line.weights.forEach((weight, i) => {
      c.moveTo(x(weight), dots);
      c.lineTo(x(line.snapped[i]), ground);
    });
    c.stroke();
    c.globalAlpha = 1;
    c.fillStyle = ink.weight;
    c.strokeStyle = ink.card;
    line.weights.forEach((weight, i) => dot(c, x(weight), dots, names?.current === i ? 6 : 4));
    if (names) nameDots(c, line.weights, x, dots - 18, names, width, ink);

    // how many weights of the group land on each level
    let most = 1;
    for (const used of line.used) most = Math.max(most, used);
    const bar = Math.min(22, Math.max(1, gap - 2));
    c.fillStyle = ink["level-fill"];
    line.used.forEach((used, i) => {
      const height = used ? Math.max(2, ((floor - ground - 8) * used) / most) : 0;
      c.fillRect(x(line.levels[i]) - bar / 2, ground + 6, bar, height);
    });
    c.fillStyle = ink.level;
    c.strokeStyle = ink.card;
    const radius = gap < 6 ? 1.5 : 4;
    for (const level of line.levels) dot(c, x(level), ground, radius, gap >= 6);

    // codes, as many as fit
    c.font = ink.font;
    c.fillStyle = ink.level;
    c.textAlign = "center";
    c.textBaseline = "top";
    const every = 2 ** Math.max(0, Math.ceil(Math.log2(30 / gap)));
    line.codes.forEach((code, i) => {
      if (i % every === 0) c.fillText(minus(String(code)), x(line.levels[i]), floor + 4);
    });
    axis(c, x, low, high, 240, width, ink);
  });
  host.append(canvas);
  return {
    show(panel) {
      line = panel.figure;
      names = panel.options?.names ? panel.options : null;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}`);
      redraw();
    },
    redraw,
  };
}

// Names above dots, in lines one above the other where they would run into each other.
function nameDots(c, values, x, y, { names, current }, width, ink) {
  c.textBaseline = "bottom";
  c.textAlign = "center";
  const free = [];
  const order = Array.from(values.keys()).sort((a, b) => values[a] - values[b]);
  for (const i of order) {
    c.font = i === current ? `bold ${ink.font}` : ink.font;
    const half = c.measureText(names[i]).width / 2;
    const at = Math.min(width - half, Math.max(half, x(values[i])));
    let row = free.findIndex((end) => end < at - half - 6);
    if (row < 0) row = free.length;
    free[row] = at + half;
    c.fillStyle = i === current ? ink.weight : ink.soft;
    c.fillText(names[i], at, y - 17 * row);
  }
  c.font = ink.font;
}

function dot(c, x, y, radius, halo = true) {
  c.beginPath();
  c.arc(x, y, radius, 0, 2 * Math.PI);
  if (halo) {
    c.lineWidth = 1.5;
    c.stroke();
  }
  c.fill();
}

// -------------------------------------------------------------------------------------------------- error histogram

function ErrorHistogram(host, view) {
  let figure;
  const { canvas, redraw } = surface(178, (c, width) => {
    if (!figure) return;
    const ink = view.ink();
    const { low, high } = figure.errors;
    const x = (value) => ((value - low) / (high - low)) * width;
    const base = 146;
    area(c, x, figure.weights, base, base - 24, { colour: ink.soft, alpha: 0.22 }, ink.soft);
    area(c, x, figure.errors, base, base - 24, { colour: ink["level-fill"], alpha: 0.75 }, ink.level);
    if (figure.rmse !== null && figure.rmse < high) {
      c.strokeStyle = ink.ink;
      c.lineWidth = 1.25;
      c.setLineDash([4, 3]);
      c.beginPath();
      for (const sign of [-1, 1]) {
        const at = Math.round(x(sign * figure.rmse)) + 0.5;
        c.moveTo(at, 18);
        c.lineTo(at, base);
      }
      c.stroke();
      c.setLineDash([]);
      c.fillStyle = ink.ink;
      c.font = ink.font;
      c.textBaseline = "top";
      c.textAlign = "left";
      c.fillText(`RMSE ${number(figure.rmse)}`, x(figure.rmse) + 6, 16);
    }
    axis(c, x, low, high, base, width, ink);
  });
  host.append(canvas);
  return {
    show(panel) {
      figure = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}`);
      redraw();
    },
    redraw,
  };
}

// ----------------------------------------------------------------------------------------------------- matrix image

function MatrixImage(host, view) {
  let panel;
  const image = h("canvas"); // one pixel a pixel; the visible canvas magnifies it
  let table;
  const { canvas, redraw } = surface(0, (c, width, height) => {
    if (!panel) return;
    const { window: part, pixels } = panel.figure;
    const [rows, columns] = pixels.shape;
    const step = steps();
    const scale = width / columns;
    c.imageSmoothingEnabled = scale * (window.devicePixelRatio || 1) < 1.5;
    c.imageSmoothingQuality = "high";
    c.drawImage(image, 0, 0, width, height);
    const block = panel.options?.block ?? 1;
    if (block > 1 && width / (part.columns / block) >= 24) {
      c.strokeStyle = view.ink().ink;
      c.globalAlpha = 0.55;
      c.lineWidth = 1;
      c.beginPath();
      for (let column = block - (part.left % block); column < part.columns; column += block) {
        const at = Math.round((column / part.columns) * width) + 0.5;
        c.moveTo(at, 0);
        c.lineTo(at, height);
      }
      c.stroke();
      c.globalAlpha = 1;
    }
    const at = view.pointer;
    const [i, j] = at
      ? [Math.floor((at.row - part.top) / step[0]), Math.floor((at.column - part.left) / step[1])]
      : [-1, -1];
    if (i >= 0 && j >= 0 && i < rows && j < columns) {
      const [x, y] = [((j + 0.5) / columns) * width, ((i + 0.5) / rows) * height];
      const half = Math.max(5, scale / 2 + 2);
      for (const [colour, line] of [
        [view.ink().paper, 4],
        [view.ink().ink, 1.5],
      ]) {
        c.strokeStyle = colour;
        c.lineWidth = line;
        c.beginPath();
        for (const [dx, dy] of [
          [1, 0],
          [-1, 0],
          [0, 1],
          [0, -1],
        ]) {
          c.moveTo(x + dx * half, y + dy * half);
          c.lineTo(x + dx * (half + 9), y + dy * (half + 9));
        }
        c.rect(x - half, y - half, 2 * half, 2 * half);
        c.stroke();
      }
    }
  });
  canvas.tabIndex = 0;
  canvas.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take the arrow keys
  const bar = surface(14, (c, width, height) => {
    if (!table) return;
    const [first, last] = panel.figure.colours === "diverging" ? [0, 254] : [1, 254];
    for (let i = 0; i < width; i++) {
      const code = first + Math.round(((last - first) * i) / (width - 1));
      c.fillStyle = `rgb(${table[3 * code]},${table[3 * code + 1]},${table[3 * code + 2]})`;
      c.fillRect(i, 0, 1.5, height);
    }
  });
  bar.canvas.removeAttribute("role");
  bar.canvas.setAttribute("aria-hidden", "true");
  const marks = h("div.marks", { "aria-hidden": "true" });
  host.append(canvas, h("div.bar", {}, bar.canvas, marks));

  function paint() {
    const { pixels, colours } = panel.figure;
    const [rows, columns] = pixels.shape;
    table = view.table(colours);
    if (image.width !== columns || image.height !== rows) [image.width, image.height] = [columns, rows];
    const data = image.getContext("2d").createImageData(columns, rows);
    const out = new Uint32Array(data.data.buffer);
    const colour = new Uint32Array(256);
    for (let i = 0; i < 256; i++) {
      colour[i] = (255 << 24) | (table[3 * i + 2] << 16) | (table[3 * i + 1] << 8) | table[3 * i];
    }
    for (let i = 0; i < pixels.length; i++) out[i] = colour[pixels[i]];
    image.getContext("2d").putImageData(data, 0, 0);
    canvas.style.height = "";
    canvas.style.aspectRatio = aspect(rows, columns);
  }

  // A tensor keeps its shape, unless that would leave only a sliver of it.
  function aspect(rows, columns) {
    return String(Math.min(2.5, Math.max(0.75, columns / rows)));
  }

  // Rows and columns of weights under a pixel (see matrix.py).
  function steps() {
    const { window: part, pixels } = panel.figure;
    return [Math.ceil(part.rows / pixels.shape[0]), Math.ceil(part.columns / pixels.shape[1])];
  }

  // The pointer is kept as a weight, not as a pixel: it stays where it is when the picture zooms.
  function clamp(row, column) {
    const { window: part } = panel.figure;
    const within = (v, first, n) => Math.min(first + n - 1, Math.max(first, Math.floor(v)));
    return { row: within(row, part.top, part.rows), column: within(column, part.left, part.columns) };
  }
  function place(event) {
    const box = canvas.getBoundingClientRect();
    const { window: part, pixels } = panel.figure;
    const [down, across] = steps();
    const [y, x] = [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width];
    return clamp(
      part.top + Math.floor(y * pixels.shape[0]) * down,
      part.left + Math.floor(x * pixels.shape[1]) * across,
    );
  }
  canvas.addEventListener("pointermove", (event) => view.point(place(event)));
  canvas.addEventListener("click", (event) => view.zoom(place(event), !event.shiftKey));
  canvas.addEventListener("keydown", (event) => {
    const { window: part } = panel.figure;
    const at = view.pointer ?? clamp(part.top + part.rows / 2, part.left + part.columns / 2);
    const [down, across] = steps().map((n) => n * (event.shiftKey ? 8 : 1));
    const moves = {
      ArrowUp: [-down, 0],
      ArrowDown: [down, 0],
      ArrowLeft: [0, -across],
      ArrowRight: [0, across],
    };
    if (moves[event.key]) view.point(clamp(at.row + moves[event.key][0], at.column + moves[event.key][1]));
    else if (event.key === "Enter" || event.key === "+") view.zoom(at, true);
    else if (event.key === "Escape" || event.key === "-") view.zoom(at, false);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  return {
    show(next) {
      const last = panel?.figure.pixels;
      panel = next;
      const same =
        last?.length === next.figure.pixels.length && last.every((code, i) => code === next.figure.pixels[i]);
      if (!same || image.width !== next.figure.pixels.shape[1]) paint();
      const { limit, colours } = panel.figure;
      const at = colours === "diverging" ? [-limit, 0, limit] : [limit / 1024, limit / 32, limit];
      const text =
        colours === "diverging" ? at.map((v) => number(v)) : at.map((v, i) => (i ? "" : "≤ ") + number(v, 2));
      if (marks.children.length !== text.length) marks.replaceChildren(...text.map(() => h("span")));
      text.forEach((t, i) => say(marks.children[i], t));
      canvas.setAttribute(
        "aria-label",
        `${panel.title}: ${panel.label} as an image. Arrow keys move a pointer, Enter and Escape zoom.`,
      );
      redraw();
      bar.redraw();
    },
    redraw() {
      if (panel) paint();
      redraw();
      bar.redraw();
    },
    mark: redraw,
  };
}

// ------------------------------------------------------------------------------------------------------- block lens

function BlockLens(host, view) {
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

// ------------------------------------------------------------------------------------------------------ the whole

const KINDS = { NumberLine, ErrorHistogram, MatrixImage, BlockLens };

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
      if (!inks) {
        const style = getComputedStyle(root);
        inks = { font: `12.5px ${style.fontFamily}` };
        for (const role of ["ink", "soft", "line", "card", "paper", "weight", "level", "level-fill"]) {
          inks[role] = style.getPropertyValue(`--qviz-${role}`).trim();
        }
      }
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

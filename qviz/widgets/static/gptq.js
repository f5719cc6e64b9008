// Painters of the GPTQ debugger. The browser gets this file joined to the end of view.js, as one module.

// Arrow keys walk over columns (and rows, where there are some); all pictures of the debugger answer them alike.
function gptqSteers(canvas, view, at) {
  canvas.tabIndex = 0;
  canvas.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take the arrow keys
  canvas.style.cursor = "pointer";
  canvas.addEventListener("keydown", (event) => {
    const { column, row, n } = at();
    const far = event.shiftKey ? 8 : 1;
    const to = { ArrowLeft: column - far, ArrowRight: column + far, Home: 0, End: n - 1 }[event.key];
    const down = { ArrowUp: -far, ArrowDown: far }[event.key];
    if (to !== undefined) view.send({ event: "step", column: Math.min(n - 1, Math.max(0, to)) });
    else if (down !== undefined && row >= 0) view.send({ event: "step", row: row + down });
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
}

// What lies behind the current batch hears of its errors only when it ends.
function gptqWaiting(c, from, to, top, height, ink, text) {
  if (to - from < 1) return;
  c.save();
  c.beginPath();
  c.rect(from, top, to - from, height);
  c.clip();
  c.fillStyle = ink.line;
  c.globalAlpha = 0.35;
  c.fillRect(from, top, to - from, height);
  c.globalAlpha = 0.6;
  c.strokeStyle = ink.soft;
  c.lineWidth = 1;
  c.beginPath();
  for (let x = from - height; x < to; x += 9) {
    c.moveTo(x, top + height);
    c.lineTo(x + height, top);
  }
  c.globalAlpha = 0.18;
  c.stroke();
  c.globalAlpha = 1;
  if (text && to - from > c.measureText(text).width + 12) {
    c.fillStyle = ink.soft;
    c.textAlign = "left";
    c.textBaseline = "top";
    c.fillText(text, from + 6, top + 4);
  }
  c.restore();
}

// One row of weights around the cursor: where each began, where it is now, and the levels that it may take.
function StepRow(host, view) {
  let row;
  let panel;
  const [left, right, top, base] = [56, 10, 12, 320];
  const across = (width) => {
    const cell = (width - left - right) / row.original.length;
    return { cell, x: (j) => left + (j + 0.5) * cell };
  };
  const { canvas, redraw } = surface(366, (c, width) => {
    if (!row) return;
    const ink = view.ink();
    const changed = role(host, "changed");
    const { cell, x } = across(width);
    const y = (v) => base - ((base - top) * (v - row.low)) / (row.high - row.low);
    const inside = (v) => v >= row.low && v <= row.high;
    const current = row.column - row.first;
    const last = row.original.length;
    c.font = ink.font;

    c.fillStyle = ink.line;
    c.globalAlpha = 0.6;
    c.fillRect(left + current * cell, top, cell, base - top);
    c.globalAlpha = 1;
    const end = Math.min(last, row.waits - row.first);
    gptqWaiting(c, left + end * cell, width - right, top, base - top, ink, "waits until the batch ends");

    c.strokeStyle = ink.line;
    c.fillStyle = ink.soft;
    c.lineWidth = 1;
    c.textAlign = "right";
    c.textBaseline = "middle";
    for (const value of ticks(row.low, row.high, 6)) {
      const at = Math.round(y(value)) + 0.5;
      c.beginPath();
      c.moveTo(left, at);
      c.lineTo(width - right, at);
      c.stroke();
      c.fillText(number(value), left - 8, at);
    }

    // levels of each column's group
    c.fillStyle = ink["level-fill"];
    for (let j = 0; j < last; j++) {
      if (!Number.isFinite(row.steps[j])) continue;
      const gap = Math.abs(y(0) - y(row.steps[j]));
      const half = cell * 0.36;
      if (gap < 3) {
        c.globalAlpha = 0.14;
        const [high, low] = [row.bottoms[j] + row.steps[j] * (row.levels - 1), row.bottoms[j]];
        const [a, b] = [y(Math.min(row.high, high)), y(Math.max(row.low, low))];
        c.fillRect(x(j) - half, a, 2 * half, b - a);
        continue;
      }
      c.globalAlpha = j === current ? 0.95 : 0.42;
      for (let k = 0; k < row.levels; k++) {
        const level = row.bottoms[j] + row.steps[j] * k;
        if (inside(level)) c.fillRect(x(j) - half, y(level) - 0.75, 2 * half, 1.5);
      }
    }
    c.globalAlpha = 1;
    c.strokeStyle = ink.soft;
    c.setLineDash([3, 3]);
    for (const start of row.groups) {
      const at = Math.round(left + (start - row.first) * cell) + 0.5;
      c.beginPath();
      c.moveTo(at, top);
      c.lineTo(at, base);
      c.stroke();
    }
    c.setLineDash([]);

    // from where a weight began to where it is
    for (let j = 0; j < last; j++) {
      const [from, to] = [y(row.original[j]), y(row.now[j])];
      c.strokeStyle = j <= current ? ink.level : ink.weight;
      c.lineWidth = j === current ? 1 : 1.5;
      c.globalAlpha = 0.6;
      c.beginPath();
      c.moveTo(x(j), from);
      c.lineTo(x(j), j === current ? y(row.before[j]) : to);
      c.stroke();
      c.globalAlpha = 1;
      c.strokeStyle = ink.soft;
      c.lineWidth = 1.25;
      c.beginPath();
      c.arc(x(j), from, Math.min(4, cell * 0.3), 0, 2 * Math.PI);
      c.stroke();
      if (j === current) continue;
      c.fillStyle = j < current ? ink.level : ink.weight;
      c.strokeStyle = ink.card;
      dot(c, x(j), to, Math.min(4, cell * 0.3));
    }
    // the weight whose turn it is, and its fall
    const [from, to] = [y(row.before[current]), y(row.now[current])];
    c.strokeStyle = changed;
    c.lineWidth = 3;
    c.beginPath();
    c.moveTo(x(current), from);
    c.lineTo(x(current), to);
    c.stroke();
    c.strokeStyle = ink.card;
    c.fillStyle = ink.weight;
    dot(c, x(current), from, Math.min(5.5, cell * 0.36));
    c.fillStyle = ink.level;
    dot(c, x(current), to, Math.min(5.5, cell * 0.36));

    c.textAlign = "center";
    c.textBaseline = "top";
    const every = [1, 2, 4, 5, 8, 10].find((n) => n * cell >= 34) ?? 20;
    for (let j = 0; j < last; j++) {
      const shown = row.first + j;
      if (j !== current && (shown % every || Math.abs(j - current) * cell < 34)) continue;
      c.fillStyle = j === current ? ink.ink : ink.soft;
      c.fillText(String(shown), x(j), base + 6);
    }
    c.fillStyle = ink.soft;
    c.textAlign = "left";
    c.fillText("column, in processing order →", left, base + 26);
  });
  host.append(canvas);
  gptqSteers(canvas, view, () => ({ column: row.column, row: row.row, n: panel.options.n }));
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const j = Math.floor((event.clientX - box.left - left) / across(box.width).cell);
    if (j >= 0 && j < row.original.length) view.send({ event: "step", column: row.first + j });
  });
  return {
    show(next) {
      panel = next;
      row = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label} Arrow keys choose column and row.`);
      redraw();
    },
    redraw,
  };
}

// Row i of U as bars; what the explicit formula gives, as points on their tips.
function PullRow(host, view) {
  let pull;
  let panel;
  const [left, right, top, base] = [56, 10, 14, 190];
  const { canvas, redraw } = surface(236, (c, width) => {
    if (!pull) return;
    const ink = view.ink();
    const n = pull.pull.length;
    const cell = (width - left - right) / n;
    const x = (j) => left + j * cell;
    const middle = (top + base) / 2;
    const y = (v) => middle - ((base - top) / 2) * Math.min(1, Math.max(-1, v / (1.1 * pull.limit)));
    c.font = ink.font;
    gptqWaiting(c, x(pull.waits), width - right, top, base - top, ink, "");
    c.lineWidth = 1;
    c.strokeStyle = ink.line;
    c.fillStyle = ink.soft;
    c.textAlign = "right";
    c.textBaseline = "middle";
    for (const value of ticks(-1.1 * pull.limit, 1.1 * pull.limit, 6)) {
      const at = Math.round(y(value)) + 0.5;
      c.beginPath();
      c.moveTo(left, at);
      c.lineTo(width - right, at);
      c.stroke();
      c.fillText(`${number(100 * value)} %`, left - 6, at);
    }
    c.fillStyle = ink.weight;
    const wide = Math.max(1, cell - (cell > 3 ? 1 : 0));
    for (let j = 0; j < n; j++) {
      const tip = y(-pull.pull[j]);
      c.fillRect(x(j), Math.min(middle, tip), wide, Math.abs(tip - middle));
    }
    c.fillStyle = ink.level;
    const size = Math.max(2.2, Math.min(4, cell * 0.8));
    pull.explicit.forEach((v, j) => {
      if (j > pull.column) c.fillRect(x(j) + wide / 2 - size / 2, y(-v) - size / 2, size, size);
    });
    c.strokeStyle = ink.ink;
    c.lineWidth = 2;
    c.beginPath();
    c.moveTo(x(pull.column) + wide / 2, top);
    c.lineTo(x(pull.column) + wide / 2, base);
    c.stroke();
    c.fillStyle = ink.soft;
    c.textAlign = "center";
    c.textBaseline = "top";
    for (const j of ticks(0, n - 1, Math.max(3, width / 90))) if (Number.isInteger(j)) c.fillText(String(j), x(j) + wide / 2, base + 6);
    c.textAlign = "left";
    c.fillText("column, in processing order →", left, base + 26);
  });
  host.append(canvas);
  gptqSteers(canvas, view, () => ({ column: pull.column, row: -1, n: pull.pull.length }));
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const j = Math.floor(((event.clientX - box.left - left) / (box.width - left - right)) * pull.pull.length);
    if (j >= 0 && j < pull.pull.length) view.send({ event: "step", column: j });
  });
  return {
    show(next) {
      panel = next;
      pull = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label} Arrow keys choose a column.`);
      redraw();
    },
    redraw,
  };
}

// Two running losses; what is past in full strength, what is to come faint.
function LossRace(host, view) {
  let race;
  let panel;
  const [left, right, top, base] = [56, 10, 14, 190];
  const { canvas, redraw } = surface(236, (c, width) => {
    if (!race) return;
    const ink = view.ink();
    const n = race.ours.length;
    let most = 1;
    for (const line of [race.ours, race.nearest]) for (const v of line) if (Number.isFinite(v)) most = Math.max(most, v);
    most = Math.min(most, 4) * 1.06; // a loss that explodes leaves the picture, and the readout says how far
    const x = (j) => left + ((width - left - right) * j) / Math.max(1, n - 1);
    const y = (v) => base - ((base - top) * v) / most;
    c.font = ink.font;
    c.lineWidth = 1;
    c.strokeStyle = ink.line;
    c.fillStyle = ink.soft;
    c.textAlign = "right";
    c.textBaseline = "middle";
    for (const value of ticks(0, most, 5)) {
      const at = Math.round(y(value)) + 0.5;
      c.beginPath();
      c.moveTo(left, at);
      c.lineTo(width - right, at);
      c.stroke();
      c.fillText(`${Math.round(100 * value)} %`, left - 6, at);
    }
    c.save();
    c.beginPath();
    c.rect(left - 2, top - 6, width - left - right + 4, base - top + 8);
    c.clip();
    for (const [line, colour] of [[race.nearest, ink.level], [race.ours, ink.weight]]) {
      c.strokeStyle = colour;
      for (const [first, last, alpha, wide] of [[race.column, n - 1, 0.35, 1.5], [0, race.column, 1, 2.5]]) {
        c.globalAlpha = alpha;
        c.lineWidth = wide;
        c.beginPath();
        for (let j = first; j <= last; j++) j === first ? c.moveTo(x(j), y(line[j])) : c.lineTo(x(j), y(line[j]));
        c.stroke();
      }
      c.globalAlpha = 1;
      c.fillStyle = colour;
      c.strokeStyle = ink.card;
      dot(c, x(race.column), y(line[race.column]), 5);
    }
    c.restore();
    c.strokeStyle = ink.soft;
    c.lineWidth = 1;
    c.beginPath();
    c.moveTo(x(race.column), top);
    c.lineTo(x(race.column), base);
    c.stroke();
    c.fillStyle = ink.soft;
    c.textAlign = "center";
    c.textBaseline = "top";
    for (const j of ticks(0, n - 1, Math.max(3, width / 90))) if (Number.isInteger(j)) c.fillText(String(j), x(j), base + 6);
    c.textAlign = "left";
    c.fillText("columns rounded so far →", left, base + 26);
  });
  host.append(canvas);
  gptqSteers(canvas, view, () => ({ column: race.column, row: -1, n: race.ours.length }));
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const j = Math.round(((event.clientX - box.left - left) / (box.width - left - right)) * (race.ours.length - 1));
    view.send({ event: "step", column: Math.min(race.ours.length - 1, Math.max(0, j)) });
  });
  return {
    show(next) {
      panel = next;
      race = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label} Arrow keys choose a column.`);
      redraw();
    },
    redraw,
  };
}

// A matrix of the run, with the current column and row marked.
function CursorImage(host, view) {
  let figure;
  let panel;
  const image = h("canvas"); // one pixel a pixel; the visible canvas magnifies it
  const { canvas, redraw } = surface(0, (c, width, height) => {
    if (!figure) return;
    const ink = view.ink();
    const { window: part } = figure.image;
    c.imageSmoothingEnabled = false;
    c.drawImage(image, 0, 0, width, height);
    const [across, down] = [width / part.columns, height / part.rows];
    const line = (x1, y1, x2, y2) => {
      for (const [colour, thick] of [[ink.paper, 4], [ink.ink, 1.5]]) {
        c.strokeStyle = colour;
        c.lineWidth = thick;
        c.beginPath();
        c.moveTo(x1, y1);
        c.lineTo(x2, y2);
        c.stroke();
      }
    };
    if (figure.waits < part.columns) {
      c.setLineDash([4, 4]);
      line(figure.waits * across, 0, figure.waits * across, height);
      c.setLineDash([]);
    }
    const x = (figure.column + 0.5) * across;
    const y = (figure.row + 0.5) * down;
    if (figure.row >= 0) line(0, y, width, y);
    if (figure.column >= 0) line(x, 0, x, height);
  });
  const bar = surface(12, (c, width, height) => {
    if (!figure) return;
    const table = view.table(figure.image.colours);
    for (let i = 0; i < width; i++) {
      const code = Math.round((254 * i) / (width - 1));
      c.fillStyle = `rgb(${table[3 * code]},${table[3 * code + 1]},${table[3 * code + 2]})`;
      c.fillRect(i, 0, 1.5, height);
    }
  });
  bar.canvas.removeAttribute("role");
  bar.canvas.setAttribute("aria-hidden", "true");
  const marks = h("div.marks", { "aria-hidden": "true" });
  host.append(canvas, h("div.bar", {}, bar.canvas, marks));

  let painted; // which picture, and in which colours
  function paint() {
    const { pixels, colours } = figure.image;
    const table = view.table(colours);
    const [rows, columns] = pixels.shape;
    painted = pixels;
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
    canvas.style.aspectRatio = String(Math.min(2.5, Math.max(0.75, columns / rows)));
  }

  gptqSteers(canvas, view, () => ({
    column: panel.options.column,
    row: figure.across === "weight" ? figure.row : -1,
    n: figure.image.window.columns,
  }));
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const { window: part } = figure.image;
    const column = Math.floor(((event.clientX - box.left) / box.width) * part.columns);
    const row = Math.floor(((event.clientY - box.top) / box.height) * part.rows);
    if (figure.across === "weight") view.send({ event: "step", column, row });
    else view.send({ event: "step", column: figure.across === "column" ? column : row });
  });
  return {
    show(next) {
      panel = next;
      figure = panel.figure;
      const { pixels, limit } = figure.image;
      if (pixels.length !== painted?.length || !pixels.every((code, i) => code === painted[i])) paint();
      const text = [-limit, 0, limit].map((v) => number(v, 2));
      if (marks.children.length !== 3) marks.replaceChildren(...text.map(() => h("span")));
      text.forEach((t, i) => say(marks.children[i], t));
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label} Arrow keys choose a column.`);
      redraw();
      bar.redraw();
    },
    redraw() {
      if (figure) paint();
      redraw();
      bar.redraw();
    },
  };
}

Object.assign(KINDS, { StepRow, PullRow, LossRace, CursorImage });

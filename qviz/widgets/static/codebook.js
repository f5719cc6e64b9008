// Painters of the codebook explorer. The browser gets this file joined to the end of view.js, as one module.

// Values as a hill; the levels of a codebook run down from where they began; below, the levels of others.
function LloydPicture(host, view) {
  let figure;
  const [top, base, start, end, bars, row] = [12, 136, 146, 226, 262, 35];
  const { canvas, redraw } = surface(300, (c, width) => {
    if (!figure) return;
    const ink = view.ink();
    const { low, high, counts } = figure.values;
    const x = (value) => ((value - low) / (high - low)) * width;
    const [steps, n] = figure.paths.shape;
    const level = (step, i) => figure.paths[step * n + i];

    // where the nearest level changes
    c.strokeStyle = ink.line;
    c.lineWidth = 1;
    c.beginPath();
    for (const edge of figure.edges) {
      const at = Math.round(x(edge)) + 0.5;
      c.moveTo(at, top);
      c.lineTo(at, base);
    }
    c.stroke();

    let peak = 2;
    for (const count of counts) peak = Math.max(peak, count);
    const y = (count) => (count ? base - (base - top) * (0.06 + (0.94 * Math.log(count)) / Math.log(peak)) : base);
    const step = (high - low) / counts.length;
    c.beginPath();
    c.moveTo(0, base);
    counts.forEach((count, i) => {
      c.lineTo(x(low + i * step), y(count));
      c.lineTo(x(low + (i + 1) * step), y(count));
    });
    c.lineTo(width, base);
    c.globalAlpha = 0.3;
    c.fillStyle = ink.soft;
    c.fill();
    c.globalAlpha = 1;
    c.strokeStyle = ink.soft;
    c.stroke();

    // the way of each level: time runs downwards
    const down = (k) => start + ((end - start) * k) / Math.max(1, steps - 1);
    c.strokeStyle = ink.level;
    c.lineWidth = n > 20 ? 1 : 1.5;
    c.globalAlpha = 0.6;
    for (let i = 0; i < n; i++) {
      c.beginPath();
      for (let k = 0; k <= figure.current; k++) {
        if (k) c.lineTo(x(level(k, i)), down(k));
        else c.moveTo(x(level(k, i)), down(k));
      }
      c.stroke();
    }
    c.globalAlpha = 0.35;
    c.lineWidth = 1;
    c.beginPath();
    for (let i = 0; i < n; i++) {
      const at = x(level(figure.current, i));
      c.moveTo(at, base);
      c.lineTo(at, start); // from the hill into the picture of time
      c.moveTo(at, down(figure.current));
      c.lineTo(at, bars);
    }
    c.stroke();
    c.globalAlpha = 1;
    let most = 1;
    for (const used of figure.used) most = Math.max(most, used);
    let gap = width;
    for (let i = 1; i < n; i++) gap = Math.min(gap, x(level(figure.current, i)) - x(level(figure.current, i - 1)));
    const wide = Math.min(14, Math.max(2, gap - 2));
    for (let i = 0; i < n; i++) {
      const at = x(level(figure.current, i));
      const height = figure.used[i] ? Math.max(1.5, (bars - end - 8) * (figure.used[i] / most)) : 0;
      c.fillStyle = ink["level-fill"];
      c.fillRect(at - wide / 2, bars - height, wide, height);
      c.fillStyle = ink.level;
      c.strokeStyle = ink.card;
      dot(c, at, down(figure.current), gap < 7 ? 2.5 : 4);
    }
    c.fillStyle = ink.soft;
    c.font = ink.font;
    c.textBaseline = "top";
    c.textAlign = "left";
    c.fillText("start", 2, start);

    // others: combs, each under its name
    figure.names.forEach((name, i) => {
      const head = bars + 12 + i * row;
      c.strokeStyle = ink.ink;
      c.lineWidth = 1.5;
      c.globalAlpha = 0.85;
      c.beginPath();
      for (const value of figure.others[i]) {
        const at = Math.round(x(value)) + 0.5;
        c.moveTo(at, head + 14);
        c.lineTo(at, head + 29);
      }
      c.stroke();
      c.globalAlpha = 1;
      c.fillStyle = ink.ink;
      c.textBaseline = "middle";
      c.fillText(name, 2, head + 5);
    });
    axis(c, x, low, high, bars + 16 + figure.names.length * row, width, ink);
  });
  host.append(canvas);
  return {
    show(panel) {
      figure = panel.figure;
      canvas.style.height = `${bars + 46 + figure.names.length * row}px`;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}`);
      redraw();
    },
    redraw,
  };
}

// Decibels over iterations; the others as level lines.
function LloydCurve(host, view) {
  let curve;
  let panel;
  const [left, right, top, base] = [40, 12, 14, 320];
  const across = (width) => (k) => left + 8 + ((width - left - right - 16) * k) / Math.max(1, curve.decibels.length - 1);
  const { canvas, redraw } = surface(370, (c, width) => {
    if (!curve) return;
    const ink = view.ink();
    const x = across(width);
    const known = [...curve.decibels, ...curve.others].filter(Number.isFinite);
    const low = Math.min(...known) - 0.8;
    const high = Math.max(...known) + 0.8;
    const y = (db) => base - ((base - top) * (db - low)) / (high - low);
    c.font = ink.font;
    c.lineWidth = 1;
    c.strokeStyle = ink.line;
    c.fillStyle = ink.soft;
    c.textAlign = "right";
    c.textBaseline = "middle";
    for (const value of ticks(low, high, 7)) {
      const at = Math.round(y(value)) + 0.5;
      c.beginPath();
      c.moveTo(left, at);
      c.lineTo(width - right, at);
      c.stroke();
      c.fillText(number(value), left - 6, at);
    }
    c.textAlign = "left";
    c.textBaseline = "top";
    c.fillText("dB ↑   iteration →", 2, base + 26);
    c.textAlign = "center";
    const every = ticks(0, Math.max(1, curve.decibels.length - 1), Math.max(2, width / 70)).filter(Number.isInteger);
    for (const k of every) c.fillText(String(k), x(k), base + 7);

    // names stand on their lines, and make room for one another
    const order = Array.from(curve.names.keys()).sort((a, b) => curve.others[b] - curve.others[a]);
    let free = -Infinity;
    for (const i of order) {
      if (!Number.isFinite(curve.others[i])) continue;
      const at = y(curve.others[i]);
      c.strokeStyle = ink.ink;
      c.lineWidth = 1.25;
      c.setLineDash([5, 4]);
      c.beginPath();
      c.moveTo(left, at);
      c.lineTo(width - right, at);
      c.stroke();
      c.setLineDash([]);
      const line = Math.max(at - 9, free);
      free = line + 15;
      const text = c.measureText(curve.names[i]).width;
      c.fillStyle = ink.card;
      c.globalAlpha = 0.8;
      c.fillRect(width - right - text - 3, line - 7, text + 4, 14);
      c.globalAlpha = 1;
      c.fillStyle = ink.ink;
      c.textAlign = "right";
      c.textBaseline = "middle";
      c.fillText(curve.names[i], width - right - 1, line);
    }

    c.strokeStyle = ink.level;
    c.lineWidth = 2.5;
    c.beginPath();
    let pen = false;
    curve.decibels.forEach((db, k) => {
      if (!Number.isFinite(db)) return; // exact: beyond any scale
      if (pen) c.lineTo(x(k), y(db));
      else c.moveTo(x(k), y(db));
      pen = true;
    });
    c.stroke();
    const db = curve.decibels[curve.current];
    c.fillStyle = ink.weight;
    c.strokeStyle = ink.card;
    dot(c, x(curve.current), Number.isFinite(db) ? y(db) : top, 6.5);
  });
  canvas.tabIndex = 0;
  canvas.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take the arrow keys
  host.append(canvas);

  const choose = (k) => view.send({ event: "iteration", iteration: Math.min(curve.decibels.length - 1, Math.max(0, k)) });
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const x = across(box.width);
    choose(Math.round((event.clientX - box.left - x(0)) / (x(1) - x(0) || 1)));
  });
  canvas.addEventListener("keydown", (event) => {
    const k = curve.current;
    const last = curve.decibels.length - 1;
    const to = { ArrowLeft: k - 1, ArrowDown: k - 1, ArrowRight: k + 1, ArrowUp: k + 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    choose(to);
    event.preventDefault();
    event.stopPropagation();
  });
  return {
    show(next) {
      panel = next;
      curve = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}. Arrow keys step through the iterations.`);
      redraw();
    },
    redraw,
  };
}

Object.assign(KINDS, { LloydPicture, LloydCurve });

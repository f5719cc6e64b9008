// Painters of the range explorers. The browser gets this file joined to the end of view.js, as one module.

// A hill of values on a logarithmic scale; where the range ends, the hill changes its colour.
function RangeHistogram(host, view) {
  let figure;
  const { canvas, redraw } = surface(236, (c, width) => {
    if (!figure) return;
    const ink = view.ink();
    const { low, high, counts } = figure.values;
    const x = (value) => ((value - low) / (high - low)) * width;
    const [top, base] = [26, 184];
    const hill = (histogram, fill, alpha, stroke) => {
      let peak = 1;
      for (const n of histogram.counts) peak = Math.max(peak, n);
      const y = (n) => (n ? base - (base - top) * (0.06 + (0.94 * Math.log(n)) / Math.log(Math.max(peak, 2))) : base);
      const step = (histogram.high - histogram.low) / histogram.counts.length;
      c.beginPath();
      c.moveTo(x(histogram.low), base);
      histogram.counts.forEach((n, i) => {
        c.lineTo(x(histogram.low + i * step), y(n));
        c.lineTo(x(histogram.low + (i + 1) * step), y(n));
      });
      c.lineTo(x(histogram.high), base);
      c.globalAlpha = alpha;
      c.fillStyle = fill;
      c.fill();
      c.globalAlpha = 1;
      if (stroke) {
        c.strokeStyle = stroke;
        c.lineWidth = 1;
        c.stroke();
      }
    };
    const between = (from, to, paint) => {
      c.save();
      c.beginPath();
      c.rect(from, 0, to - from, base);
      c.clip();
      paint();
      c.restore();
    };
    if (figure.before) hill(figure.before, ink.soft, 0.25, ink.soft);
    const changed = role(host, "changed");
    const alpha = figure.before ? 0.75 : 0.85;
    const [left, right] = [x(figure.low), x(figure.high)];
    between(0, left, () => hill(figure.values, changed, alpha));
    between(left, right, () => hill(figure.values, ink.weight, alpha));
    between(right, width, () => hill(figure.values, changed, alpha));

    // levels: a comb under the hill
    const gap = figure.levels.length > 1 ? x(figure.levels[1]) - x(figure.levels[0]) : width;
    c.strokeStyle = ink.level;
    c.lineWidth = gap < 4 ? 1 : 1.5;
    c.globalAlpha = gap < 2.5 ? 0.5 : 1;
    c.beginPath();
    for (const level of figure.levels) {
      const at = Math.round(x(level)) + 0.5;
      c.moveTo(at, base + 2);
      c.lineTo(at, base + 16);
    }
    c.stroke();
    c.globalAlpha = 1;

    // the ends
    c.strokeStyle = ink.level;
    c.fillStyle = ink.level;
    c.lineWidth = 2;
    c.font = ink.font;
    c.textBaseline = "top";
    const texts = [figure.low, figure.high].map((value) => number(value));
    const wide = texts.map((text) => c.measureText(text).width);
    const crowded = right - left < wide[0] + wide[1] + 16;
    [left, right].forEach((at, i) => {
      c.beginPath();
      c.moveTo(at, 4);
      c.lineTo(at, base + 16);
      c.stroke();
      // inside the range if both fit there, else outside
      const inward = !crowded;
      let start = (i === 0) === inward ? at + 5 : at - 5 - wide[i];
      start = Math.min(width - wide[i] - 2, Math.max(2, start));
      c.textAlign = "left";
      c.fillText(texts[i], start, 4);
    });
    axis(c, x, low, high, base + 20, width, ink);
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

// Clipping, rounding, and both together, against the width of the range.
function RangeCurve(host, view) {
  let curve;
  let panel;
  const [left, right, top, base] = [56, 14, 14, 184];
  const across = (width) => (share) => left + (width - left - right) * share;
  const { canvas, redraw } = surface(236, (c, width) => {
    if (!curve) return;
    const ink = view.ink();
    const [ok, changed] = [role(host, "ok"), role(host, "changed")];
    const x = across(width);
    const totals = Array.from(curve.clipping, (clip, i) => clip + curve.rounding[i]);
    const known = [...totals, ...curve.before, ...curve.errors].filter((v) => v > 0);
    const most = Math.log10(Math.max(...known, 1e-12)) + 0.1;
    const least = Math.log10(Math.min(...known, 1)) - 0.7;
    const y = (error) => base - ((base - top) * (Math.log10(Math.max(error, 1e-30)) - least)) / (most - least);

    c.font = ink.font;
    c.lineWidth = 1;
    c.strokeStyle = ink.line;
    c.fillStyle = ink.soft;
    c.textAlign = "right";
    c.textBaseline = "middle";
    const decades = Math.ceil(most) - Math.ceil(least);
    for (let power = Math.ceil(least); power <= most; power += Math.max(1, Math.round(decades / 5))) {
      const at = Math.round(y(10 ** power)) + 0.5;
      c.beginPath();
      c.moveTo(left, at);
      c.lineTo(width - right, at);
      c.stroke();
      const share = 100 * 10 ** power;
      c.fillText(`${share >= 0.001 ? number(share, 3, 1e-6) : share.toExponential(0).replace("e-", "e−")} %`, left - 6, at);
    }
    c.textBaseline = "top";
    c.textAlign = "center";
    for (const share of [0.2, 0.4, 0.6, 0.8, 1]) {
      c.fillText(`${Math.round(100 * share)} %`, Math.min(x(share), width - 22), base + 7);
    }
    c.textAlign = "left";
    c.fillText("width of the range →", left, base + 26);

    const line = (values, colour, thick, dash = []) => {
      c.save();
      c.beginPath();
      c.rect(left, top - 8, width - left - right + 8, base - top + 8);
      c.clip();
      c.strokeStyle = colour;
      c.lineWidth = thick;
      c.setLineDash(dash);
      c.beginPath();
      let pen = false;
      values.forEach((value, i) => {
        if (!(value > 0)) {
          pen = false; // zero has no place on this scale
          return;
        }
        if (pen) c.lineTo(x(curve.shares[i]), y(value));
        else c.moveTo(x(curve.shares[i]), y(value));
        pen = true;
      });
      c.stroke();
      c.restore();
    };
    if (curve.before.length) line(Array.from(curve.before), ink.soft, 1.5, [5, 4]);
    line(Array.from(curve.clipping), changed, 2);
    line(Array.from(curve.rounding), ink.level, 2);
    line(totals, ink.ink, 2);

    // where we are
    c.strokeStyle = ink.weight;
    c.lineWidth = 1.5;
    c.beginPath();
    c.moveTo(x(curve.current), top - 8);
    c.lineTo(x(curve.current), base);
    c.stroke();
    // the least
    c.strokeStyle = ok;
    c.lineWidth = 2.5;
    c.beginPath();
    c.arc(x(curve.shares[curve.best]), y(totals[curve.best]), 9, 0, 2 * Math.PI);
    c.stroke();
    // choosers, with their names where there is room
    c.textBaseline = "middle";
    const taken = [];
    curve.names.forEach((name, i) => {
      const [px, py] = [x(curve.at[i]), y(curve.errors[i])];
      c.fillStyle = ink.weight;
      c.strokeStyle = ink.card;
      dot(c, px, py, 4.5);
      const wide = c.measureText(name).width;
      for (const [dx, dy] of [[-6, -16], [8, -15], [-6, 17], [8, 16], [-6, -32], [8, -32], [-6, 33], [8, 33]]) {
        const at = dx < 0 ? px - wide + 10 : px + dx;
        const box = [at, py + dy - 8, wide, 16];
        if (at < left + 2 || at + wide > width - 2 || box[1] < 0 || box[1] + 16 > base) continue;
        if (taken.some((b) => box[0] < b[0] + b[2] && b[0] < box[0] + box[2] && box[1] < b[1] + b[3] && b[1] < box[1] + box[3])) continue;
        taken.push(box);
        c.textAlign = "left";
        c.fillStyle = ink.card;
        c.globalAlpha = 0.8;
        c.fillRect(at - 2, py + dy - 8, wide + 4, 16);
        c.globalAlpha = 1;
        c.fillStyle = ink.ink;
        c.fillText(name, at, py + dy);
        break;
      }
    });
  });
  canvas.tabIndex = 0;
  canvas.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take the arrow keys
  host.append(canvas);

  const choose = (share) => view.send({ event: "width", width: Math.min(1, Math.max(0.02, share)) });
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const x = across(box.width);
    choose((event.clientX - box.left - x(0)) / (x(1) - x(0)));
  });
  canvas.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 0.1 : 0.01;
    const moves = {
      ArrowLeft: curve.current - step,
      ArrowDown: curve.current - step,
      ArrowRight: curve.current + step,
      ArrowUp: curve.current + step,
      Home: 0.02,
      End: 1,
      Enter: curve.shares[curve.best],
    };
    if (moves[event.key] === undefined) return;
    choose(moves[event.key]);
    event.preventDefault();
    event.stopPropagation();
  });
  return {
    show(next) {
      panel = next;
      curve = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}. Arrow keys change the width, Enter goes to the least error.`);
      redraw();
    },
    redraw,
  };
}

// One row of values above, their errors below, group by group.
function GroupStrip(host, view) {
  let strip;
  let panel;
  const [left, right, top, middle, roof, base] = [56, 10, 18, 74, 150, 214];
  const across = (width) => (column) => left + ((width - left - right) * column) / strip.values.length;
  const { canvas, redraw } = surface(240, (c, width) => {
    if (!strip) return;
    const ink = view.ink();
    const changed = role(host, "changed");
    const x = across(width);
    const n = strip.values.length;
    const groups = Array.from(strip.starts, (start, g) => [start, strip.starts[g + 1] ?? n]);
    c.font = ink.font;

    // every other group on a band, so that borders need no lines
    c.fillStyle = ink.line;
    c.globalAlpha = 0.5;
    groups.forEach(([from, to], g) => {
      if (g % 2) c.fillRect(x(from), 4, x(to) - x(from), base - 4);
    });
    c.globalAlpha = 1;

    // an outlier would flatten all others: what leaves the frame ends in its number
    const sizes = Array.from(strip.values, Math.abs).sort((a, b) => a - b);
    const frame = Math.max(1e-30, Math.min(sizes[n - 1], 2.2 * sizes[Math.floor(0.98 * (n - 1))]));
    const reach = middle - top;
    const bar = Math.max(0.8, Math.min(8, ((width - left - right) / n) * 0.7));
    strip.values.forEach((value, i) => {
      const on = i === strip.column;
      const height = reach * Math.max(-1, Math.min(1, value / frame));
      c.fillStyle = on ? changed : ink.weight;
      const wide = on ? Math.max(bar, 3) : bar;
      c.fillRect(x(i + 0.5) - wide / 2, Math.min(middle, middle - height), wide, Math.max(0.6, Math.abs(height)));
      if (Math.abs(value) > 1.02 * frame || on) {
        c.textAlign = x(i) > width - 80 ? "right" : "left";
        c.textBaseline = "middle";
        const at = Math.abs(value) > 1.02 * frame ? (value > 0 ? top - 7 : middle + reach + 9) : value > 0 ? middle + 12 : middle - 12;
        if (on || Math.abs(value) > 2 * frame) {
          const [text, where] = [number(value), x(i + 0.5) + (c.textAlign === "left" ? -4 : 4)];
          const wide = c.measureText(text).width;
          const colour = c.fillStyle;
          c.fillStyle = ink.card;
          c.globalAlpha = 0.75;
          c.fillRect(c.textAlign === "left" ? where - 2 : where - wide - 2, at - 8, wide + 4, 16);
          c.globalAlpha = 1;
          c.fillStyle = colour;
          c.fillText(text, where, at);
        }
      }
    });
    c.strokeStyle = ink.soft;
    c.lineWidth = 1;
    c.beginPath();
    c.moveTo(left, middle + 0.5);
    c.lineTo(width - right, middle + 0.5);
    c.moveTo(left, base + 0.5);
    c.lineTo(width - right, base + 0.5);
    c.stroke();

    // errors, on a scale of their own; the multiplied one does not set it
    const off = Array.from(strip.values, (value, i) => Math.abs(strip.rounded[i] - value));
    const touched = strip.values[strip.column] !== Math.fround(strip.original);
    const others = off.filter((_, i) => !touched || i !== strip.column);
    const most = Math.max(...others, strip.quiet, 1e-30) * 1.05;
    const y = (error) => base - (base - roof) * Math.min(1, error / most);
    off.forEach((error, i) => {
      c.fillStyle = touched && i === strip.column ? changed : ink["level-fill"];
      c.globalAlpha = 0.65;
      c.fillRect(x(i + 0.5) - bar / 2, y(error), bar, base - y(error));
    });
    c.globalAlpha = 1;
    c.strokeStyle = ink.level;
    c.lineWidth = 2.5;
    groups.forEach(([from, to], g) => {
      c.beginPath();
      c.moveTo(x(from) + 1, y(strip.noise[g]));
      c.lineTo(x(to) - 1, y(strip.noise[g]));
      c.stroke();
    });
    if (touched) {
      c.strokeStyle = ink.ink;
      c.lineWidth = 1.25;
      c.setLineDash([4, 3]);
      c.beginPath();
      c.moveTo(left, y(strip.quiet));
      c.lineTo(width - right, y(strip.quiet));
      c.stroke();
      c.setLineDash([]);
    }
    c.fillStyle = ink.soft;
    c.textBaseline = "middle";
    c.textAlign = "right";
    c.fillText(number(frame, 2), left - 6, top + 2);
    c.fillText("0", left - 6, middle);
    c.fillText(number(-frame, 2), left - 6, middle + reach - 2);
    c.fillText(number(most, 2), left - 6, roof + 2);
    c.fillText("0", left - 6, base - 2);
    c.textBaseline = "top";
    c.textAlign = "left";
    c.fillText(touched ? "error of each; dashed: of the whole row before" : "error of each", left + 2, base + 6);
    c.textAlign = "right";
    c.fillText(`column ${strip.column} of ${n}`, width - right, base + 6);
  });
  canvas.tabIndex = 0;
  canvas.dataset.lmSuppressShortcuts = "true";
  host.append(canvas);

  const choose = (column) => view.send({ event: "column", column: Math.min(strip.values.length - 1, Math.max(0, column)) });
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const x = across(box.width);
    choose(Math.floor(((event.clientX - box.left - x(0)) / (x(strip.values.length) - x(0))) * strip.values.length));
  });
  canvas.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 16 : 1;
    const to = { ArrowLeft: strip.column - step, ArrowRight: strip.column + step, Home: 0, End: strip.values.length - 1 }[event.key];
    if (to === undefined) return;
    choose(to);
    event.preventDefault();
    event.stopPropagation();
  });
  return {
    show(next) {
      panel = next;
      strip = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}. Arrow keys pick another.`);
      redraw();
    },
    redraw,
  };
}

Object.assign(KINDS, { RangeHistogram, RangeCurve, GroupStrip });

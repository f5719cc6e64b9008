// Painters of the AWQ and curvature explorers. The browser gets this file joined to the end of view.js, as one module.

// Ticks of a logarithmic axis: powers of ten, and 2 and 5 between them where there are few.
function logTicks(low, high) {
  const found = [];
  const digits = high - low < 1.6 ? [1, 2, 5] : [1];
  for (let power = Math.floor(low); power <= high; power++) {
    for (const digit of digits) {
      const at = Math.log10(digit) + power;
      if (at >= low && at <= high) found.push(digit * 10 ** power);
    }
  }
  const every = Math.ceil(found.length / 5);
  return found.filter((_, i) => i % every === 0);
}

// Arrow keys walk, Home and End jump; returns the place to go to, or undefined for any other key.
function walked(event, at, last) {
  const step = event.shiftKey ? 10 : 1;
  const to = { ArrowLeft: at - step, ArrowDown: at - step, ArrowRight: at + step, ArrowUp: at + step, Home: 0, End: last }[event.key];
  return to === undefined ? undefined : Math.min(last, Math.max(0, to));
}

function keyed(canvas, answer) {
  canvas.tabIndex = 0;
  canvas.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take the arrow keys
  canvas.style.cursor = "pointer";
  canvas.addEventListener("keydown", (event) => {
    if (!answer(event)) return;
    event.preventDefault();
    event.stopPropagation();
  });
}

// --------------------------------------------------------------------------------------------------- channel tracks

// Size, step and cost of every input channel, in three rows over one axis.
function ChannelTracks(host, view) {
  let tracks;
  let panel;
  const [left, right, tall, gap, top] = [64, 12, 92, 30, 18];
  // Sorted by size, the first few are what it is all about: they get more room.
  const bend = (i) => (tracks.sorted ? Math.log1p(i / 4) / Math.log1p(tracks.order.length / 4) : i / tracks.order.length);
  const place = (width) => (i) => left + (width - left - right) * bend(i);
  const { canvas, redraw } = surface(3 * tall + 3 * gap + top + 10, (c, width) => {
    if (!tracks) return;
    const ink = view.ink();
    const changed = role(host, "changed");
    const n = tracks.order.length;
    const edge = place(width);
    const x = (i) => (edge(i) + edge(i + 1)) / 2;
    const wide = (i) => Math.max(1, edge(i + 1) - edge(i) - (edge(i + 1) - edge(i) > 3 ? 1.5 : 0.3));
    c.font = ink.font;

    const positive = (values) => Array.from(values).filter((v) => v > 0 && Number.isFinite(v));
    const range = (values, least) => {
      const known = positive(values).map(Math.log10).sort((a, b) => a - b);
      if (!known.length) return [-1, 0];
      // a few channels that hardly matter may not squeeze the others
      const low = Math.max(known[0], known[known.length - 1] - least);
      return [low - 0.08, Math.max(known[known.length - 1] + 0.08, low + 0.3)];
    };
    const row = (k, title, [low, high], draw) => {
      const y0 = top + k * (tall + gap);
      const y = (v) => y0 + tall - (tall * (Math.max(low, v > 0 ? Math.log10(v) : low) - low)) / (high - low);
      c.textBaseline = "bottom";
      c.textAlign = "left";
      c.fillStyle = ink.ink;
      c.fillText(title, left, y0 - 2);
      c.lineWidth = 1;
      c.strokeStyle = ink.line;
      c.fillStyle = ink.soft;
      c.textAlign = "right";
      c.textBaseline = "middle";
      for (const value of logTicks(low, high)) {
        const at = Math.round(y(value)) + 0.5;
        c.beginPath();
        c.moveTo(left, at);
        c.lineTo(width - right, at);
        c.stroke();
        c.fillText(number(value, 2, 1e-3), left - 8, at);
      }
      c.strokeStyle = ink.soft;
      c.setLineDash([2, 4]);
      for (const first of tracks.edges) {
        const at = Math.round(edge(first)) + 0.5;
        c.beginPath();
        c.moveTo(at, y0);
        c.lineTo(at, y0 + tall);
        c.stroke();
      }
      c.setLineDash([]);
      c.save();
      c.beginPath();
      c.rect(left, y0 - 4, width - left - right, tall + 8);
      c.clip();
      draw(y, y0 + tall);
      c.restore();
    };

    const salient = new Set(tracks.salient);
    row(0, "mean |x|", range(tracks.size, 4), (y, base) => {
      for (let i = 0; i < n; i++) {
        c.fillStyle = salient.has(i) ? changed : ink.soft;
        const at = y(tracks.size[i]);
        c.fillRect(x(i) - wide(i) / 2, at, wide(i), base - at);
        if (salient.has(i)) dotted(x(i), at, changed, 3);
      }
    });
    row(1, "distance of levels, before = 1", range([...tracks.step, 1], 3), (y) => {
      const one = y(1);
      for (let i = 0; i < n; i++) {
        const at = y(tracks.step[i]);
        c.fillStyle = ink.weight;
        c.globalAlpha = 0.75;
        c.fillRect(x(i) - wide(i) / 2, Math.min(at, one), wide(i), Math.max(1, Math.abs(at - one)));
        c.globalAlpha = 1;
        if (salient.has(i)) dotted(x(i), at, changed, 3);
      }
      c.strokeStyle = ink.level;
      c.lineWidth = 1.5;
      c.beginPath();
      c.moveTo(left, one);
      c.lineTo(width - right, one);
      c.stroke();
    });
    row(2, "cost: share of the output that its rounding alone would lose", range([...tracks.before, ...tracks.after], 4), (y) => {
      for (let i = 0; i < n; i++) {
        const [from, to] = [y(tracks.before[i]), y(tracks.after[i])];
        c.strokeStyle = ink.soft;
        c.globalAlpha = 0.45;
        c.lineWidth = Math.min(1.2, wide(i));
        c.beginPath();
        c.moveTo(x(i), from);
        c.lineTo(x(i), to);
        c.stroke();
        c.globalAlpha = 1;
        dotted(x(i), from, ink.level, salient.has(i) ? 3.5 : 1.5);
        dotted(x(i), to, ink.weight, salient.has(i) ? 3.5 : 1.5);
      }
    });
    function dotted(px, py, colour, radius) {
      c.fillStyle = colour;
      c.beginPath();
      c.arc(px, py, radius, 0, 2 * Math.PI);
      c.fill();
    }

    // the channel on show, through all three
    const at = Math.round(x(tracks.current)) + 0.5;
    const foot = top + 3 * tall + 2 * gap;
    c.strokeStyle = ink.ink;
    c.lineWidth = 1;
    c.setLineDash([5, 3]);
    c.beginPath();
    c.moveTo(at, top);
    c.lineTo(at, foot);
    c.stroke();
    c.setLineDash([]);
    c.textBaseline = "top";
    c.fillStyle = ink.ink;
    const name = `channel ${tracks.order[tracks.current]}`;
    const half = c.measureText(name).width / 2;
    c.textAlign = "center";
    c.fillText(name, Math.min(width - right - half, Math.max(left + half, at)), foot + 8);
    const ends = tracks.edges.length ? ["first channel", "last channel"] : ["largest inputs", "smallest inputs"];
    c.fillStyle = ink.soft;
    for (const [text, align, px, free] of [
      [ends[0], "left", left, at - half - 8],
      [ends[1], "right", width - right, at + half + 8],
    ]) {
      const size = c.measureText(text).width;
      c.textAlign = align;
      if (align === "left" ? px + size < free : px - size > free) c.fillText(text, px, foot + 8);
    }
  });
  const choose = (to) => view.send({ event: "channel", place: to });
  keyed(canvas, (event) => {
    const to = walked(event, tracks.current, tracks.order.length - 1);
    if (to !== undefined) choose(to);
    return to !== undefined;
  });
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const share = (event.clientX - box.left - left) / (box.width - left - right);
    let at = 0;
    while (at < tracks.order.length - 1 && bend(at + 1) < share) at++;
    choose(at);
  });
  host.append(canvas);
  return {
    show(next) {
      panel = next;
      tracks = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}. Arrow keys choose a channel.`);
      redraw();
    },
    redraw,
  };
}

// ------------------------------------------------------------------------------------------------------ alpha curve

function AlphaCurve(host, view) {
  let curve;
  let panel;
  const [left, right, top, base] = [52, 14, 14, 196];
  const last = () => curve.alphas.length - 1;
  const across = (width) => (k) => left + 10 + ((width - left - right - 20) * k) / Math.max(1, last());
  const { canvas, redraw } = surface(244, (c, width) => {
    if (!curve) return;
    const ink = view.ink();
    const ok = role(host, "ok");
    const x = across(width);
    // far beyond plain rounding only the fact matters
    const most = Math.min(2.5, Math.max(1, ...curve.calibration, ...curve.heldout) * 1.06);
    const y = (v) => base - ((base - top) * Math.min(v, most)) / most;
    c.font = ink.font;
    c.lineWidth = 1;
    c.textAlign = "right";
    c.textBaseline = "middle";
    for (const value of ticks(0, most, 5)) {
      const at = Math.round(y(value)) + 0.5;
      c.strokeStyle = ink.line;
      c.beginPath();
      c.moveTo(left, at);
      c.lineTo(width - right, at);
      c.stroke();
      c.fillStyle = ink.soft;
      c.fillText(`${Math.round(100 * value)} %`, left - 8, at);
    }
    c.strokeStyle = ink.soft;
    c.setLineDash([4, 3]);
    c.beginPath();
    c.moveTo(left, Math.round(y(1)) + 0.5);
    c.lineTo(width - right, Math.round(y(1)) + 0.5);
    c.stroke();
    c.setLineDash([]);
    for (const [values, colour] of [
      [curve.calibration, ink.level],
      [curve.heldout, ink.weight],
    ]) {
      c.strokeStyle = colour;
      c.lineWidth = 2;
      c.beginPath();
      values.forEach((v, k) => (k ? c.lineTo(x(k), y(v)) : c.moveTo(x(k), y(v))));
      c.stroke();
      c.fillStyle = colour;
      c.strokeStyle = ink.card;
      values.forEach((v, k) => dot(c, x(k), y(v), k === curve.current ? 6.5 : 3.5));
    }
    c.strokeStyle = ok;
    c.lineWidth = 2.5;
    c.beginPath();
    c.arc(x(curve.best), y(curve.calibration[curve.best]), 10.5, 0, 2 * Math.PI);
    c.stroke();
    c.textBaseline = "top";
    c.textAlign = "center";
    const every = width < 380 ? 5 : 2;
    for (let k = 0; k <= last(); k += every) {
      c.fillStyle = ink.soft;
      c.fillText(number(curve.alphas[k], 2), x(k), base + 8);
    }
    c.textAlign = "left";
    c.fillText("alpha", left, base + 28);
    c.textAlign = "right";
    c.fillText("dashed: plain rounding", width - right, base + 28);
  });
  const choose = (alpha) => view.send({ event: "alpha", alpha });
  keyed(canvas, (event) => {
    const to = walked(event, curve.current, last());
    if (to !== undefined) choose(to);
    return to !== undefined;
  });
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const x = across(box.width);
    choose(Math.min(last(), Math.max(0, Math.round((event.clientX - box.left - x(0)) / (x(1) - x(0) || 1)))));
  });
  host.append(canvas);
  return {
    show(next) {
      panel = next;
      curve = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}. Arrow keys choose an alpha.`);
      redraw();
    },
    redraw,
  };
}

// ------------------------------------------------------------------------------------------------------- clip curve

function ClipCurve(host, view) {
  let clip;
  const [left, right, top, base] = [52, 14, 14, 196];
  const { canvas, redraw } = surface(244, (c, width) => {
    if (!clip) return;
    const ink = view.ink();
    const ok = role(host, "ok");
    const n = clip.tried.length;
    const slot = (width - left - right) / n;
    const x = (k) => left + slot * (k + 0.5);
    const most = Math.min(3, Math.max(1, ...clip.loss) * 1.08);
    const y = (v) => base - ((base - top) * Math.min(v, most)) / most;
    c.font = ink.font;
    c.lineWidth = 1;
    // how many groups took each part, behind the curve
    const all = clip.counts.reduce((a, b) => a + b, 0) || 1;
    const peak = Math.max(...clip.counts, 1);
    c.textAlign = "center";
    clip.counts.forEach((count, k) => {
      const high = (0.62 * (base - top) * count) / peak;
      c.fillStyle = ink.soft;
      c.globalAlpha = 0.22;
      c.fillRect(x(k) - slot * 0.36, base - high, slot * 0.72, high);
      c.globalAlpha = 1;
    });
    c.textAlign = "right";
    c.textBaseline = "middle";
    for (const value of ticks(0, most, 5)) {
      const at = Math.round(y(value)) + 0.5;
      c.strokeStyle = ink.line;
      c.beginPath();
      c.moveTo(left, at);
      c.lineTo(width - right, at);
      c.stroke();
      c.fillStyle = ink.soft;
      c.fillText(`${Math.round(100 * value)} %`, left - 8, at);
    }
    c.strokeStyle = ink.level;
    c.lineWidth = 2;
    c.beginPath();
    clip.loss.forEach((v, k) => (k ? c.lineTo(x(k), y(v)) : c.moveTo(x(k), y(v))));
    c.stroke();
    c.strokeStyle = ink.card;
    c.fillStyle = ink.level;
    clip.loss.forEach((v, k) => dot(c, x(k), y(v), k === clip.chosen ? 6.5 : 4));
    c.strokeStyle = ok;
    c.lineWidth = 2.5;
    c.beginPath();
    c.arc(x(clip.chosen), y(clip.loss[clip.chosen]), 10.5, 0, 2 * Math.PI);
    c.stroke();
    c.textBaseline = "top";
    c.textAlign = "center";
    const every = slot < 34 ? 2 : 1;
    c.fillStyle = ink.soft;
    for (let k = 0; k < n; k += every) c.fillText(`${Math.round(100 * clip.tried[k])} %`, x(k), base + 8);
    c.textAlign = "left";
    c.fillText("kept of the largest weight", left, base + 28);
    c.textAlign = "right";
    c.fillText(`unclipped: ${Math.round((100 * clip.counts[0]) / all)} % of the groups`, width - right, base + 28);
  });
  host.append(canvas);
  return {
    show(panel) {
      clip = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}`);
      redraw();
    },
    redraw,
  };
}

// ------------------------------------------------------------------------------------------------------- error bars

// A bar a method on held-out tokens, and a tick where the calibration tokens would put it; the first one is the unit.
function ErrorBars(host, view) {
  let bars;
  const [top, row] = [6, 30];
  const { canvas, redraw } = surface(240, (c, width) => {
    if (!bars) return;
    const ink = view.ink();
    const ok = role(host, "ok");
    const n = bars.names.length;
    const base = top + n * row;
    c.font = ink.font;
    c.textBaseline = "middle";
    const left = Math.min(0.45 * width, Math.max(...bars.names.map((t) => c.measureText(t).width)) + 14);
    const right = 132;
    const most = Math.min(3, Math.max(1, ...bars.heldout, ...bars.calibration)) * 1.02;
    const x = (v) => left + ((width - left - right) * Math.min(v, most)) / most;
    c.lineWidth = 1;
    c.textAlign = "center";
    for (const value of ticks(0, most, Math.max(3, width / 150))) {
      const at = Math.round(x(value)) + 0.5;
      c.strokeStyle = ink.line;
      c.beginPath();
      c.moveTo(at, top);
      c.lineTo(at, base);
      c.stroke();
      c.fillStyle = ink.soft;
      c.fillText(`${Math.round(100 * value)} %`, at, base + 14);
    }
    bars.names.forEach((name, i) => {
      const y = top + row * i;
      const spends = bars.marked.includes(i);
      c.fillStyle = ink.ink;
      c.textAlign = "right";
      c.fillText(name, left - 8, y + row / 2);
      c.fillStyle = spends ? role(host, "field-2") : role(host, "level-fill");
      c.fillRect(left, y + 6, Math.max(1, x(bars.heldout[i]) - left), row - 12);
      c.strokeStyle = ink.ink;
      c.lineWidth = 2;
      c.beginPath();
      c.moveTo(x(bars.calibration[i]), y + 4);
      c.lineTo(x(bars.calibration[i]), y + row - 4);
      c.stroke();
      c.textAlign = "left";
      c.fillStyle = i === bars.best ? ok : ink.ink;
      const end = Math.max(x(bars.heldout[i]), x(bars.calibration[i])) + 8;
      const text = `${Math.round(100 * bars.heldout[i])} %`;
      c.fillText(text, end, y + row / 2);
      c.fillStyle = ink.soft;
      if (bars.notes[i]) c.fillText(`  ${bars.notes[i]}`, end + c.measureText(text).width, y + row / 2);
    });
  });
  host.append(canvas);
  return {
    show(panel) {
      bars = panel.figure;
      canvas.style.height = `${top + bars.names.length * row + 26}px`;
      canvas.setAttribute("aria-label", `${panel.title}. ${panel.label}`);
      redraw();
    },
    redraw,
  };
}

Object.assign(KINDS, { ChannelTracks, AlphaCurve, ClipCurve, ErrorBars });

import { role } from "../layer/colour.js";
import { keyed, walked } from "../layer/keys.js";
import { surface } from "../layer/surface.js";
import { logTicks, number } from "../layer/text.js";

// Size, step and cost of every input channel, in three rows over one axis.
export function ChannelTracks(host, view) {
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

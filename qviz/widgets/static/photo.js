// Painters of a photograph and weights that lose bits. The browser gets this file joined to the end of view.js, as one module.

// One pixel a number, magnified without blur.
function PixelImage(host, view) {
  let panel;
  const image = h("canvas");
  const { canvas, redraw } = surface(0, (c, width, height) => {
    if (!panel) return;
    c.imageSmoothingEnabled = false;
    c.drawImage(image, 0, 0, width, height);
  });
  host.append(canvas);
  function paint() {
    const { pixels, colours } = panel.figure;
    const [rows, columns] = pixels.shape;
    const table = colours === "grey" ? null : view.table(colours);
    [image.width, image.height] = [columns, rows];
    const data = image.getContext("2d").createImageData(columns, rows);
    const out = new Uint32Array(data.data.buffer);
    for (let i = 0; i < pixels.length; i++) {
      const v = pixels[i];
      const [r, g, b] = table ? [table[3 * v], table[3 * v + 1], table[3 * v + 2]] : [v, v, v];
      out[i] = (255 << 24) | (b << 16) | (g << 8) | r;
    }
    image.getContext("2d").putImageData(data, 0, 0);
    canvas.style.height = "";
    canvas.style.aspectRatio = String(columns / rows);
  }
  return {
    show(next) {
      panel = next;
      paint();
      canvas.setAttribute("aria-label", `${panel.title}: ${panel.label}`);
      redraw();
    },
    redraw() {
      if (panel) paint();
      redraw();
    },
  };
}

// The values as a hill, the levels as stems: as high as many values fall onto them.
function LevelSet(host, view) {
  let set;
  const { canvas, redraw } = surface(132, (c, width) => {
    if (!set) return;
    const ink = view.ink();
    const { low, high } = set.density;
    const x = (value) => ((value - low) / (high - low)) * width;
    const base = 100;
    area(c, x, set.density, base, base - 10, { colour: ink.soft, alpha: 0.22 }, ink.soft);
    const most = Math.max(1, ...set.used);
    const n = set.levels.length;
    c.strokeStyle = ink.level;
    c.fillStyle = ink.level;
    c.lineWidth = n > 64 ? 1 : n > 16 ? 1.5 : 2.5;
    c.beginPath();
    set.levels.forEach((level, i) => {
      const at = x(level);
      c.moveTo(at, base);
      c.lineTo(at, base - ((base - 10) * set.used[i]) / most);
    });
    c.stroke();
    if (n <= 64) {
      c.strokeStyle = ink.card;
      for (const level of set.levels) dot(c, x(level), base, n > 16 ? 2.5 : 4);
    }
    axis(c, x, low, high, base + 4, width, ink);
  });
  host.append(canvas);
  return {
    show(panel) {
      set = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}: ${panel.label}`);
      redraw();
    },
    redraw,
  };
}

Object.assign(KINDS, { PixelImage, LevelSet });

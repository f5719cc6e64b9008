// Painters of the bug museum. The browser gets this file joined to the end of view.js, as one module.

// How far two matrices are apart in each column; lines between blocks.
function ColumnGap(host, view) {
  let gap;
  const [left, right, top, base] = [46, 10, 10, 130];
  const { canvas, redraw } = surface(160, (c, width) => {
    if (!gap) return;
    const ink = view.ink();
    const n = gap.gap.length;
    const finite = Array.from(gap.gap).filter((v) => Number.isFinite(v));
    const most = Math.max(1e-6, ...finite) * 1.08;
    const x = (column) => left + ((width - left - right) * column) / n;
    const y = (value) => base - ((base - top) * value) / most;
    c.font = ink.font;
    c.lineWidth = 1;
    // blocks, as long as there is room between their lines
    const every = Math.max(1, Math.ceil(5 / ((x(gap.block) - x(0)) || 1)));
    c.strokeStyle = ink.line;
    c.beginPath();
    for (let column = 0; column <= n; column += gap.block * every) {
      const at = Math.round(x(column)) + 0.5;
      c.moveTo(at, top);
      c.lineTo(at, base);
    }
    c.stroke();
    c.fillStyle = ink.soft;
    c.strokeStyle = ink.line;
    c.textAlign = "right";
    c.textBaseline = "middle";
    for (const value of finite.length ? ticks(0, most, 3) : []) {
      const at = Math.round(y(value)) + 0.5;
      c.beginPath();
      c.moveTo(left, at);
      c.lineTo(width - right, at);
      c.stroke();
      c.fillText(number(value, 2), left - 7, at);
    }
    // one bar a column, or as many columns as share a pixel
    const broken = role(host, "changed");
    const across = Math.max(1, x(1) - x(0));
    for (let column = 0; column < n; column++) {
      const value = gap.gap[column];
      const isBroken = !Number.isFinite(value);
      const height = isBroken ? base - top : base - y(value);
      c.fillStyle = isBroken ? broken : ink.level;
      if (height > 0) c.fillRect(x(column), base - Math.max(height, 1), across, Math.max(height, 1));
    }
    c.strokeStyle = ink.soft;
    c.beginPath();
    c.moveTo(left, base + 0.5);
    c.lineTo(width - right, base + 0.5);
    c.stroke();
    c.fillStyle = ink.soft;
    c.textBaseline = "top";
    c.textAlign = "center";
    let free = -Infinity;
    const end = width - right - c.measureText("input column →").width - 14;
    for (let column = 0; column <= n; column += gap.block) {
      const at = x(column);
      const half = c.measureText(String(column)).width / 2;
      if (at - half < free || at + half > end) continue;
      c.fillText(String(column), at, base + 7);
      free = at + half + 16;
    }
    c.textAlign = "right";
    c.fillText("input column →", width - right, base + 7);
  });
  host.append(canvas);
  return {
    show(panel) {
      gap = panel.figure;
      canvas.setAttribute("aria-label", `${panel.title}: ${panel.label}.`);
      redraw();
    },
    redraw,
  };
}

// Two versions of a function, equal lines beside one another.
function CodePair(host) {
  const sheet = h("div.code-pair");
  host.append(sheet);
  return {
    show(panel) {
      const side = (which, name, mark) =>
        h(
          "div.code-side",
          { role: "group", "aria-label": name, tabindex: 0 },
          h("div.code-name", {}, name),
          h(
            "pre.listing",
            {},
            ...panel.figure.lines.map((line) => {
              const text = line[which];
              const tag = line.same ? "span.code-line" : text ? `span.code-line.code-${mark}` : "span.code-line.code-none";
              return h(tag, {}, text || " ");
            }),
          ),
        );
      sheet.replaceChildren(side("left", "As it shipped", "shipped"), side("right", "As it should be", "mended"));
    },
    redraw() {},
  };
}

// A test, and what it says about both versions.
function TestRun(host) {
  const sheet = h("div.test-run");
  host.append(sheet);
  const verdict = (name, passes) =>
    h(
      passes ? "span.verdict.verdict-green" : "span.verdict.verdict-red",
      {},
      `${name}: ${passes ? "✓ passes" : "✗ fails"}`,
    );
  return {
    show({ figure }) {
      sheet.replaceChildren(
        h("pre.listing", { tabindex: 0 }, figure.code),
        h("p.verdicts", {}, verdict("as it shipped", figure.wrong), verdict("as it should be", figure.right)),
        h("p", {}, figure.note),
      );
    },
    redraw() {},
  };
}

// A question with choices; a chosen one keeps its verdict.
function Quiz(host, view) {
  let shown = "";
  const list = h("ol.answers");
  host.append(list);
  function build(figure) {
    shown = figure.name;
    list.replaceChildren(
      ...figure.answers.map(({ text }, i) => {
        const button = h("button.answer", { type: "button" }, h("span.mark", { "aria-hidden": "true" }), h("span", {}, text));
        button.addEventListener("click", () => view.send({ event: "answer", answer: i }));
        return h("li", {}, button, h("p.feedback"));
      }),
    );
  }
  return {
    show({ figure }) {
      if (figure.name !== shown) build(figure);
      figure.answers.forEach(({ state, feedback }, i) => {
        const [button, note] = list.children[i].children;
        const closed = figure.solved || state !== "open";
        list.children[i].dataset.state = state;
        button.setAttribute("aria-disabled", closed);
        say(button.firstChild, { open: String.fromCharCode(65 + i), right: "✓", wrong: "✗" }[state]);
        button.setAttribute("aria-pressed", state !== "open");
        say(note, feedback);
        note.hidden = !feedback;
      });
    },
    redraw() {},
  };
}

// Paragraphs with headings, and links.
function Label(host) {
  const sheet = h("div.label");
  host.append(sheet);
  return {
    show({ figure }) {
      const parts = figure.parts.map(([heading, text]) => h("p", {}, h("b", {}, heading), h("span", {}, text)));
      if (figure.links.length) {
        const links = figure.links.flatMap(([text, href], i) => [
          ...(i ? [" · "] : []),
          h("a", { href, target: "_blank", rel: "noopener noreferrer" }, text),
        ]);
        parts.push(h("p", {}, h("b", {}, figure.links.length > 1 ? "Threads" : "Thread"), h("span", {}, ...links)));
      }
      sheet.replaceChildren(...parts);
    },
    redraw() {},
  };
}

Object.assign(KINDS, { ColumnGap, CodePair, TestRun, Quiz, Label });

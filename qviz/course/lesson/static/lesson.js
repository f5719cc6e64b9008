// Questions and progress: native form controls, so that keyboard and screen reader work as everywhere.
import { isDark } from "../../../widgets/static/layer/colour.js";
import { h } from "../../../widgets/static/layer/dom.js";

// `code` and *emphasis*, and nothing else.
function words(text) {
  return text
    .split(/(`[^`]+`|\*[^*]+\*)/)
    .map((part) =>
      /^`.+`$/.test(part)
        ? h("code", {}, part.slice(1, -1))
        : /^\*.+\*$/.test(part)
          ? h("em", {}, part.slice(1, -1))
          : part,
    );
}

let count = 0;

// Radio buttons in a row or a column. JupyterLab is to leave them their arrow keys.
function choices(name, legend, values, className) {
  const labels = values.map(({ value, text }) => {
    const input = h("input", { type: "radio", name, value, "data-lm-suppress-shortcuts": "true" });
    return h("label.choice", {}, input, h("span", {}, ...words(text)));
  });
  return h(`fieldset.${className}`, {}, h("legend", {}, ...words(legend)), h("div", {}, ...labels));
}

function sureText(level) {
  if (level < 50) return `${level} % · guessing`;
  if (level === 50) return "50 % · toss-up";
  return level === 100 ? "100 % · certain" : `${level} %`;
}

const head = (data) => h("p.kicker", {}, `Prediction ${data.id.split(".")[1]}`);
const opens = (data) => (data.opens ? [h(`p.opens.${data.state === "open" ? "shut" : "free"}`, {}, data.opens)] : []);

// The question: options, how sure, two buttons.
function ask(root, model, id, data) {
  const options = choices(
    `${id}-option`,
    data.text,
    data.options.map(({ key, text }) => ({ value: key, text })),
    "options",
  );
  const sure = choices(
    `${id}-sure`,
    "How sure are you?",
    data.levels.map((level) => ({ value: level, text: sureText(level) })),
    "sure",
  );
  const said = h("p.said", { role: "status" }, data.note);
  const form = h(
    "form",
    {},
    options,
    sure,
    h(
      "div.actions",
      {},
      h("button.main", { type: "submit" }, "Lock in my prediction"),
      h("button.plain", { type: "button" }, "Show me without predicting"),
    ),
    said,
  );
  const taken = (set) => set.querySelector("input:checked")?.value;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const [option, confidence] = [taken(options), taken(sure)];
    if (option && confidence) return model.send({ event: "answer", option, confidence: Number(confidence) });
    said.textContent = option ? "Say how sure you are, too." : "Choose an answer, and say how sure you are.";
    (option ? sure : options).querySelector("input").focus();
  });
  form.querySelector(".qviz-plain").addEventListener("click", () => model.send({ event: "show" }));
  root.replaceChildren(head(data), form, ...opens(data));
}

// The options, each with its mark.
function answered(data) {
  return data.options.map(({ key, text }) => {
    const right = key === data.right;
    const mine = key === data.chosen;
    const marks = [right && "right", mine && "your prediction"].filter(Boolean).join(", ");
    const state = right ? "right" : mine ? "wrong" : "other";
    return h(
      `li.${state}`,
      {},
      h("span.mark", { "aria-hidden": "true" }, right ? "✓" : mine ? "✗" : "·"),
      h("span", {}, ...words(text)),
      ...(marks ? [h("span.marks", {}, marks)] : []),
    );
  });
}

// The verdict, and what is to be learned from it.
function judged(data) {
  const title =
    data.state === "shown"
      ? "The answer"
      : data.mistake
        ? `Not this time, and you were ${data.sure} % sure.`
        : `Right, and you were ${data.sure} % sure.`;
  const verdict = h(
    `div.verdict.${data.mistake ? "off" : "on"}`,
    { tabindex: "-1", role: "status" },
    h("p.title", {}, title),
  );
  if (data.mistake) {
    verdict.append(h("p", {}, h("b", {}, "The trap: ", ...words(data.mistake)), ". ", ...words(data.feedback)));
  } else verdict.append(h("p", {}, ...words(data.feedback)));
  if (data.because) verdict.append(h("p", {}, h("b", {}, "Why the other is right: "), ...words(data.because)));
  if (data.look) verdict.append(h("p", {}, h("b", {}, "Look: "), ...words(data.look)));
  if (data.source) {
    const name = data.source.replace(/^https:\/\/github\.com\/(.+)\/(?:issues|pull|discussions)\/(\d+)$/, "$1#$2");
    verdict.append(
      h("p", {}, "People ask this: ", h("a", { href: data.source, target: "_blank", rel: "noopener" }, name)),
    );
  }
  if (data.note) verdict.append(h("p.note", {}, data.note));
  return verdict;
}

// What was answered, and why it is right or wrong.
function tell(root, data, focus) {
  const verdict = judged(data);
  root.replaceChildren(
    head(data),
    h("p.asked", {}, ...words(data.text)),
    h("ul.answers", {}, ...answered(data)),
    verdict,
    ...opens(data),
  );
  if (focus) verdict.focus(); // the button that had it is gone
}

function prediction(root, model, id) {
  let built = ""; // the state that is on show
  return function show() {
    const data = model.get("data");
    if (!data.id) return;
    const key = JSON.stringify(data);
    if (key === built) return;
    const hadFocus = root.contains(document.activeElement);
    const first = built === "";
    built = key;
    root.setAttribute("aria-label", `Prediction ${data.id.split(".")[1]}`);
    if (data.state === "open") ask(root, model, id, data);
    else tell(root, data, hadFocus && !first);
  };
}

// A file that an editor has saved may be in UTF-16; Notepad marks it so.
function decode(buffer) {
  const [first, second] = new Uint8Array(buffer);
  const little = first === 0xff && second === 0xfe;
  const big = first === 0xfe && second === 0xff;
  return new TextDecoder(little ? "utf-16le" : big ? "utf-16be" : "utf-8").decode(buffer);
}

function progress(root, model, id) {
  root.setAttribute("aria-label", "Your progress");
  const said = h("p.said", { role: "status" });
  const file = h("input", { type: "file", accept: ".json,application/json", id: `${id}-file` });
  const download = h("a.button.main", { download: "qviz-progress.json" }, "Download my progress");
  const over = h("button.plain", { type: "button" }, "Start over …");
  const rows = h("tbody");
  const columns = ["lesson", "answered", "right"].map((text) => h("th", { scope: "col" }, text));
  const table = h("table", {}, h("caption", {}, "Predictions"), h("thead", {}, h("tr", {}, ...columns)), rows);
  const kept = h("p.kept");
  root.append(
    h("p.kicker", {}, "Your progress"),
    table,
    h(
      "div.actions",
      {},
      download,
      h("label.upload", { for: `${id}-file` }, "Bring back a downloaded file:"),
      file,
      over,
    ),
    said,
    kept,
  );
  let address = "";
  let sure = false;
  file.addEventListener("change", async () => {
    const [chosen] = file.files;
    if (!chosen) return;
    if (chosen.size > 2 ** 20) said.textContent = "This file is too large to be a progress file.";
    else model.send({ event: "upload", text: decode(await chosen.arrayBuffer()) });
    file.value = ""; // so that the same file can be chosen again
  });
  over.addEventListener("click", () => {
    if (sure) model.send({ event: "over" });
    else said.textContent = "This forgets all answers; the old file is kept beside the new one. Press again to do it.";
    sure = !sure;
    over.textContent = sure ? "Yes, start over" : "Start over …";
  });
  over.addEventListener("blur", () => {
    sure = false;
    over.textContent = "Start over …";
  });
  function show() {
    const data = model.get("data");
    if (!data.rows) return;
    rows.replaceChildren(
      ...data.rows.map(([name, ...cells]) =>
        h("tr", {}, h("th", { scope: "row" }, name), ...cells.map((text) => h("td", {}, text))),
      ),
    );
    URL.revokeObjectURL(address);
    address = URL.createObjectURL(new Blob([data.file], { type: "application/json" }));
    download.href = address;
    said.textContent = data.said;
    kept.textContent = data.kept;
  }
  show.stop = () => URL.revokeObjectURL(address);
  return show;
}

const KINDS = { prediction, progress };

function render({ model, el }) {
  const root = h("section");
  root.className = "qviz qviz-card";
  el.append(root);
  const show = KINDS[model.get("kind")](root, model, `qviz-lesson-${++count}`);
  const retheme = () => root.classList.toggle("qviz-dark", isDark(el));
  const themes = new MutationObserver(() => requestAnimationFrame(retheme));
  themes.observe(document.body, {
    attributes: true,
    attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class"],
  });
  model.on("change:data", show);
  retheme();
  show();
  const placed = requestAnimationFrame(retheme);
  return () => {
    cancelAnimationFrame(placed);
    themes.disconnect();
    model.off("change:data", show);
    show.stop?.();
  };
}

export default { render };

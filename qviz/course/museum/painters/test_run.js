import { h } from "../../../widgets/static/layer/dom.js";

// A test, and what it says about both versions.
export function TestRun(host) {
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

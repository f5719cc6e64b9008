export function h(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const node = document.createElement(name || "div");
  if (classes.length) node.className = classes.map((c) => `qviz-${c}`).join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Make the children of a node like `wanted`, and touch only what differs: whatever is touched is laid out and painted
// anew, and a node that is replaced loses the pointer and the focus. Listeners of `wanted` are not taken over.
export function become(parent, wanted) {
  const had = [...parent.childNodes];
  wanted.forEach((node, i) => (had[i] ? liken(had[i], node) : parent.append(node)));
  for (const node of had.slice(wanted.length)) node.remove();
}

function liken(node, wanted) {
  if (node.nodeName !== wanted.nodeName) return node.replaceWith(wanted);
  if (node.nodeType === Node.TEXT_NODE) return say(node, wanted.textContent);
  for (const { name } of [...node.attributes]) if (!wanted.hasAttribute(name)) node.removeAttribute(name);
  for (const { name, value } of wanted.attributes) {
    if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  }
  return become(node, [...wanted.childNodes]);
}

// Colours, light and dark.

// Black text reads better than white on a colour whose relative luminance (WCAG) is above 0.179.
export function isLight(...rgb) {
  const [r, g, b] = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179;
}

// Black or white, whichever can be read on a colour.
export const legible = (r, g, b) => (isLight(r, g, b) ? "#111" : "#fff");

// A dark page has light text. JupyterLab says so itself; elsewhere look.
export function isDark(node) {
  const said = document.body.dataset.jpThemeLight;
  if (said) return said === "false";
  return isLight(...(getComputedStyle(node).color.match(/[\d.]+/g) ?? [0, 0, 0]).slice(0, 3).map(Number));
}

const ROLES = ["ink", "soft", "line", "card", "paper", "weight", "level", "level-fill", "field-2", "ok", "changed"];

// The colours of the page's theme by the part they play, and the font of labels.
export function inksOf(root) {
  const style = getComputedStyle(root);
  const inks = { font: `12.5px ${style.fontFamily}` };
  for (const role of ROLES) inks[role] = style.getPropertyValue(`--qviz-${role}`).trim();
  return inks;
}

// Entry `code` of a colour table: [red, green, blue].
export const entry = (table, code) => [table[3 * code], table[3 * code + 1], table[3 * code + 2]];

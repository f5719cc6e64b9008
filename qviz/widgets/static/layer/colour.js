// Black text reads better than white on a colour whose relative luminance (WCAG) is above 0.179.
export function isLight(...rgb) {
  const [r, g, b] = rgb.map((v) =>
    v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4,
  );
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179;
}

// A dark page has light text. JupyterLab says so itself; elsewhere look.
export function isDark(node) {
  const said = document.body.dataset.jpThemeLight;
  if (said) return said === "false";
  return isLight(...(getComputedStyle(node).color.match(/[\d.]+/g) ?? [0, 0, 0]).slice(0, 3).map(Number));
}

// A colour role that the common inks leave out.
export const role = (node, name) => getComputedStyle(node).getPropertyValue(`--qviz-${name}`).trim();

// What ipywidgets leaves unsaid about the controls around a picture.

const SIGNS = { "fa-play": "Play", "fa-pause": "Pause", "fa-stop": "Stop", "fa-retweet": "Repeat" };

// Names of slider handles and of groups of buttons, which button is pressed; and JupyterLab is to leave them their keys.
export function labelControls(explorer) {
  if (!explorer) return;
  for (const widget of explorer.querySelectorAll(".widget-slider, .widget-toggle-buttons")) {
    const name = widget.querySelector(":scope > .widget-label")?.textContent ?? "";
    const handle = widget.querySelector("[role=slider]");
    handle?.setAttribute("aria-label", name);
    const locked = handle?.closest(".noUi-target").hasAttribute("disabled");
    handle?.setAttribute("aria-disabled", locked);
    if (handle) handle.tabIndex = locked ? -1 : 0; // Tab passes over what is locked, as over a locked button
    const buttons = widget.querySelectorAll("button");
    if (buttons.length) {
      widget.setAttribute("role", "group");
      widget.setAttribute("aria-label", name);
    }
    for (const button of buttons) button.setAttribute("aria-pressed", button.classList.contains("mod-active"));
  }
  for (const icon of explorer.querySelectorAll(".widget-play button > i")) {
    const sign = Object.keys(SIGNS).find((name) => icon.classList.contains(name));
    if (sign) icon.parentNode.setAttribute("aria-label", SIGNS[sign]);
  }
  for (const node of explorer.querySelectorAll("select, [role=slider], input")) {
    node.dataset.lmSuppressShortcuts = "true";
  }
}

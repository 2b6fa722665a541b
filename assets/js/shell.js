// Small things that the page's scripts share: icons, buttons, the light and dark switch.
(() => {
  "use strict";
  const space = window.GemmaSpace;
  const THEME = "gemma-space:theme";
  const ICONS = {
    edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
    plus: "M12 5v14M5 12h14",
    trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
    sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.5 1.5M17.5 17.5L19 19M19 5l-1.5 1.5M6.5 17.5L5 19",
    moon: "M20 14A8 8 0 1 1 10 4a7 7 0 0 0 10 10z",
  };

  const icon = (name) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    svg.classList.add("icon");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", ICONS[name]);
    svg.append(path);
    return svg;
  };

  const node = (tag, className, ...children) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children);
    return made;
  };

  // An icon needs a spoken name; a button with words is its own name.
  const button = ({ label, text, iconName, className = "", action }) => {
    const made = node("button", className, ...(iconName ? [icon(iconName)] : []), ...(text ? [text] : []));
    made.type = "button";
    if (!text) made.setAttribute("aria-label", label);
    if (label) made.title = label;
    made.addEventListener("click", action);
    return made;
  };

  // ------------------------------------------------------------ keyboard

  // Boxes in which Enter begins a new line.
  const RUNS = { prompt: "run", "compare-text": "compare-run" };

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    const box = Object.keys(RUNS).find((id) => event.target.closest?.(`#${id}`));
    if (!box) return;
    event.preventDefault();
    document.getElementById(RUNS[box])?.click();
  });

  // ------------------------------------------------------------ light and dark

  const storedTheme = () => {
    try { return localStorage.getItem(THEME); } catch { return null; }
  };
  const keepTheme = (theme) => {
    try {
      if (theme) localStorage.setItem(THEME, theme);
      else localStorage.removeItem(THEME);
    } catch { /* a frame of another site may have no storage: it lasts as long as the page */ }
  };
  const systemIsDark = window.matchMedia("(prefers-color-scheme: dark)");
  // The Hub tells the Spaces that it frames how its own page looks.
  const askedTheme = new URLSearchParams(location.search).get("__theme");
  const usualTheme = () => (
    ["dark", "light"].includes(askedTheme) ? askedTheme : systemIsDark.matches ? "dark" : "light"
  );
  let chosenTheme = storedTheme();
  const isDark = () => (chosenTheme ?? usualTheme()) === "dark";

  // Gradio sets the class from the system's setting whenever that changes; the person's wins.
  const applyTheme = () => {
    if (document.body.classList.contains("dark") !== isDark()) document.body.classList.toggle("dark", isDark());
    document.documentElement.style.colorScheme = isDark() ? "dark" : "light";
  };

  const mountThemeToggle = (element) => {
    const draw = () => {
      toggle.replaceChildren(icon(isDark() ? "sun" : "moon"));
      toggle.setAttribute("aria-label", isDark() ? "Switch to light colours" : "Switch to dark colours");
      toggle.title = toggle.getAttribute("aria-label");
    };
    const toggle = button({ label: "Colours", iconName: "moon", className: "icon-button", action: () => {
      const wanted = isDark() ? "light" : "dark";
      chosenTheme = wanted === usualTheme() ? null : wanted; // as it is anyway: nothing to remember
      keepTheme(chosenTheme);
      applyTheme();
      draw();
    } });
    element.replaceChildren(toggle);
    systemIsDark.addEventListener("change", () => { applyTheme(); draw(); });
    new MutationObserver(applyTheme).observe(document.body, { attributeFilter: ["class"] });
    applyTheme();
    draw();
  };

  // ---------------------------------------------------------------- the sidebar

  // Below this width Gradio's sidebar covers the page.
  const isPhone = window.matchMedia("(max-width: 768px)");
  const closeSidebarOnPhone = () => {
    if (!isPhone.matches) return;
    document.querySelector("#sidebar.open > .toggle-button")?.click();
  };

  Object.assign(space, { node, button, mountThemeToggle, closeSidebarOnPhone });
})();

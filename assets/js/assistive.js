// What keyboards and screen readers need and Gradio leaves out.
(() => {
  "use strict";
  // The arrow and the square beside a message box are drawings only.
  const DRAWN = { "submit-button": "Send", "stop-button": "Stop" };

  const mend = () => {
    for (const [kind, words] of Object.entries(DRAWN)) {
      for (const button of document.querySelectorAll(`button.${kind}:not([aria-label])`)) {
        button.setAttribute("aria-label", words);
        button.title = words;
      }
    }
    // A box whose copy button comes first gives its label to that button.
    for (const box of document.querySelectorAll("label .icon-button-wrapper ~ .input-container textarea:not([aria-label])")) {
      const label = box.closest("label").querySelector("[data-testid=block-info]");
      if (label) box.setAttribute("aria-label", label.textContent.trim());
    }
    // Browsers let the Tab key reach whatever scrolls. A list of choices is gone once its box is left,
    // and the focus would be gone with it; arrow keys walk it.
    for (const list of document.querySelectorAll("ul[role=listbox]:not([tabindex])")) list.tabIndex = -1;
  };

  // Parts come and go with every event; one look for each picture that the browser draws will do.
  let isDue = false;
  new MutationObserver(() => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => { isDue = false; mend(); });
  }).observe(document.documentElement, { childList: true, subtree: true });
})();

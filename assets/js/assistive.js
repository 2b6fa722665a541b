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
  };

  // Parts come and go with every event. To be told of each would cost a long conversation half a
  // second per step of a reply; to look once a second costs nothing.
  setInterval(mend, 1000);

  // Browsers let the Tab key reach whatever scrolls. A list of choices is gone once its box is left,
  // and the focus would be gone with it; arrow keys walk it.
  document.addEventListener("keydown", (event) => {
    const list = event.key === "Tab" && document.getElementById(event.target.getAttribute?.("aria-controls") ?? "");
    if (list?.getAttribute?.("role") === "listbox") list.tabIndex = -1;
  }, true);
})();

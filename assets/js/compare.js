// The Compare tab: a column's text is copied, and what the server wrote is saved as a file.
// Reads the page only; knows no column's model.
(() => {
  "use strict";
  const space = window.GemmaSpace;
  const SAID_MS = 2000;

  const mount = (element) => {
    element.addEventListener("click", async (event) => {
      const button = event.target.closest("[data-copy]");
      if (!button) return;
      const texts = element.querySelectorAll(".compared-text");
      const done = await space.link.copied(texts[texts.length - 1]?.textContent ?? "");
      button.textContent = done ? "Copied" : "Not allowed here";
      setTimeout(() => { button.textContent = "Copy"; }, SAID_MS);
    });
  };

  // From the server: a file, and a stamp, so that the same one again is a change.
  const save = (told) => {
    if (!told) return;
    const { name, type, text } = JSON.parse(told);
    space.transfer.download(name, type, text);
  };

  space.compare = { mount, save };
})();

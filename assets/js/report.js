// The Precision tab's own texts: a file, chosen or dropped, is read here and handed to the server
// as text; it is kept nowhere.
(() => {
  "use strict";
  const { node } = window.GemmaSpace;
  const MAX_BYTES = 400_000; // the server counts characters, of which one takes four bytes at most

  class FileProblem extends Error {}

  const textOf = async (file) => {
    if (file.size > MAX_BYTES) throw new FileProblem("This file is larger than 400 KB. Keep a part of it: a few thousand characters say nearly as much.");
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
    } catch {
      throw new FileProblem("This file is no text in UTF-8. Save it as a text file, and open that.");
    }
  };

  const mount = (element, trigger) => {
    const picker = node("input");
    picker.type = "file";
    picker.accept = ".txt,.md,text/*";
    picker.hidden = true;
    const button = node("button", "file-button", "Open a text file…");
    button.type = "button";
    const said = node("p", "problem");
    said.setAttribute("role", "alert");
    said.hidden = true;
    const take = async (file) => {
      if (!file) return;
      try {
        const text = await textOf(file);
        said.hidden = true;
        trigger("select", { name: file.name, text });
      } catch (error) {
        if (!(error instanceof FileProblem)) throw error;
        said.textContent = error.message;
        said.hidden = false;
      }
    };
    button.addEventListener("click", () => picker.click());
    picker.addEventListener("change", () => {
      const file = picker.files[0];
      picker.value = ""; // the same file may be chosen again
      take(file);
    });
    // Anywhere around the texts; the browser would leave the page for a file dropped on it.
    const place = element.closest("#report-texts") ?? element;
    place.addEventListener("dragover", (event) => {
      if (event.dataTransfer.types.includes("Files")) event.preventDefault();
    });
    place.addEventListener("drop", (event) => {
      if (!event.dataTransfer.files.length) return;
      event.preventDefault();
      take(event.dataTransfer.files[0]);
    });
    element.replaceChildren(button, picker, said);
  };

  window.GemmaSpace.report = { mount };
})();

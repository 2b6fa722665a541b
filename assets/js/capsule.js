// Capsule files: saved from what the server wrote, opened from a file and handed to the server,
// which checks what is in it. Nothing here reads a capsule.
(() => {
  "use strict";
  const space = window.GemmaSpace;
  const { node } = space;
  const MAX_BYTES = 16_000_000;

  const stem = () => `gemma-space-run-${new Date().toISOString().slice(0, 19).replace(/[T:]/g, "-")}`;

  const save = (told) => {
    if (!told) return;
    const { document: text } = JSON.parse(told);
    space.transfer.download(`${stem()}.json`, "application/json", text);
  };

  const mount = (element, trigger) => {
    const picker = node("input");
    picker.type = "file";
    picker.accept = ".json,application/json";
    picker.hidden = true;
    const button = node("button", "file-button");
    button.type = "button";
    button.textContent = "Open a capsule…";
    const said = node("p", "problem");
    said.setAttribute("role", "alert");
    said.hidden = true;
    button.addEventListener("click", () => picker.click());
    picker.addEventListener("change", async () => {
      const file = picker.files[0];
      picker.value = ""; // the same file may be chosen again
      if (!file) return;
      said.hidden = file.size <= MAX_BYTES;
      said.textContent = "This file is larger than 16 MB; no capsule is that large.";
      if (said.hidden) trigger("select", { document: await file.text() });
    });
    element.replaceChildren(button, picker, said);
  };

  space.capsule = { mount, save };
})();

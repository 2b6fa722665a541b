// What was typed and not sent outlives a reload of this tab: Gradio reloads the page by itself once
// a server that was away is back, and signing in leaves it. Knows boxes, not what is done with them.
(() => {
  "use strict";
  const space = window.GemmaSpace;
  const PREFIX = "gemma-space:draft:";
  const BOXES = ["message", "prompt", "compare-text", "compare-follow-up"];
  // A field takes its first value a moment after it appears, over what is there by then.
  const LOOK_MS = 500;

  const kept = new Map(); // drafts by box, until the box is there to take them

  const boxOf = (id) => document.querySelector(`#${id} textarea`);

  const keep = () => {
    for (const id of BOXES) {
      const text = boxOf(id)?.value || kept.get(id);
      try {
        if (text) sessionStorage.setItem(PREFIX + id, text);
        else sessionStorage.removeItem(PREFIX + id);
      } catch { return; } // full or blocked: as it was without drafts
    }
  };

  const take = () => {
    try {
      for (const id of BOXES) {
        const text = sessionStorage.getItem(PREFIX + id);
        if (text) kept.set(id, text);
      }
    } catch { /* blocked */ }
  };

  const putBack = (box, text) => {
    if (box.value) return; // typed anew, or from a link
    box.value = text;
    box.dispatchEvent(new Event("input", { bubbles: true }));
  };

  const mount = () => {
    take();
    window.addEventListener("pagehide", keep);
    const seen = new Set();
    const looking = setInterval(() => {
      if (!kept.size) { clearInterval(looking); return; }
      for (const [id, text] of kept) {
        const box = boxOf(id);
        if (!box) continue; // its tab was not opened yet
        if (!seen.has(id)) { seen.add(id); continue; }
        kept.delete(id);
        putBack(box, text);
      }
    }, LOOK_MS);
  };

  space.drafts = { mount };
})();

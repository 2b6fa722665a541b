// How much of the page is shown: Simple or Expert, kept in this browser; and its own address.
// Only a mark on the document, which view.css follows: nothing is unmounted, so nothing is lost.
(() => {
  "use strict";
  const space = window.GemmaSpace;
  const { node, button } = space;
  const VIEW = "gemma-space:view";
  const VIEWS = { simple: "Simple", expert: "Expert" };
  const HINTS = { simple: "Chat and the choice of a model", expert: "Every tab and every setting" };

  const chosen = () => {
    let kept = null;
    try { kept = localStorage.getItem(VIEW); } catch { /* blocked: the page's own default */ }
    return Object.hasOwn(VIEWS, kept ?? "") ? kept : null;
  };

  const apply = (view) => { document.documentElement.dataset.view = view; };

  const mount = (element, usual) => {
    const draw = () => {
      for (const one of group.children) {
        one.setAttribute("aria-pressed", String(one.dataset.view === document.documentElement.dataset.view));
      }
    };
    const choose = (view) => {
      try { localStorage.setItem(VIEW, view); } catch { /* for this visit then */ }
      apply(view);
      draw();
      // Chat is all that Simple shows; a run in another tab goes on.
      if (view === "simple") document.querySelector("#tabs button[role=tab]")?.click();
    };
    const group = node("div", "view-switch", ...Object.keys(VIEWS).map((view) => {
      const made = button({ text: VIEWS[view], label: HINTS[view], action: () => choose(view) });
      made.dataset.view = view;
      return made;
    }));
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", "How much is shown");
    element.replaceChildren(group);
    apply(chosen() ?? usual);
    draw();
    window.addEventListener("storage", (event) => {
      if (event.key === VIEW && chosen()) { apply(chosen()); draw(); }
    });
  };

  // What follows a `?` may be somebody's sign-in, and is left out.
  const tellAddress = (trigger) => trigger("select", { address: location.origin + location.pathname });

  const kept = chosen();
  if (kept) apply(kept); // before anything is drawn

  space.view = { mount, tellAddress };
})();

// The way to the panel that shows what the model was given: the link in a reply's note, where the
// keyboard goes and comes back from. What is shown is made elsewhere.
(() => {
  "use strict";
  const space = window.GemmaSpace;
  const LINK = '#transcript a[href^="#given-"]';

  let choose = null; // fires the page's event, with the number of a turn
  let cameFrom = null;

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.(LINK);
    if (!link || !choose) return;
    event.preventDefault();
    choose("select", { turn: Number(link.hash.slice("#given-".length)) });
  }, true);

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && event.target.closest?.("#xray")) document.getElementById("xray-close")?.click();
  });

  const follow = (trigger) => { choose = trigger; };

  const shown = (element) => {
    const title = element.querySelector("#xray-title") ?? element.querySelector("[role=alert]");
    if (!title) return;
    const before = document.activeElement;
    if (before && !element.contains(before)) cameFrom = before;
    title.focus({ preventScroll: true });
    // Its buttons are laid out a moment later.
    requestAnimationFrame(() => document.getElementById("xray")?.scrollIntoView({ block: "nearest" }));
  };

  const closed = () => {
    if (cameFrom?.isConnected) cameFrom.focus();
    else document.querySelector("#message textarea")?.focus();
  };

  space.xray = { follow, shown, closed };
})();

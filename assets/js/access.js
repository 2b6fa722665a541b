// What the Hub says about this visitor and each model: asked here, kept by model while the page is
// open, and shown wherever the model is. The words come from the server; nothing is stored.
(() => {
  "use strict";
  const space = window.GemmaSpace;
  const ASKING = "Asking the Hub…";
  const SILENCE = "No answer came.";
  const PATIENCE_MS = 45000; // a server with a full queue never answers
  const CHECK = '<button type="button" class="pill" data-check>Check again</button>';

  const askers = {}; // "one" and "every": fire a question
  const waiting = { one: 0, every: 0 }; // the number of the question that is to be answered
  const places = new Set(); // where the chosen model's line stands
  let summary = null;
  let said = new Map(); // by model, what was told last
  let model = ""; // the one chosen
  let number = 0; // of the newest question
  let stale = 0; // up to this question another token acted
  let again = false; // a person waits for the answer about the chosen model

  const ask = (kind, question) => {
    if (!askers[kind]) return;
    number += 1;
    const mine = number;
    waiting[kind] = mine;
    askers[kind]("select", { ...question, number: mine });
    setTimeout(() => {
      if (waiting[kind] !== mine) return;
      settle(kind, SILENCE);
      draw();
    }, PATIENCE_MS);
  };

  const settle = (kind, words) => {
    waiting[kind] = 0;
    if (kind === "one") again = false;
    else drawSummary(words);
  };

  const askOne = (fresh) => { if (model) ask("one", { model, fresh }); };

  // Everything that is listed; without a token only where somebody asked for it.
  const askEvery = (fresh) => {
    if (waiting.every > stale) return;
    ask("every", { fresh });
    drawSummary(fresh ? "Asking the Hub about every model…" : "");
  };

  const answer = (kind, text) => {
    if (!text) return;
    const { number: answered, told, summary: words } = JSON.parse(text);
    if (answered <= stale) return;
    Object.entries(told).forEach(([name, one]) => said.set(name, one));
    if (answered === waiting[kind]) settle(kind, words);
    draw();
  };

  const drawSummary = (words) => { if (summary) summary.textContent = words; };

  const drawLine = (place) => {
    const asking = `<div class="access"><p role="status">${ASKING}</p></div>`;
    const silence = `<div class="access"><p role="status">${SILENCE}</p>${CHECK}</div>`;
    const line = said.get(model)?.line ?? (waiting.one ? asking : model ? silence : "");
    if (place.drawn !== line) {
      const focused = place.contains(document.activeElement);
      // What stands below does not jump up and down again while the Hub is asked.
      place.style.minHeight = line === asking ? `${place.offsetHeight}px` : "";
      place.innerHTML = line;
      place.drawn = line;
      if (focused) place.querySelector("button")?.focus();
    }
    const button = place.querySelector("[data-check]");
    if (!button) return;
    button.textContent = again ? ASKING : "Check again";
    button.setAttribute("aria-disabled", again);
  };

  const draw = () => {
    places.forEach((place) => { if (place.isConnected) drawLine(place); else places.delete(place); });
    space.models.draw();
  };

  // The words in a row of the list; where nothing was told, what the server wrote there.
  const fill = (row) => {
    const holder = row.querySelector("[data-access]");
    if (!holder) return;
    if (holder.innerHTML !== holder.filled) holder.unasked = holder.innerHTML; // written anew
    const words = said.get(row.dataset.model)?.words || holder.unasked;
    if (holder.innerHTML !== words) holder.innerHTML = words;
    holder.filled = holder.innerHTML;
  };

  const follow = (name) => {
    if (name === model) return;
    model = name;
    again = false;
    if (!said.has(model)) askOne(false);
    draw();
  };

  // After a reply or a load: the Hub may have said something else meanwhile.
  const askAgain = () => { if (said.get(model)?.mayChange) askOne(false); };

  // Another token acts: nothing of what was told holds any more.
  const forget = () => {
    stale = number;
    said = new Map();
    again = false;
    drawSummary("");
    askOne(false);
    if (document.getElementById("model-list")?.offsetParent) askEvery(false);
    draw();
  };

  const place = (element) => {
    places.add(element);
    element.addEventListener("click", (event) => {
      if (!event.target.closest("[data-check]") || again) return;
      again = true;
      askOne(true);
      draw();
    });
    drawLine(element);
  };

  const placeSummary = (element) => {
    summary = document.createElement("p");
    summary.className = "hint";
    summary.setAttribute("role", "status");
    element.replaceChildren(summary);
  };

  const mount = (kind, trigger, first) => {
    askers[kind] = trigger;
    if (kind === "one") Promise.resolve().then(() => follow(first));
  };

  // Gradio leaves it to the browser to keep what is typed into a password's box.
  document.addEventListener("focusin", ({ target }) => {
    if (target.closest("#token")) target.setAttribute("autocomplete", "new-password");
  });

  space.access = { again: askAgain, answer, askEvery, fill, follow, forget, mount, place, placeSummary };
})();

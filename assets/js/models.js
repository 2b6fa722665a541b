// The Models tab's list: choosing with mouse and arrow keys, filtering, marking what is chosen.
// The rows come from the server; nothing here knows what fits.
(() => {
  "use strict";
  const space = window.GemmaSpace;
  const ALL = "All families";
  const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

  let list = null;
  const wanted = { text: "", family: ALL, fits: false };
  let marked = {};

  // A button may stand in a row that names the model; below a meter it is the chosen one.
  const choose = (element, trigger) => element.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-precision]");
    if (!button) return;
    const model = button.closest("[data-model]")?.dataset.model ?? "";
    trigger("select", { model, precision: button.dataset.precision });
  });

  const rows = () => [...list.querySelectorAll(".model")];
  const stops = (row) => [...row.querySelectorAll("a, button")];

  // The whole list is one stop of the Tab key; arrows move inside it.
  const stopAt = (target) => {
    rows().flatMap(stops).forEach((one) => { one.tabIndex = one === target ? 0 : -1; });
  };

  const move = (event) => {
    const [down, right] = ARROWS[event.key] ?? [0, 0];
    const row = event.target.closest(".model");
    if (!row || !(down || right)) return;
    const seen = rows().filter((one) => !one.hidden && !one.parentElement.parentElement.hidden);
    const next = seen[seen.indexOf(row) + down];
    if (!next) return;
    event.preventDefault();
    // Counted from the right: not every model has a link on the left.
    const fromEnd = stops(row).length - stops(row).indexOf(event.target);
    const targets = stops(next);
    const at = Math.min(targets.length - 1, Math.max(0, targets.length - fromEnd + right));
    stopAt(targets[at]);
    targets[at].focus();
  };

  const matches = (row, words) => {
    const about = row.querySelector(".model-about").textContent.toLowerCase();
    return words.every((word) => about.includes(word)) && (!wanted.fits || row.dataset.fits === "1");
  };

  const draw = () => {
    if (!list?.querySelector(".model")) return;
    rows().forEach(space.access.fill);
    const words = wanted.text.toLowerCase().split(/\s+/).filter(Boolean);
    for (const group of list.querySelectorAll("section")) {
      const inFamily = wanted.family === ALL || group.dataset.group === wanted.family;
      const own = [...group.querySelectorAll(".model")];
      own.forEach((row) => { row.hidden = !inFamily || !matches(row, words); });
      group.hidden = own.every((row) => row.hidden);
    }
    const shown = rows().filter((row) => !row.hidden).length;
    list.querySelector(".models-none").hidden = shown > 0;
    const all = rows().length === 1 ? "1 model" : `${rows().length} models`;
    list.querySelector(".models-count").textContent = shown === rows().length ? all : `${shown} of ${all}`;
    drawMark();
  };

  const drawMark = () => {
    if (!list) return;
    let pressed = null;
    for (const row of rows()) {
      const isChosen = row.dataset.model === marked.model;
      row.classList.toggle("chosen", isChosen);
      for (const button of row.querySelectorAll("button")) {
        const isPressed = isChosen && button.dataset.precision === marked.precision;
        button.setAttribute("aria-pressed", isPressed);
        if (isPressed && !row.hidden) pressed = button;
      }
    }
    if (list.contains(document.activeElement)) stopAt(document.activeElement);
    else stopAt(pressed ?? list.querySelector(".model:not([hidden]) button"));
  };

  const filter = (changes) => {
    Object.assign(wanted, changes);
    draw();
  };

  const mark = (text) => {
    marked = text ? JSON.parse(text) : {};
    drawMark();
    space.access.follow(marked.model ?? "");
  };

  const mount = (element, trigger) => {
    list = element;
    choose(element, trigger);
    element.addEventListener("keydown", move);
    draw();
  };

  space.models = { choose, draw, filter, mark, mount };
})();

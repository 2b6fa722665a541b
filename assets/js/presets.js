// Presets of the generation settings, and marks on what differs from the model's defaults.
// Saved presets are in this browser, one localStorage entry each; each tab's settings are a group.
(() => {
  "use strict";
  const space = window.GemmaSpace;
  const { node, button } = space;
  const PREFIX = "gemma-space:preset:";
  const MAX_PRESETS = 50;
  const MAX_NAME = 60; // characters
  const CUSTOM = "custom";
  const CUSTOM_REASON = "Your own values. Save them to find them again.";
  const SAVED_REASON = "Saved in this browser only.";
  const NOT_KEPT = "This browser cannot keep presets: its storage is full or switched off.";

  // ----------------------------------------------------------- what is saved

  const storage = () => {
    try { return window.localStorage; } catch { return null; } // blocked by the browser's settings
  };

  const parse = (name, text, controls) => {
    try {
      const { values } = JSON.parse(text);
      const own = controls.filter((control) => Object.hasOwn(values, control));
      if (!own.length || !own.every((control) => Number.isFinite(values[control]))) return null;
      if (!name.trim() || name.length > MAX_NAME) return null;
      return { name, values: Object.fromEntries(own.map((control) => [control, values[control]])) };
    } catch {
      return null; // not ours, or damaged: left alone, not shown
    }
  };

  const saved = (controls) => {
    const local = storage();
    if (!local) return [];
    const keys = Array.from({ length: local.length }, (_, index) => local.key(index));
    return keys.filter((key) => key.startsWith(PREFIX))
      .map((key) => parse(key.slice(PREFIX.length), local.getItem(key), controls)).filter(Boolean)
      .sort((one, other) => one.name.localeCompare(other.name)).slice(0, MAX_PRESETS);
  };

  // ------------------------------------------------------------------ groups

  const groups = new Map();

  const groupOf = (id) => {
    if (!groups.has(id)) groups.set(id, { facts: null, values: {}, chosen: "", note: "", kept: [] });
    return groups.get(id);
  };

  const controlsOf = (group) => Object.keys(group.facts.presets[0].values);
  const current = (group) => ({ ...group.facts.defaults, ...group.values });
  const equal = (one, other) => (typeof one === "number" && typeof other === "number"
    ? Math.abs(one - other) < 1e-9 : (one ?? "") === (other ?? ""));

  // What is missing in a saved one, a control younger than it, is the model's own default.
  const candidates = (group) => {
    const own = group.facts.presets[0].values;
    return [
      ...group.facts.presets.map((preset) => ({ ...preset, id: `built-in:${preset.name}` })),
      ...group.kept.map(({ name, values }) =>
        ({ id: `saved:${name}`, name, reason: SAVED_REASON, values: { ...own, ...values }, isSaved: true })),
    ];
  };

  // The one that was chosen, as long as its values are what is set; otherwise any with these values.
  const match = (group) => {
    const values = current(group);
    const fitting = candidates(group).filter((preset) =>
      Object.keys(preset.values).every((control) => equal(values[control], preset.values[control])));
    return fitting.find((preset) => preset.id === group.chosen) ?? fitting[0] ?? null;
  };

  // --------------------------------------------------------------- the marks

  const markControls = (group) => {
    const root = group.element.closest(".sampling");
    const values = current(group);
    let behind = 0;
    for (const [control, usual] of Object.entries(group.facts.defaults)) {
      const shown = root.querySelector(`.control-${control}`); // none before it is first unfolded
      const isChanged = !equal(values[control], usual);
      shown?.toggleAttribute("data-changed", isChanged);
      if (isChanged && (!shown || shown.closest(".advanced"))) behind += 1;
    }
    const fold = root.querySelector(".advanced > .label-wrap > span");
    if (behind) fold.dataset.changed = `${behind} changed`;
    else delete fold.dataset.changed;
  };

  // -------------------------------------------------------------- the choice

  const option = ({ name, id }) => new Option(name, id);

  const optionGroup = (label, presets) => {
    const made = node("optgroup", "", ...presets.map(option));
    made.label = label;
    return made;
  };

  const fillSelect = (group) => {
    const known = JSON.stringify([group.facts.presets, group.kept]);
    if (group.filled === known) return;
    group.filled = known;
    const all = candidates(group);
    const custom = option({ id: CUSTOM, name: "Custom" });
    custom.disabled = custom.hidden = true; // shown, never chosen
    const own = all.filter((preset) => preset.isSaved);
    group.select.replaceChildren(custom, optionGroup("Built in", all.filter((preset) => !preset.isSaved)),
      ...(own.length ? [optionGroup("Saved in this browser", own)] : []));
    // Unseen, they give the line the height of the longest, so that nothing below it ever moves.
    const reasons = new Set([...all.map((preset) => preset.reason), CUSTOM_REASON, SAVED_REASON]);
    group.spacers.replaceChildren(...[...reasons].map((reason) => node("p", "", reason)));
  };

  const draw = (group) => {
    if (!group.element || !group.facts) return;
    group.kept = saved(controlsOf(group));
    fillSelect(group);
    const matching = match(group);
    group.select.value = matching?.id ?? CUSTOM;
    group.deleteButton.disabled = !matching?.isSaved;
    const words = group.note || (matching?.reason ?? CUSTOM_REASON);
    if (group.line.textContent !== words) group.line.textContent = words; // read aloud when it changes
    markControls(group);
  };

  // A choice changes several controls one after the other; only the end is worth a look.
  const drawSoon = (group) => {
    cancelAnimationFrame(group.frame);
    group.frame = requestAnimationFrame(() => draw(group));
  };
  const drawAll = () => groups.forEach(draw);

  const say = (group, note) => {
    group.note = note;
    draw(group);
  };

  // Three rows in one place, one of them in sight.
  const showRow = (group, row, focus) => {
    for (const one of group.rows.children) one.classList.toggle("unseen", one !== row);
    focus.focus();
  };

  const choose = (group) => {
    const preset = candidates(group).find((one) => one.id === group.select.value);
    if (!preset) return;
    group.chosen = preset.id;
    group.note = "";
    group.trigger("select", preset.values);
  };

  // ------------------------------------------------------- saving and deleting

  const typedName = (group) => group.nameBox.value.trim().replace(/\s+/g, " ").slice(0, MAX_NAME).trim();
  const isTaken = (group, name) => group.kept.some((preset) => preset.name === name);

  const refusal = (group, name) => {
    if (!name) return "Give the preset a name first.";
    if (group.facts.presets.some((preset) => preset.name === name)) {
      return `“${name}” is built in. Choose another name.`;
    }
    if (group.kept.length >= MAX_PRESETS && !isTaken(group, name)) {
      return `At most ${MAX_PRESETS} presets are kept. Delete one first.`;
    }
    return "";
  };

  const save = (group) => {
    const name = typedName(group);
    const no = refusal(group, name);
    if (no) {
      say(group, no);
      group.nameBox.focus();
      return;
    }
    const { defaults } = group.facts;
    const all = current(group); // a number that was just emptied is none
    const values = Object.fromEntries(controlsOf(group).map((control) =>
      [control, Number.isFinite(all[control]) ? all[control] : defaults[control]]));
    try {
      storage().setItem(PREFIX + name, JSON.stringify({ version: 1, values }));
    } catch {
      say(group, NOT_KEPT);
      return;
    }
    group.chosen = `saved:${name}`;
    drawAll();
    say(group, `Saved “${name}” in this browser.`);
    showRow(group, group.choosing, group.select);
  };

  const remove = (group) => {
    storage()?.removeItem(PREFIX + group.deleting);
    drawAll();
    say(group, `Deleted “${group.deleting}”.`);
    showRow(group, group.choosing, group.select);
  };

  const startNaming = (group) => {
    group.nameBox.value = group.kept.find(({ name }) => group.chosen === `saved:${name}`)?.name ?? "";
    nameSaveButton(group);
    say(group, "");
    showRow(group, group.naming, group.nameBox);
    group.nameBox.select();
  };

  const startDeleting = (group) => {
    group.deleting = match(group).name;
    group.question.textContent = `Delete “${group.deleting}”?`;
    showRow(group, group.confirming, group.keepButton);
  };

  const back = (group) => {
    say(group, "");
    showRow(group, group.choosing, group.select);
  };

  const nameSaveButton = (group) => {
    group.saveButton.textContent = isTaken(group, typedName(group)) ? "Replace" : "Save";
  };

  // ------------------------------------------------------------------ layout

  const pill = (text, action, more = "") => button({ text, className: `pill${more}`, action });

  const choosingRow = (group) => {
    group.select = node("select");
    group.select.addEventListener("change", () => choose(group));
    group.deleteButton = pill("Delete", () => startDeleting(group));
    const label = node("label", "preset-main", node("span", "preset-label", "Preset"), group.select);
    group.choosing = node("div", "preset-row", label, pill("Save as…", () => startNaming(group)), group.deleteButton);
    return group.choosing;
  };

  const namingRow = (group) => {
    group.nameBox = node("input");
    group.nameBox.maxLength = MAX_NAME;
    group.nameBox.addEventListener("input", () => nameSaveButton(group));
    group.nameBox.addEventListener("keydown", (event) => {
      if (event.key === "Enter") save(group);
      if (event.key === "Escape") back(group);
    });
    group.saveButton = pill("Save", () => save(group), " primary");
    const label = node("label", "preset-main", node("span", "preset-label", "Name"), group.nameBox);
    group.naming = node("div", "preset-row unseen", label, group.saveButton, pill("Cancel", () => back(group)));
    return group.naming;
  };

  const confirmingRow = (group) => {
    group.question = node("span", "preset-main preset-question");
    group.keepButton = pill("Keep", () => back(group));
    group.confirming = node("div", "preset-row unseen", group.question, pill("Delete", () => remove(group), " danger"),
      group.keepButton);
    return group.confirming;
  };

  const mount = (element, trigger, id, facts) => {
    const group = groupOf(id);
    Object.assign(group, { element, trigger, facts: group.facts ?? facts });
    group.rows = node("div", "preset-rows", choosingRow(group), namingRow(group), confirmingRow(group));
    group.line = node("p", "preset-line");
    group.line.setAttribute("role", "status");
    group.spacers = node("div", "preset-spacers");
    element.replaceChildren(group.rows, node("div", "preset-lines", group.spacers, group.line));
    const root = element.closest(".sampling");
    root.addEventListener("input", (event) => { // whoever goes on has read the note
      if (event.target !== group.select) say(group, ""); // drawing now would undo the choice
    });
    // What is folded away is only put there when it is first unfolded.
    new MutationObserver(() => markControls(group)).observe(root.querySelector(".advanced"), { childList: true, subtree: true });
    draw(group);
  };

  // The model's defaults, after another one was chosen or its own were asked for.
  const learn = (id, text) => {
    if (!text) return;
    Object.assign(groupOf(id), { facts: JSON.parse(text), note: "" });
    drawSoon(groupOf(id));
  };

  // A control holds another value, whoever set it.
  const follow = (id, control, value) => {
    groupOf(id).values[control] = value;
    drawSoon(groupOf(id));
  };

  const answered = (id, text) => {
    groupOf(id).note = JSON.parse(text).note;
    drawSoon(groupOf(id));
  };

  window.addEventListener("storage", (event) => {
    if (event.key === null || event.key.startsWith(PREFIX)) drawAll();
  });

  space.presets = { mount, learn, follow, answered };
})();

// The list of conversations in the sidebar: open, rename, delete, export, import.
// Keeps what the page hands over, and hands over what is opened here.
(() => {
  "use strict";
  const space = window.GemmaSpace;
  const { node, button, store, transfer } = space;

  const PATIENCE_MS = 5000;
  const STOP_EVERY_MS = 150;

  let list = null;
  let message = null;
  let renaming = "";
  let deleting = "";

  const say = (text, isProblem) => {
    message.textContent = text;
    message.classList.toggle("problem", Boolean(isProblem));
  };

  // What the page shows. Its messages are the page's to change; it hands them to `keep`.
  let current = null;
  let replying = false;
  let lastStamp = 0; // microseconds
  const waiting = new Set(); // called when the reply on its way has ended
  let opening = 0; // the newest wish to open something wins
  let show = null; // fires the list's event, for the page to show a conversation

  // Handed over by the page whenever the conversation has changed.
  const keep = (text) => {
    if (!text) return;
    const { id, since, messages, replying: still, stamp } = JSON.parse(text);
    if (stamp < lastStamp) return; // overtaken on its way
    if (since && (id !== current.id || current.messages.length < since)) return; // left meanwhile
    lastStamp = stamp;
    replying = still;
    const target = id === current.id ? current : store.read(id) ?? { ...store.create(), id };
    target.messages = [...target.messages.slice(0, since), ...messages];
    if (target.messages.length) store.write(target);
    else store.remove(id); // everything was undone
    // A message sent in the moment of leaving: the page went back to it, and so does the list.
    if (still) { current = target; store.rememberOpen(id); }
    draw();
    if (!still) waiting.forEach((over) => over());
  };

  const system = (text) => {
    if (!current || current.system_prompt === (text ?? "")) return;
    current.system_prompt = text ?? "";
    if (current.messages.length) store.write(current);
  };

  // A reply on its way belongs to the conversation on screen, so it ends before that is left.
  const stopReply = () => new Promise((resolve) => {
    if (!replying) { resolve(); return; }
    const press = () => document.querySelector("#message .stop-button")?.click();
    const pressing = setInterval(press, STOP_EVERY_MS); // the reply may be about to begin
    const over = () => {
      clearInterval(pressing);
      waiting.delete(over);
      resolve();
    };
    waiting.add(over);
    setTimeout(over, PATIENCE_MS); // a server that is gone never answers
    press();
  });

  const open = async (conversation) => {
    opening += 1;
    const mine = opening;
    await stopReply();
    if (mine !== opening) return;
    current = store.read(conversation.id) ?? conversation;
    store.rememberOpen(current.id);
    replying = false;
    draw();
    show(current);
  };

  const rename = (conversation, title) => {
    renaming = "";
    const target = conversation.id === current.id ? current : store.read(conversation.id);
    if (target && title.trim()) {
      target.title = title.trim().slice(0, 120);
      store.write(target);
    }
    draw();
  };

  const remove = async (conversation) => {
    deleting = "";
    const wasOpen = conversation.id === current.id;
    if (wasOpen) await stopReply();
    store.remove(conversation.id);
    if (wasOpen) await open(store.list()[0] ?? store.create());
    draw();
  };

  const renameRow = (conversation) => {
    const box = node("input", "rename-box");
    box.value = store.titleOf(conversation);
    box.setAttribute("aria-label", "New title");
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter") rename(conversation, box.value);
      if (event.key === "Escape") { renaming = ""; draw(); }
    });
    box.addEventListener("blur", () => { if (renaming === conversation.id) rename(conversation, box.value); });
    requestAnimationFrame(() => { box.focus(); box.select(); });
    return node("li", "conversation", box);
  };

  const deleteRow = (conversation) => {
    const sure = button({ text: "Delete", className: "pill danger", action: () => remove(conversation) });
    const keep = button({ text: "Keep", className: "pill", action: () => { deleting = ""; draw(); } });
    requestAnimationFrame(() => keep.focus());
    return node("li", "conversation deleting",
      node("span", "title", `Delete “${store.titleOf(conversation)}”?`), node("span", "row-buttons", sure, keep));
  };

  const row = (conversation, isOpen) => {
    if (renaming === conversation.id) return renameRow(conversation);
    if (deleting === conversation.id) return deleteRow(conversation);
    const title = store.titleOf(conversation);
    const opener = button({ text: title, className: "title", action: () => {
      if (!isOpen) open(conversation);
      space.closeSidebarOnPhone();
    } });
    if (isOpen) opener.setAttribute("aria-current", "true");
    const made = node("li", `conversation${isOpen ? " open" : ""}`, opener,
      button({ label: `Rename “${title}”`, iconName: "edit", className: "icon-button", action: () => { renaming = conversation.id; draw(); } }),
      button({ label: `Delete “${title}”`, iconName: "trash", className: "icon-button", action: () => { deleting = conversation.id; draw(); } }));
    made.classList.toggle("busy", replying && isOpen);
    return made;
  };

  const draw = () => {
    if (!list || !current) return;
    const kept = store.list();
    const all = kept.some((one) => one.id === current.id) ? kept : [current, ...kept];
    list.replaceChildren(...all.map((one) => row(one, one.id === current.id)));
  };

  const startNew = async () => {
    say("");
    if (current.messages.length) await open(store.create());
    space.closeSidebarOnPhone();
    document.querySelector("#message textarea")?.focus();
  };

  const importFile = async (input) => {
    const [file] = input.files;
    input.value = ""; // the same file may be chosen again
    if (!file) return;
    try {
      const conversation = await transfer.importFile(file);
      store.write(conversation);
      await open(conversation);
      say(`Imported “${store.titleOf(conversation)}”.`);
    } catch (error) {
      say(error instanceof transfer.ImportProblem ? error.message : "This file could not be read.", true);
    }
  };

  const exportAs = (write) => {
    if (!current.messages.length) { say("This conversation is empty: nothing to export yet.", true); return; }
    write(current);
    say("");
  };

  const mount = (element, trigger) => {
    show = (conversation) => trigger("select", conversation);
    const file = node("input", "visually-hidden");
    file.type = "file";
    file.accept = ".json,application/json";
    file.tabIndex = -1;
    file.setAttribute("aria-label", "Conversation file");
    file.addEventListener("change", () => importFile(file));
    list = node("ul", "conversations");
    list.setAttribute("aria-label", "Conversations");
    message = node("p", "conversations-message");
    message.setAttribute("role", "status");
    element.replaceChildren(
      button({ text: "New conversation", iconName: "plus", className: "pill new-conversation", action: startNew }),
      list,
      node("div", "transfer-buttons",
        button({ text: "Export JSON", className: "link-button", action: () => exportAs(transfer.exportJson) }),
        button({ text: "Export Markdown", className: "link-button", action: () => exportAs(transfer.exportMarkdown) }),
        button({ text: "Import", className: "link-button", action: () => file.click() }), file),
      message,
      node("p", "hint", "Conversations are kept in this browser only; the server keeps none."));
    store.onWarning = (text) => say(text, true);
    store.onOtherTab((id) => {
      if (id === current.id && !replying && store.read(id)) open(current);
      else draw();
    });
    open(store.read(store.openId()) ?? store.list()[0] ?? store.create());
  };

  space.conversations = { mount, keep, system };
})();

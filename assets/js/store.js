// Conversations in this browser: one localStorage entry each, so two tabs never overwrite
// each other's. Knows the shape of a conversation and nothing of how it is shown.
(() => {
  "use strict";
  const space = window.GemmaSpace;
  const PREFIX = "gemma-space:conversation:";
  const OPEN = "gemma-space:open";
  const TITLE_LENGTH = 48;

  const isMessage = (value) =>
    value && (value.role === "user" || value.role === "assistant") && typeof value.content === "string";

  const parse = (text) => {
    try {
      const value = JSON.parse(text);
      const sound = value && typeof value.id === "string" && typeof value.title === "string" &&
        typeof value.system_prompt === "string" && Number.isFinite(value.updated) &&
        Array.isArray(value.messages) && value.messages.every(isMessage);
      return sound ? value : null;
    } catch {
      return null; // not ours, or damaged: left alone, not shown
    }
  };

  const storage = (name) => {
    try { return window[name]; } catch { return null; } // blocked by the browser's settings
  };

  // What to do when a conversation cannot be kept; the sidebar sets it.
  const warn = (text) => space.store.onWarning?.(text);

  space.store = {
    onWarning: null,

    create() {
      const now = Date.now();
      const id = `${now.toString(36)}-${Math.random().toString(36).slice(2, 10)}`;
      return { version: 1, id, title: "", created: now, updated: now, system_prompt: "", messages: [] };
    },

    // The title a person gave, or the first words they wrote.
    titleOf(conversation) {
      if (conversation.title) return conversation.title;
      const first = conversation.messages.find((message) => message.role === "user")?.content ?? "";
      const words = first.trim().replace(/\s+/g, " ");
      if (!words) return "New conversation";
      return words.length > TITLE_LENGTH ? `${words.slice(0, TITLE_LENGTH).trimEnd()}…` : words;
    },

    // Newest first.
    list() {
      const local = storage("localStorage");
      if (!local) return [];
      const keys = Array.from({ length: local.length }, (_, index) => local.key(index));
      return keys.filter((key) => key.startsWith(PREFIX))
        .map((key) => parse(local.getItem(key))).filter(Boolean)
        .sort((one, other) => other.updated - one.updated);
    },

    read(id) {
      return parse(storage("localStorage")?.getItem(PREFIX + id) ?? "");
    },

    write(conversation) {
      conversation.updated = Date.now();
      try {
        storage("localStorage").setItem(PREFIX + conversation.id, JSON.stringify(conversation));
      } catch {
        warn("This browser cannot keep the conversation: its storage is full or switched off. " +
          "Export it, or delete older conversations.");
      }
    },

    remove(id) {
      storage("localStorage")?.removeItem(PREFIX + id);
    },

    // Which conversation this tab shows; another tab may show another.
    openId: () => storage("sessionStorage")?.getItem(OPEN) ?? "",
    rememberOpen(id) {
      try { storage("sessionStorage")?.setItem(OPEN, id); } catch { /* only a convenience */ }
    },

    // Tell `callback(id)` when another tab has changed a conversation.
    onOtherTab(callback) {
      window.addEventListener("storage", (event) => {
        if (event.key === null) callback("");
        else if (event.key.startsWith(PREFIX)) callback(event.key.slice(PREFIX.length));
      });
    },
  };
})();

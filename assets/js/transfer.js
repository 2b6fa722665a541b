// Conversations as files: out as JSON or Markdown, in as JSON of this app or of OpenAI's shape.
// Trusts nothing that it reads; what is wrong comes back as a sentence.
(() => {
  "use strict";
  const space = window.GemmaSpace;
  const FORMAT = "gemma-space-conversation";
  const MAX_BYTES = 5_000_000;
  const MAX_MESSAGES = 2000;
  const MAX_FACT = 4000;
  const IMPORTED = { title: "Imported", log: "", detail: "" };

  class ImportProblem extends Error {}

  const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

  const contentOf = (value, where) => {
    if (typeof value === "string") return value;
    const parts = Array.isArray(value) ? value : null;
    if (parts?.every((part) => isObject(part) && part.type === "text" && typeof part.text === "string")) {
      return parts.map((part) => part.text).join("");
    }
    throw new ImportProblem(`${where} has no text in “content”. Only text messages can be imported.`);
  };

  // What a reply was made from: small facts only. The page looks closer before it trusts them.
  const recordOf = (value) => {
    if (!isObject(value)) return undefined;
    const facts = Object.entries(value).slice(0, 20).filter(([name, fact]) => name.length <= 40 &&
      (fact === null || ["boolean", "number"].includes(typeof fact) ||
        (typeof fact === "string" && fact.length <= MAX_FACT)));
    return Object.fromEntries(facts);
  };

  // Only known fields of known types; anything else about a reply is left behind.
  const footerOf = (value) => {
    if (!isObject(value)) return undefined;
    const text = (name) => (typeof value[name] === "string" ? value[name].slice(0, 1000) : "");
    const footer = { title: text("title"), log: text("log"), detail: text("detail") };
    const record = recordOf(value.record);
    return record ? { ...footer, record } : footer;
  };

  const messagesOf = (list) => {
    const system = [];
    const messages = [];
    list.forEach((item, index) => {
      const where = `Message ${index + 1}`;
      if (!isObject(item)) throw new ImportProblem(`${where} is not an object with “role” and “content”.`);
      const content = contentOf(item.content, where);
      if (item.role === "system" || item.role === "developer") system.push(content);
      else if (item.role === "user") messages.push({ role: "user", content });
      else if (item.role === "assistant" || item.role === "model") {
        messages.push({ role: "assistant", content, footer: footerOf(item.footer) ?? IMPORTED });
      } else throw new ImportProblem(`${where} has the role “${String(item.role).slice(0, 30)}”; known are system, user and assistant.`);
    });
    return { system: system.join("\n\n"), messages };
  };

  const fromJson = (text) => {
    let value;
    try { value = JSON.parse(text); } catch {
      throw new ImportProblem("This file is not JSON. Choose a conversation exported here, or a list of messages.");
    }
    const list = Array.isArray(value) ? value : isObject(value) ? value.messages : null;
    if (!Array.isArray(list)) {
      throw new ImportProblem("This JSON holds no list of messages. Expected {“messages”: […]} or a list of {“role”, “content”}.");
    }
    if (isObject(value) && value.format === FORMAT && value.version !== 1) {
      throw new ImportProblem("This file was made by a newer version of Gemma Space and cannot be read here.");
    }
    if (list.length === 0) throw new ImportProblem("This conversation has no messages.");
    if (list.length > MAX_MESSAGES) throw new ImportProblem(`This conversation has more than ${MAX_MESSAGES} messages; that is too many.`);
    const { system, messages } = messagesOf(list);
    const named = isObject(value) ? value : {};
    const conversation = space.store.create();
    conversation.title = typeof named.title === "string" ? named.title.trim().slice(0, 120) : "";
    conversation.system_prompt = typeof named.system_prompt === "string" ? named.system_prompt : system;
    conversation.messages = messages;
    return conversation;
  };

  const toJson = (conversation) => JSON.stringify({
    format: FORMAT, version: 1, title: space.store.titleOf(conversation),
    created: conversation.created, updated: conversation.updated,
    system_prompt: conversation.system_prompt, messages: conversation.messages,
  }, null, 2);

  const toMarkdown = (conversation) => {
    const parts = [`# ${space.store.titleOf(conversation)}`];
    if (conversation.system_prompt) parts.push(`## System prompt\n\n${conversation.system_prompt}`);
    for (const { role, content, footer } of conversation.messages) {
      const name = role === "user" ? "You" : "Gemma";
      const line = [footer?.title, footer?.log].filter(Boolean).join(" · ");
      parts.push(`## ${name}\n\n${content}${line ? `\n\n*${line}*` : ""}`);
    }
    return `${parts.join("\n\n")}\n`;
  };

  const download = (name, type, text) => {
    const anchor = document.createElement("a");
    anchor.href = URL.createObjectURL(new Blob([text], { type }));
    anchor.download = name;
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(anchor.href), 10_000);
  };

  const fileName = (conversation, ending) => {
    const stem = space.store.titleOf(conversation).normalize("NFKD").replace(/[^\w]+/g, "-")
      .replace(/^-+|-+$/g, "").slice(0, 40).toLowerCase();
    return `${stem || "conversation"}.${ending}`;
  };

  space.transfer = {
    ImportProblem,
    download,
    fromJson,
    exportJson: (conversation) =>
      download(fileName(conversation, "json"), "application/json", toJson(conversation)),
    exportMarkdown: (conversation) =>
      download(fileName(conversation, "md"), "text/markdown", toMarkdown(conversation)),
    async importFile(file) {
      if (file.size > MAX_BYTES) throw new ImportProblem("This file is larger than 5 MB; that is too large for a conversation.");
      return fromJson(await file.text());
    },
  };
})();

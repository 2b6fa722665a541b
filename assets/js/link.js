// Links to a prompt: what the address carries is handed to the page once, and new links are copied.
// Reads and writes addresses only; what a link says, the server checks. Runs nothing.
(() => {
  "use strict";
  const space = window.GemmaSpace;
  const { node } = space;
  const COPIED = "Link copied.";
  const BY_HAND = "This browser does not let the page copy. Copy the link from this box:";

  let status = null; // where it is said what became of the link
  let last = ""; // the newest request to copy

  // The part of the address that never left the browser.
  const carried = () => new URLSearchParams(location.hash.slice(1)).get("run");

  // Gone from the address bar afterwards: a reload must not overwrite what was typed since.
  const open = (trigger) => {
    const run = carried();
    if (run === null) return;
    history.replaceState(history.state, "", location.pathname + location.search);
    trigger("select", { run });
  };

  const mount = (trigger) => {
    // A link pasted into this tab's address bar changes the fragment and loads nothing.
    window.addEventListener("hashchange", () => open(trigger));
    open(trigger);
  };

  // This page's own address, also inside a Space's frame. What follows a `?` may be somebody's
  // sign-in, and is left out.
  const absolute = (fragment) => `${location.origin}${location.pathname}${fragment}`;

  // The old way, which works on plain http too.
  const copyOldWay = (text) => {
    const box = node("textarea", "visually-hidden");
    box.value = text;
    box.readOnly = true; // no keyboard slides in on a phone
    const focused = document.activeElement;
    document.body.append(box);
    box.focus({ preventScroll: true });
    box.select();
    let done = false;
    try { done = document.execCommand("copy"); } catch { /* not allowed here either */ }
    box.remove();
    focused?.focus({ preventScroll: true });
    return done;
  };

  const copied = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return copyOldWay(text); // no clipboard on plain http, in some frames, or without leave
    }
  };

  const say = (words, ...more) => {
    if (!status) return;
    status.words.textContent = words;
    status.rest.replaceChildren(...more);
  };

  const boxWith = (url) => {
    const box = node("input", "link-box");
    box.value = url;
    box.readOnly = true;
    box.setAttribute("aria-label", "Link to this prompt");
    box.addEventListener("focus", () => box.select());
    return box;
  };

  const copy = async (fragment) => {
    const url = absolute(fragment);
    say(""); // so that the same words are spoken again
    if (await copied(url)) { say(COPIED); return; }
    const box = boxWith(url);
    say(BY_HAND, box);
    box.focus();
  };

  // From the server: a fragment, or why there is none; and a stamp, so that each is a change.
  const made = (text) => {
    if (!text || text === last) return;
    last = text;
    const { fragment, problem } = JSON.parse(text);
    if (fragment) copy(fragment);
    else say(problem);
  };

  const place = (element) => {
    const words = node("p", "hint link-status");
    words.setAttribute("role", "status");
    const rest = node("div");
    status = { words, rest };
    element.replaceChildren(words, rest);
  };

  space.link = { copied, copy, made, mount, place };
})();

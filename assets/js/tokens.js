// The token views: moving from token to token, the tip beside one, selecting, what to colour by.
// Words, colours and classes come from the server; nothing here knows a probability.
(() => {
  "use strict";
  const space = window.GemmaSpace;
  const TOKEN = "[role=option]";
  const MARGIN = 8;

  // ------------------------------------------------------------------- the tip

  let tip = null;
  let told = null; // the token it is about

  const hideTip = () => tip?.remove();

  const placeTip = () => {
    if (!tip?.isConnected) return;
    const at = told.getClientRects()[0];
    const frame = told.parentElement?.getBoundingClientRect();
    if (!at || at.bottom < frame.top || at.top > frame.bottom) return hideTip();
    const most = document.documentElement.clientWidth - tip.offsetWidth - MARGIN;
    const above = at.top - tip.offsetHeight - MARGIN / 2;
    tip.style.left = `${Math.max(MARGIN, Math.min(most, at.left))}px`;
    tip.style.top = `${above > MARGIN ? above : at.bottom + MARGIN / 2}px`;
  };

  const showTip = (token) => {
    tip ??= space.node("div", "token-tip");
    tip.setAttribute("aria-hidden", "true"); // the token's own name says the same
    tip.textContent = token.getAttribute("aria-label");
    told = token;
    (token.closest(".gradio-container") ?? document.body).append(tip);
    placeTip();
  };

  const checkTip = () => {
    if (told?.getAttribute("aria-label") === tip?.textContent) placeTip();
    else hideTip();
  };

  window.addEventListener("scroll", placeTip, { capture: true, passive: true });

  // --------------------------------------------------------------- from token to token

  const lineOf = (token) => token.getClientRects()[0];
  const middle = (box) => box.left + box.width / 2;

  // The token of the next line, up or down, that is nearest to straight above or below.
  const across = (tokens, from, step) => {
    const here = lineOf(tokens[from]);
    let best = null, line = null, least = Infinity;
    for (let at = from + step; tokens[at]; at += step) {
      const box = lineOf(tokens[at]);
      if (line === null && Math.abs(box.top - here.top) < here.height / 2) continue;
      line ??= box.top;
      if (Math.abs(box.top - line) >= here.height / 2) break;
      const distance = Math.abs(middle(box) - middle(here));
      if (distance < least) [best, least] = [tokens[at], distance];
    }
    return best;
  };

  const MOVES = {
    ArrowLeft: (tokens, from) => tokens[from - 1],
    ArrowRight: (tokens, from) => tokens[from + 1],
    ArrowUp: (tokens, from) => across(tokens, from, -1),
    ArrowDown: (tokens, from) => across(tokens, from, 1),
    Home: (tokens) => tokens[0],
    End: (tokens) => tokens.at(-1),
  };

  // ------------------------------------------------------------------ one text

  // Gradio takes away what a script set whenever the text grows; `refresh` puts it back.
  const mount = (element, trigger) => {
    let stop = 0;
    let chosen = null; // index and name: another text has other tokens

    const all = () => [...element.querySelectorAll(TOKEN)];

    // The whole text is one stop of the Tab key; arrows move inside it.
    const stopAt = (token, tokens) => {
      for (const old of element.querySelectorAll(`${TOKEN}[tabindex="0"]`)) old.tabIndex = -1;
      token.tabIndex = 0;
      stop = tokens.indexOf(token);
    };

    const select = (token) => {
      const tokens = all();
      stopAt(token, tokens);
      token.focus({ preventScroll: true });
      chosen = { index: stop, name: token.getAttribute("aria-label") };
      mark(tokens);
      trigger("select", { token: stop });
    };

    const mark = (tokens) => {
      element.querySelector(`${TOKEN}[aria-selected]`)?.removeAttribute("aria-selected");
      if (!chosen) return;
      const token = tokens[chosen.index];
      if (token?.getAttribute("aria-label") === chosen.name) token.setAttribute("aria-selected", "true");
      else chosen = null;
    };

    const colour = (by) => {
      element.dataset.colouring = by;
      for (const button of element.querySelectorAll("button[data-colouring]")) {
        button.setAttribute("aria-pressed", button.dataset.colouring === by);
      }
    };

    const refresh = () => {
      const tokens = all();
      colour(element.dataset.colouring ?? "probability");
      mark(tokens);
      if (!tokens.length) stop = 0;
      else stopAt(tokens[stop] ?? tokens[0], tokens);
      checkTip();
    };

    element.addEventListener("click", (event) => {
      const token = event.target.closest(TOKEN);
      const by = event.target.closest("button[data-colouring]")?.dataset.colouring;
      if (token) select(token);
      if (by) colour(by);
    });
    element.addEventListener("keydown", (event) => {
      if (event.key === "Escape") hideTip();
      const token = event.target.closest(TOKEN);
      if (!token || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        select(token);
      }
      if (!(event.key in MOVES)) return;
      event.preventDefault();
      const tokens = all();
      const next = MOVES[event.key](tokens, tokens.indexOf(token));
      if (!next) return;
      stopAt(next, tokens);
      next.focus();
    });
    for (const [name, act] of [["mouseover", showTip], ["focusin", showTip], ["mouseout", hideTip], ["focusout", hideTip]]) {
      element.addEventListener(name, (event) => {
        const token = event.target.closest(TOKEN);
        if (token) act(token);
      });
    }
    refresh();
    return refresh;
  };

  // ---------------------------------------------------------------- alternatives

  const offer = (element, trigger) => element.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-alternative]");
    if (!button) return;
    const token = Number(button.closest("[data-token]").dataset.token);
    trigger("select", { token, alternative: Number(button.dataset.alternative) });
    // The button is about to go: who came by keyboard goes on from the results it stood in.
    element.closest(".tabs")?.querySelector("[role=tab]")?.focus({ preventScroll: true });
  });

  space.tokens = { mount, offer };
})();

// What the pages do with a script: they show changes as they happen, and copy a text. Without it they show
// the same.
"use strict";
(() => {
  const main = document.getElementById("main");
  const say = (text) => {
    const note = document.getElementById("live");
    if (note && note.textContent !== text) note.textContent = text;
  };

  // copy puts a text on the clipboard. Without HTTPS a browser has no clipboard for scripts: then the text is
  // selected, and the browser is asked to copy the selection.
  const copy = async (from) => {
    if (navigator.clipboard) {
      try {
        await navigator.clipboard.writeText(from.textContent);
        return true;
      } catch { /* it may be forbidden */ }
    }
    getSelection().selectAllChildren(from);
    return document.execCommand("copy");
  };

  // The buttons are hidden as long as there is no script for them.
  const prepare = () => {
    for (const button of main.querySelectorAll("button[data-copy]")) button.hidden = false;
  };
  main.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    const done = await copy(document.getElementById(button.dataset.copy));
    const text = button.dataset.text ??= button.textContent;
    button.textContent = done ? "Copied" : "Selected: copy it";
    setTimeout(() => { button.textContent = text; }, 2000);
  });
  prepare();

  // A search among very many accounts goes on by itself as long as it has found nothing.
  const next = main.querySelector("a[data-search]");
  if (next) location.replace(next.href);

  if (!main.dataset.live || !window.EventSource) return;

  // selectorOf returns a selector that finds an element which can have the focus.
  const selectorOf = (element) => {
    if (element.tagName === "SUMMARY") return `#${CSS.escape(element.parentElement.id)} > summary`;
    if (element.dataset.copy) return `button[data-copy="${CSS.escape(element.dataset.copy)}"]`;
    return element.id ? `#${CSS.escape(element.id)}` : `a[href="${CSS.escape(element.getAttribute("href"))}"]`;
  };

  // exchange shows what the page says now. What is open stays open, and the focus stays where it is.
  const exchange = (page) => {
    const next = page.getElementById("main");
    const had = document.activeElement;
    const open = [...main.querySelectorAll("details[open][id]")].map((d) => d.id);
    const find = had && had !== main && main.contains(had) && selectorOf(had);
    main.dataset.live = next.dataset.live ?? main.dataset.live;
    main.replaceChildren(...next.childNodes);
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    document.querySelector("footer").replaceWith(page.querySelector("footer"));
    document.title = page.title;
    prepare();
    if (find) main.querySelector(find)?.focus({ preventScroll: true });
  };

  const firstDelay = 1000, maxDelay = 60000; // milliseconds
  let events = null; // the stream of changes
  let timer = 0, delay = firstDelay; // until the next try, if the server can't be reached
  let isStale = false, isLoading = false;
  const load = async () => {
    isStale = true;
    // A text that is being selected would be lost.
    if (isLoading || !events || !getSelection().isCollapsed) return;
    isLoading = true;
    isStale = false;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.status === 503) throw answer; // there are too many requests: it is asked for again
      exchange(new DOMParser().parseFromString(await answer.text(), "text/html"));
      say(answer.ok ? " · live" : "");
    } catch {
      isStale = true;
    } finally {
      isLoading = false;
    }
  };

  // A browser has few connections to one server, so only a page that is seen keeps one.
  const follow = () => {
    if (document.hidden || events) return;
    events = new EventSource(main.dataset.live);
    events.addEventListener("open", () => {
      delay = firstDelay;
      say(" · live");
    });
    events.addEventListener("changed", load);
    events.addEventListener("error", () => {
      say(" · not live");
      // The browser would try again every few seconds, and so would all others at the same time.
      rest();
      timer = setTimeout(follow, delay * (0.5 + Math.random()));
      delay = Math.min(2 * delay, maxDelay);
    });
  };
  const rest = () => {
    clearTimeout(timer);
    events?.close();
    events = null;
  };
  document.addEventListener("visibilitychange", () => { document.hidden ? rest() : follow(); });
  addEventListener("pagehide", rest);
  addEventListener("pageshow", follow);
  setInterval(() => { if (isStale) load(); }, 2000);
  follow();
})();

/** The same request as a program, in tabs. */

import { byId, copy, h, toast } from "./dom.js";
import { LANGUAGES, snippet } from "./snippets.js";

const KEPT = "unspool.language";

/** Fills the tabs; returns `show(request)`, which writes the programs anew. */
export function requestTabs() {
  let chosen = LANGUAGES.includes(sessionStorage.getItem(KEPT)) ? sessionStorage.getItem(KEPT) : LANGUAGES[0];
  let request = null;
  const code = byId("code");
  const tabs = LANGUAGES.map((language) =>
    h("button", { type: "button", role: "tab", class: "tab", id: `tab-${language}`, "aria-controls": "code", text: language, on: { click: () => choose(language) } }),
  );
  const draw = () => {
    if (request !== null) code.firstChild.textContent = snippet(chosen, request);
  };
  const choose = (language) => {
    chosen = language;
    sessionStorage.setItem(KEPT, language);
    for (const [index, tab] of tabs.entries()) {
      const selected = LANGUAGES[index] === language;
      tab.setAttribute("aria-selected", String(selected));
      tab.tabIndex = selected ? 0 : -1;
      if (selected) code.setAttribute("aria-labelledby", tab.id);
    }
    draw();
  };
  byId("tabs").replaceChildren(...tabs);
  byId("tabs").addEventListener("keydown", (event) => {
    const next = nextTab(event.key, LANGUAGES.indexOf(chosen), tabs.length);
    if (next === null) return;
    event.preventDefault();
    choose(LANGUAGES[next]);
    tabs[next].focus();
  });
  byId("copy").addEventListener("click", async () => {
    toast((await copy(code.textContent)) ? `Copied the ${chosen} program.` : "This browser does not let pages copy; select the text.");
  });
  choose(chosen);
  return {
    show(given) {
      request = given;
      draw();
    },
  };
}

function nextTab(key, at, count) {
  switch (key) {
    case "ArrowRight":
      return (at + 1) % count;
    case "ArrowLeft":
      return (at + count - 1) % count;
    case "Home":
      return 0;
    case "End":
      return count - 1;
    default:
      return null;
  }
}

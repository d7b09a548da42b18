/** The list of predictions: newest first, page by page. */

import { byId, h, say, show } from "./dom.js";
import { age, number, shorten } from "./format.js";
import { predictionAddress } from "./router.js";

const PAGE_SIZE = 15;
const LOOK_AGAIN_MS = 10_000;

/**
 * @param {function(object): Promise<{items: object[], total: number, has_more: boolean}>} list asks the server
 * @returns `refresh()`, `mark(id)` for the one that is looked at, and `inputsOf(id)` if the list had them
 */
export function historyList(list) {
  let page = 1;
  let marked = null;
  let asked = 0;
  const known = new Map();
  const status = byId("history-status");

  const refresh = async () => {
    const mine = ++asked;
    const wanted = { page, page_size: PAGE_SIZE, include_inputs: true, ...(status.value ? { status: status.value } : {}) };
    const found = await list(wanted);
    if (mine !== asked || found === null) return;
    for (const one of found.items) known.set(one.id, one);
    draw(found);
  };
  const draw = ({ items, total, has_more: hasMore }) => {
    const shown = items.length ? items.map(entry) : [h("li", { class: "hint", text: status.value ? `None is ${status.value}.` : "None yet. Choose a model and run it." })];
    const focused = document.activeElement?.closest?.("#history a")?.dataset.id;
    byId("history").replaceChildren(...shown);
    if (focused) byId("history").querySelector(`a[data-id="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    show(byId("pager"), total > PAGE_SIZE);
    say(byId("pages"), `${page} of ${number(Math.max(1, Math.ceil(total / PAGE_SIZE)))}`);
    byId("newer").disabled = page === 1;
    byId("older").disabled = !hasMore;
    mark(marked);
  };
  const mark = (id) => {
    marked = id;
    for (const link of byId("history").querySelectorAll("a")) {
      if (link.dataset.id === id) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  };
  const turn = (by) => {
    page += by;
    refresh();
  };
  byId("newer").addEventListener("click", () => turn(-1));
  byId("older").addEventListener("click", () => turn(1));
  status.addEventListener("change", () => {
    page = 1;
    refresh();
  });
  setInterval(() => {
    for (const time of byId("history").querySelectorAll("time")) say(time, age(time.dateTime));
    const goesOn = byId("history").querySelector('.state:is([data-status="created"], [data-status="processing"])') !== null;
    if (goesOn && !document.hidden && navigator.onLine) refresh();
  }, LOOK_AGAIN_MS);

  return {
    refresh,
    mark,
    inputsOf: (id) => known.get(id)?.input ?? known.get(id)?.inputs,
    /** Shows the status of one that is watched without asking the server. */
    setStatus(id, text) {
      const word = byId("history").querySelector(`a[data-id="${CSS.escape(id)}"] .state`);
      if (word === null || word.dataset.status === text) return;
      word.dataset.status = text;
      say(word, text);
    },
  };
}

function entry(one) {
  const inputs = one.input ?? one.inputs ?? {};
  const words = inputs.prompt ?? inputs.text ?? Object.values(inputs).find((value) => typeof value === "string") ?? "";
  return h(
    "li",
    {},
    h(
      "a",
      { href: predictionAddress(one.id), "data-id": one.id },
      h("span", { class: "entry-model", text: one.model }),
      h("span", { class: "entry-words", text: shorten(words) || one.id.slice(0, 8) }),
      h("span", { class: "entry-foot" }, h("span", { class: "state", "data-status": one.status, text: one.status }), h("time", { datetime: one.created_at, text: age(one.created_at) })),
    ),
  );
}

/** The log and the event timeline of a run: long, so only their ends are in the document, and only while they are open. */

import { h, say, show } from "./dom.js";
import { number } from "./format.js";
import { summary } from "./run_state.js";

const ROWS = 250;
const LINES = 500;
const SUMMARY_LENGTH = 300;
const LEVELS = ["debug", "info", "warning", "error"];

/** A folded list that grows at its end. `render(item)` makes the element of one item. */
function growing({ name, most, place, render, head = null }) {
  const count = h("span", { class: "count" });
  const note = h("p", { class: "hint", props: { hidden: true } });
  const scroller = h("div", { class: "scrolling tall", tabindex: 0 }, place.outer);
  const element = h("details", { class: "fold", "aria-label": name }, h("summary", {}, name, count), head, note, scroller);
  let drawn = 0;

  const draw = (items, total, anew = false) => {
    say(count, total ? number(total) : "");
    if (!element.open) return;
    const first = total - items.length;
    const from = Math.max(anew ? 0 : drawn, first, total - most);
    const atEnd = scroller.scrollTop + scroller.clientHeight >= scroller.scrollHeight - 24;
    if (anew) place.inner.replaceChildren();
    const added = items.slice(from - first).map(render);
    if (added.length) place.inner.append(...added);
    while (place.inner.children.length > most) place.inner.firstElementChild.remove();
    drawn = total;
    say(note, `The last ${number(most)} of ${number(total)} are shown.`);
    show(note, total > most);
    if (atEnd && added.length) scroller.scrollTop = scroller.scrollHeight;
  };
  return { element, draw };
}

/** The log, with a choice of the least level that is shown. */
export function logFold() {
  const body = h("div", { class: "lines" });
  const level = h("select", { title: "Least level", "aria-label": "Least level" }, ...LEVELS.map((one) => h("option", { text: one })));
  const head = h("div", { class: "fold-head" }, level);
  const list = growing({ name: "Log", most: LINES, place: { outer: body, inner: body }, render: line, head });
  let last = [[], 0];
  level.addEventListener("change", () => (body.dataset.least = level.value));
  list.element.addEventListener("toggle", () => list.draw(...last, true));
  return {
    element: list.element,
    draw(lines, total, anew) {
      last = [lines, total];
      list.draw(lines, total, anew);
    },
  };
}

function line({ level, message, timestamp }) {
  const time = typeof timestamp === "string" ? timestamp.slice(11, 23) : "";
  return h("div", { class: "line", "data-level": level }, h("time", { datetime: timestamp, text: time }), h("span", { class: "level", text: level }), h("span", { class: "words", text: message }));
}

/** The events, each with its cursor. */
export function eventFold() {
  const body = h("tbody");
  const table = h(
    "table",
    { class: "events" },
    h("thead", {}, h("tr", {}, ...["cursor", "seen", "type", "what it says"].map((text) => h("th", { scope: "col", text })))),
    body,
  );
  const list = growing({ name: "Events", most: ROWS, place: { outer: table, inner: body }, render: row });
  let last = [[], 0];
  list.element.addEventListener("toggle", () => list.draw(...last, true));
  return {
    element: list.element,
    draw(events, total, anew) {
      last = [events, total];
      list.draw(events, total, anew);
    },
  };
}

function row({ at, event }) {
  const said = summary(event);
  const short = said.length > SUMMARY_LENGTH ? `${said.slice(0, SUMMARY_LENGTH)}…` : said;
  return h(
    "tr",
    { "data-type": event.type },
    h("td", { class: "cursor", text: event.cursor ?? "" }),
    h("td", { class: "seen", text: new Date(at).toTimeString().slice(0, 8) }),
    h("td", {}, h("span", { class: "type", text: event.type })),
    h("td", { class: "said", text: short }),
  );
}

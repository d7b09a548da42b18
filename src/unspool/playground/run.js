/** The region "Run": follows one prediction and draws what is known of it, once per frame at most. */

import { base, watchConnection } from "./api.js";
import { copy, h, say, show, toast } from "./dom.js";
import { duration, number } from "./format.js";
import { fileOf } from "./media.js";
import { outputsView } from "./outputs.js";
import { predictionAddress } from "./router.js";
import { begin, hasEnded, secondsLeft, take } from "./run_state.js";
import { eventFold, logFold } from "./timeline.js";

/** So long a connection may be away before it is worth a word. */
const LOST_AFTER_MS = 700;
const COUNTDOWN_MS = 1000;

/**
 * @param {HTMLElement} place the region
 * @param {{cancel: function(string): Promise<void>, changed: function(object): void}} actions `changed` is called
 *   with the state whenever the status or the percentage is another one
 */
export function runView(place, actions) {
  const parts = makeParts();
  place.replaceChildren(...parts.all);
  const outputs = outputsView(parts.output, base);
  const view = { state: begin(""), connection: "live", lostAt: 0, token: null, drawnTake: 0, cancelling: false };
  let waiting = false;
  let watching = null;

  const soon = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw(parts, outputs, view);
    });
  };
  watchConnection((connection) => {
    view.connection = connection;
    if (connection === "lost") view.lostAt ||= performance.now();
    else view.lostAt = 0;
    soon();
  });
  setInterval(() => !hasEnded(view.state.status) && !place.hidden && soon(), COUNTDOWN_MS);

  const stop = () => {
    watching?.abort();
    watching = null;
  };
  parts.cancel.addEventListener("click", async () => {
    view.cancelling = true;
    soon();
    await actions.cancel(view.state.id).catch((error) => toast(error.message));
    view.cancelling = false;
    soon();
  });
  parts.link.addEventListener("click", async () => {
    const url = new URL(predictionAddress(view.state.id, view.token), base).href;
    toast((await copy(url)) ? "Copied. Whoever has the link can watch this run, without a key." : url);
  });

  return {
    stop,
    /** The one that is shown. */
    get id() {
      return place.hidden ? null : view.state.id;
    },
    hide() {
      stop();
      show(place, false);
    },

    /**
     * Shows a prediction from its beginning and on to its end.
     *
     * @param {function(AbortSignal): AsyncIterable<object>} follow its events
     * @param {{token: string|null, mayCancel: boolean}} rights
     * @returns {Promise<void>} settled when it has ended or is not watched any more
     */
    async follow(id, follow, { token, mayCancel }) {
      stop();
      watching = new AbortController();
      const { signal } = watching;
      Object.assign(view, { state: begin(id), token, mayCancel, drawnTake: 0, cancelling: false, connection: "live", lostAt: 0 });
      outputs.clear();
      parts.reset();
      parts.log.draw([], 0, true);
      parts.events.draw([], 0, true);
      show(place, true);
      soon();
      const { state } = view;
      try {
        for await (const event of follow(signal)) {
          if (signal.aborted) return;
          const before = `${state.status} ${Math.floor(state.percentage)}`;
          take(state, event, performance.now());
          if (before !== `${state.status} ${Math.floor(state.percentage)}`) actions.changed(state);
          soon();
        }
      } catch (error) {
        if (!signal.aborted) throw error;
      }
    },

    setToken(id, token) {
      if (view.state.id !== id) return;
      view.token = token;
      soon();
    },
  };
}

function makeParts() {
  const status = h("span", { class: "state", role: "status" });
  const connection = h("span", { class: "connection", "aria-live": "polite" });
  const link = h("button", { type: "button", class: "button small", text: "Copy link" });
  const cancel = h("button", { type: "button", class: "button small", text: "Cancel" });
  const bar = h("div", { class: "bar" });
  const progress = h("div", { class: "progress", role: "progressbar", "aria-label": "Progress", "aria-valuemin": 0, "aria-valuemax": 100 }, bar);
  const percent = h("span", { class: "percent" });
  const stage = h("span", { class: "stage" });
  const left = h("span", { class: "left" });
  const notice = h("p", { class: "notice", props: { hidden: true } });
  const error = h("p", { class: "run-error", props: { hidden: true } });
  const preview = h("img", { alt: "Preview" });
  const previewBox = h("div", { class: "preview", props: { hidden: true } }, preview);
  const output = h("div", { class: "output", role: "region", "aria-label": "Output", "aria-live": "polite", props: { hidden: true } });
  const facts = h("p", { class: "facts hint", props: { hidden: true } });
  const log = logFold();
  const events = eventFold();
  preview.addEventListener("error", () => show(previewBox, false));
  preview.addEventListener("load", () => show(previewBox, !previewBox.dataset.over));
  const all = [
    h("div", { class: "card-head" }, h("h2", {}, "Run ", status, connection), h("div", { class: "buttons" }, link, cancel)),
    progress,
    h("p", { class: "progress-words" }, percent, stage, left),
    notice,
    error,
    previewBox,
    output,
    facts,
    h("div", {}, log.element, events.element),
  ];
  const reset = () => {
    preview.removeAttribute("src");
    delete previewBox.dataset.over;
    for (const element of [previewBox, notice, error, output, facts]) show(element, false);
  };
  return { all, reset, status, connection, link, cancel, bar, progress, percent, stage, left, notice, error, preview, previewBox, output, facts, log, events };
}

function draw(parts, outputs, view) {
  const { state } = view;
  const ended = hasEnded(state.status);
  const anew = view.drawnTake !== state.take;
  if (anew) outputs.clear();
  view.drawnTake = state.take;
  say(parts.status, state.status);
  parts.status.dataset.status = state.status;
  drawConnection(parts, view, ended);
  drawProgress(parts, state, ended);
  drawNotice(parts, view, ended);
  drawPreview(parts, state, ended);
  drawOutputs(parts, outputs, state, ended);
  parts.log.draw(state.log, state.lines);
  parts.events.draw(state.events, state.eventCount);
  show(parts.log.element, state.lines > 0);
  show(parts.cancel, view.mayCancel && !ended);
  show(parts.link, view.token !== null);
  parts.cancel.disabled = view.cancelling;
}

function drawConnection(parts, view, ended) {
  const lost = !ended && view.connection === "lost" && performance.now() - view.lostAt > LOST_AFTER_MS;
  say(parts.connection, lost ? "reconnecting…" : "");
}

function drawProgress(parts, state, ended) {
  const whole = Math.floor(state.percentage);
  const waits = !ended && state.percentage === 0;
  parts.progress.setAttribute("aria-valuenow", String(whole));
  parts.progress.setAttribute("aria-valuetext", progressText(state, whole));
  parts.progress.dataset.status = state.status;
  parts.progress.classList.toggle("waits", waits);
  parts.bar.style.setProperty("transform", `scaleX(${state.percentage / 100})`);
  say(parts.percent, `${whole} %`);
  say(parts.stage, ended ? "" : stageText(state));
  const left = secondsLeft(state, performance.now());
  say(parts.left, ended || left === null || left < 0.5 ? "" : `${duration(Math.ceil(left))} left`.replace(".0 s", " s"));
}

function stageText(state) {
  if (state.status === "created") return state.queuePosition > 0 ? `waiting, ${number(state.queuePosition)} ahead in the queue` : "waiting in the queue";
  const step = state.step === null ? "" : `step ${number(state.step)}${state.steps === null ? "" : ` of ${number(state.steps)}`}`;
  return [state.stage, step].filter(Boolean).join(" · ");
}

function progressText(state, whole) {
  return [`${whole} percent`, stageText(state)].filter(Boolean).join(", ");
}

function drawNotice(parts, view, ended) {
  const { state } = view;
  const restarted = state.restarts > 0 ? `Attempt ${state.attempt}: the one before was lost with its process, so its output is void.` : "";
  const text = view.cancelling && !ended ? "Cancelling: it stops as soon as the model lets go." : restarted;
  say(parts.notice, text);
  show(parts.notice, text !== "");
  say(parts.error, state.error ?? "");
  show(parts.error, Boolean(state.error) && state.status !== "cancelled");
}

function drawPreview(parts, state, ended) {
  const file = state.preview === null ? null : fileOf(state.preview, base);
  if (ended || file === null || !file.here) {
    if (ended || state.preview === null) parts.previewBox.dataset.over = "yes";
    if (ended || state.preview === null) show(parts.previewBox, false);
    return;
  }
  delete parts.previewBox.dataset.over;
  if (parts.preview.getAttribute("src") !== file.url) parts.preview.src = file.url;
}

function drawOutputs(parts, outputs, state, ended) {
  parts.output.setAttribute("aria-busy", String(!ended));
  outputs.draw(state.outputs);
  if (state.final !== null) outputs.finish(state.final, state.outputs);
  show(parts.output, state.outputs.size > 0 || state.final !== null);
  parts.output.classList.toggle("going", !ended);
  const facts = Object.entries(state.usage ?? {}).map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`);
  if (state.timings?.inference) facts.unshift(`ran for ${duration(state.timings.inference / 1000)}`);
  say(parts.facts, facts.join(" · "));
  show(parts.facts, facts.length > 0);
}

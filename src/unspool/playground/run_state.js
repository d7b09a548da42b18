/** What is known of a run, from its events. Pure: the view draws it whenever the screen is ready for it. */

import { fileOf } from "./media.js";

export const KEPT_EVENTS = 1000;
export const KEPT_LINES = 2000;
const ENDED = ["completed", "failed", "cancelled", "timeout"];

/** A run of which no event was seen yet. */
export function begin(id) {
  return {
    id,
    status: "created",
    attempt: 0,
    restarts: 0,
    percentage: 0,
    queuePosition: null,
    stage: null,
    step: null,
    steps: null,
    eta: null,
    /** When `eta` was said, as `performance.now()`. */
    etaAt: 0,
    preview: null,
    /** By index: the text so far, and finished parts of other kinds. */
    outputs: new Map(),
    /** Counts up when all output was voided. */
    take: 0,
    log: [],
    lines: 0,
    events: [],
    eventCount: 0,
    cursor: null,
    final: null,
    error: null,
    code: null,
    timings: null,
    usage: null,
  };
}

/** Whether a status is one of the last four. */
export function hasEnded(status) {
  return ENDED.includes(status);
}

/** Takes in one event, with `cursor` and `restarted` as the SDK gives them. */
export function take(state, event, now = 0) {
  state.eventCount += 1;
  state.cursor = event.cursor ?? state.cursor;
  keep(state.events, { at: Date.now(), event }, KEPT_EVENTS);
  if (event.type === "progress") takeProgress(state, event, now);
  else if (event.type === "log") takeLine(state, event);
  else if (event.type === "output") takeOutput(state, event);
  else if (event.type === "complete") end(state, "completed", event, { percentage: 100, final: event.outputs });
  else if (event.type === "error") end(state, event.status, event, { error: event.error, code: event.code });
}

function takeProgress(state, event, now) {
  if (event.restarted) startOver(state);
  if (event.status !== undefined) state.status = event.status;
  if (event.attempt !== undefined) state.attempt = event.attempt;
  state.percentage = event.percentage;
  state.queuePosition = event.status === "processing" ? null : (event.queue_position ?? state.queuePosition);
  for (const name of ["stage", "step", "steps"]) if (event[name] !== undefined) state[name] = event[name];
  if (event.stage !== undefined && event.step === undefined) state.step = state.steps = null;
  if (event.preview !== undefined) state.preview = event.preview;
  state.eta = event.eta_seconds ?? null;
  state.etaAt = now;
}

/** Another attempt has begun: what came before is void, but for the log, which tells why. */
function startOver(state) {
  Object.assign(state, { stage: null, step: null, steps: null, eta: null, preview: null, outputs: new Map() });
  state.restarts += 1;
  state.take += 1;
}

function takeLine(state, event) {
  state.lines += 1;
  keep(state.log, event, KEPT_LINES);
}

function takeOutput(state, event) {
  const index = event.index ?? 0;
  if (!state.outputs.has(index)) state.outputs.set(index, { text: "", parts: [] });
  const output = state.outputs.get(index);
  // A finished file is a URL, and so is a string; no piece of a text is the whole URL of a file.
  const isText = typeof event.output === "string" && fileOf(event.output, "http://here/") === null;
  if (isText) output.text += event.output;
  else output.parts.push(event.output);
}

function end(state, status, event, more) {
  Object.assign(state, { status, stage: null, step: null, steps: null, eta: null, queuePosition: null, ...more });
  state.timings = event.timings ?? null;
  state.usage = event.usage ?? null;
}

function keep(list, item, most) {
  list.push(item);
  // Cut off a quarter at once: shifting one by one costs at every event.
  if (list.length > most * 1.25) list.splice(0, list.length - most);
}

/** Seconds left, counted down since they were said; `null` if nobody knows. */
export function secondsLeft(state, now) {
  return state.eta === null ? null : Math.max(0, state.eta - (now - state.etaAt) / 1000);
}

/** One line for the timeline: what an event says, without its type. */
export function summary(event) {
  switch (event.type) {
    case "progress":
      return progressSummary(event);
    case "log":
      return `${event.level}: ${event.message}`;
    case "output":
      return JSON.stringify(event.output);
    case "complete":
      return JSON.stringify(event.outputs);
    case "error":
      return `${event.status} (${event.code}): ${event.error}`;
    default:
      return "";
  }
}

function progressSummary(event) {
  const said = [`${event.percentage} %`];
  if (event.status) said.push(event.status);
  if (event.attempt !== undefined && event.status === "processing") said.push(`attempt ${event.attempt}`);
  if (event.queue_position !== undefined) said.push(`queue position ${event.queue_position}`);
  if (event.stage) said.push(event.stage);
  if (event.step !== undefined) said.push(event.steps === undefined ? `step ${event.step}` : `step ${event.step} of ${event.steps}`);
  if (event.eta_seconds !== undefined) said.push(`${event.eta_seconds} s left`);
  if (event.preview) said.push("with a preview");
  return said.join(" · ");
}

/**
 * Reads a prediction's log without any I/O: knows which event must come next, and what all of them so far add up to.
 */

import type { CompleteEvent, ErrorEvent, Json, Outcome, PredictionEvent } from "./types.js";

/** An event's place in its log: attempt, then n. */
export type Place = readonly [attempt: number, n: number];

/** The place that a cursor names, or nothing if it is none. */
export function place(cursor: string): Place | undefined {
  const found = /^(\d{1,9})-([1-9]\d{0,17})$/.exec(cursor);
  return found ? [Number(found[1]), Number(found[2])] : undefined;
}

/**
 * Where an event stands to the last one that was read: it is the next one, or was there before, or there is a hole.
 *
 * A new attempt begins with n = 1; attempts may be skipped, since one that was lost at once leaves nothing.
 */
export function order(last: Place, next: Place): "next" | "seen" | "gap" {
  if (next[0] < last[0] || (next[0] === last[0] && next[1] <= last[1])) return "seen";
  return next[1] === (next[0] === last[0] ? last[1] + 1 : 1) ? "next" : "gap";
}

/** The event of these fields at this place. The cursor's attempt is the one that counts. */
export function eventAt(fields: PredictionEvent, [attempt, n]: Place, cursor: string): PredictionEvent {
  const restarted = fields.type === "progress" && attempt > 1 && n === 1;
  return Object.assign(fields, { cursor, attempt, n, restarted });
}

/** Whether it is the last event of its log. */
export const isTerminal = (event: PredictionEvent): boolean => event.type === "complete" || event.type === "error";

/** What the events so far add up to. */
export class Fold {
  /** Of the last event; null before the first. */
  cursor: string | null;
  attempt: number;
  percentage = 0;
  /** The pieces of text of this attempt, joined. Of several outputs, the first. */
  text = "";
  /** By index: text as far as it has come, or the last part of another kind. */
  outputs: Json[] = [];
  outcome: Outcome | undefined;

  /** @param after The last event that was seen before. */
  constructor(after: string | null) {
    this.cursor = after;
    this.attempt = (after && place(after)?.[0]) || 0;
  }

  add(event: PredictionEvent): void {
    this.cursor = event.cursor;
    if (event.attempt !== this.attempt) this.#begin(event.attempt);
    if (event.type === "progress") this.percentage = event.percentage;
    else if (event.type === "output") this.#append(event.output, event.index ?? 0);
    else if (event.type !== "log") this.#end(event);
  }

  /** What the attempt before has put out is void. */
  #begin(attempt: number): void {
    this.attempt = attempt;
    this.percentage = 0;
    this.text = "";
    this.outputs = [];
  }

  #append(part: Json, index: number): void {
    if (index === 0 && typeof part === "string") this.text += part;
    const before = this.outputs[index];
    this.outputs[index] = typeof part === "string" && typeof before === "string" ? before + part : part;
  }

  #end(event: CompleteEvent | ErrorEvent): void {
    // The fields of the outcome are those of the event: only what belongs to its place in the log is taken off.
    const { type, cursor, attempt, n, restarted, ...fields } = event;
    if (event.type === "complete") {
      this.outputs = event.outputs;
      this.percentage = 100;
      // Whoever joined in the middle has the whole text now.
      if (typeof event.outputs[0] === "string") this.text = event.outputs[0];
    }
    this.outcome = { status: "completed", outputs: [], error: "", ...fields };
  }
}

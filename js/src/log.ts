/**
 * Reads a prediction's log without any I/O: knows which event must come next, and what all of them so far add up to.
 */

import type { Json, Outcome, PredictionEvent } from "./types.js";

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
  cursor: string | null = null;
  attempt = 0;
  percentage = 0;
  id: string | undefined;
  /** By index: text as far as it has come, or the last part of another kind. */
  outputs: Json[] = [];
  outcome: Outcome | undefined;

  /** The text so far: that of the first output, if it is text. */
  get text(): string {
    const first = this.outputs[0];
    return typeof first === "string" ? first : "";
  }

  add(event: PredictionEvent): void {
    this.cursor = event.cursor;
    if (event.attempt !== this.attempt) {
      this.attempt = event.attempt;
      if (event.type === "progress") this.outputs = [];
    }
    if (event.type === "progress") {
      this.percentage = event.percentage;
      this.id ??= event.id;
    } else if (event.type === "output") {
      this.#append(event.output, event.index ?? 0);
    } else if (event.type !== "log") {
      this.#end(event);
    }
  }

  #append(part: Json, index: number): void {
    const before = this.outputs[index];
    this.outputs[index] = typeof part === "string" && typeof before === "string" ? before + part : part;
  }

  #end(event: PredictionEvent & { type: "complete" | "error" }): void {
    // The fields of the outcome are those of the event: only what belongs to its place in the log is taken off.
    const { type, cursor, attempt, n, restarted, ...fields } = event;
    this.id = event.id;
    if (event.type === "complete") {
      this.outputs = event.outputs;
      this.percentage = 100;
    }
    this.outcome = { status: "completed", outputs: [], error: "", ...fields };
  }
}

/** What a user interface shows of a prediction: one value that changes as its events come, and who wants to know. */

import { predictionError, UnspoolError } from "./errors.js";
import type { Stream } from "./stream.js";
import type { Json, Outcome, PredictionEvent, ProgressEvent, Status } from "./types.js";

/** A prediction as far as it was followed. Each change is a new object. */
export interface PredictionState<T = Json>
  extends Pick<ProgressEvent, "queue_position" | "stage" | "step" | "steps" | "eta_seconds" | "preview"> {
  id: string | undefined;
  /** Nothing before the first event. */
  status: Status | undefined;
  attempt: number;
  cursor: string | null;
  percentage: number;
  /** The text so far; of several outputs, the first. A new attempt empties it. */
  text: string;
  /** All outputs so far, by index. */
  outputs: readonly T[];
  /** Why it did not complete, or why it cannot be followed. */
  error: Error | undefined;
  /** All events so far, those of overtaken attempts, too. */
  events: readonly PredictionEvent<T>[];
  /** There may be more to come. */
  following: boolean;
}

const NOTHING: PredictionState<never> = {
  id: undefined,
  status: undefined,
  attempt: 0,
  cursor: null,
  percentage: 0,
  text: "",
  outputs: [],
  error: undefined,
  events: [],
  following: false,
};

/** Text may come in a thousand pieces a second, and a page is drawn sixty times. */
const FLUSH_MS = 16;

export class Watch<T> {
  #state: PredictionState<T> = NOTHING;
  #events: PredictionEvent<T>[] = [];
  #progress: Partial<ProgressEvent> = {};
  #stream: Stream<T> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #listeners = new Set<() => void>();

  readonly state = (): PredictionState<T> => this.#state;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Shows this stream from its start, and nothing of one before. Returns what ends that; the prediction goes on. */
  start(stream: Stream<T>): () => void {
    this.stop();
    this.#stream = stream;
    this.#events = [];
    this.#progress = {};
    this.#show({ ...NOTHING, id: stream.id, following: true });
    void this.#follow(stream);
    return () => {
      if (this.#stream === stream) this.stop();
    };
  }

  /** Stops following; what was shown stays. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#stream?.close();
    this.#stream = undefined;
  }

  /** Stops following, and shows nothing. */
  readonly reset = (): void => {
    this.stop();
    this.#show(NOTHING);
  };

  /** Asks the server to cancel what is shown. */
  readonly cancel = async (): Promise<void> => this.#stream?.cancel();

  async #follow(stream: Stream<T>): Promise<void> {
    try {
      for await (const event of stream) {
        this.#events.push(event);
        if (event.type === "progress") this.#progress = event;
        this.#timer ??= setTimeout(() => this.#flush(stream, true), FLUSH_MS);
      }
      this.#flush(stream, false);
    } catch (error) {
      this.#flush(stream, false, error instanceof Error ? error : new UnspoolError(String(error)));
    }
  }

  #flush(stream: Stream<T>, following: boolean, error?: Error): void {
    if (this.#stream !== stream) return; // It was replaced or stopped meanwhile.
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const { id, cursor, attempt, percentage, text, outputs, prediction } = stream;
    const { queue_position, stage, step, steps, eta_seconds, preview } = this.#progress;
    const said = { queue_position, stage, step, steps, eta_seconds, preview };
    const known = Object.fromEntries(Object.entries(said).filter(([, value]) => value !== undefined));
    const failure =
      prediction && prediction.status !== "completed" ? predictionError(prediction as Outcome) : undefined;
    this.#show({
      ...known,
      id,
      status: prediction?.status ?? this.#status(),
      attempt,
      cursor,
      percentage,
      text,
      outputs: [...outputs],
      error: error ?? failure,
      events: [...this.#events],
      following,
    });
  }

  #status(): Status | undefined {
    const last = this.#events.at(-1);
    return last && (last.attempt > 0 ? "processing" : "created");
  }

  #show(state: PredictionState<T>): void {
    this.#state = state;
    for (const listener of this.#listeners) listener();
  }
}

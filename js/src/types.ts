/** The facts that clients and server speak about, spelled as on the wire. Types only: nothing of this file is in a bundle. */

/** Any value of JSON. */
export type Json = string | number | boolean | null | Json[] | { [name: string]: Json };

/** What a prediction is doing. The last four are for good. */
export type Status = "created" | "processing" | "completed" | "failed" | "cancelled" | "timeout";

/** What every event has beside its own fields. Fields that are newer than this client are there, too. */
interface EventBase {
  /** Where it stands in the log, as in "1-17": its attempt and its number. */
  cursor: string;
  /** One try at running the prediction: 1, 2, …; 0 is the time before the first. */
  attempt: number;
  /** 1, 2, 3, … within an attempt, without a gap. */
  n: number;
  /** A new attempt begins: what came before it is void. Only ever true in a `progress` event. */
  restarted: boolean;
}

export interface ProgressEvent extends EventBase {
  type: "progress";
  /** 0 to 100; never falls within an attempt. */
  percentage: number;
  id?: string;
  status?: Status;
  queue_position?: number;
  /** What it does at the moment, as "load", "denoise", "encode". */
  stage?: string;
  step?: number;
  steps?: number;
  eta_seconds?: number;
  /** URL of a picture of how far it is. */
  preview?: string;
}

export interface LogEvent extends EventBase {
  type: "log";
  message: string;
  level: "debug" | "info" | "warning" | "error";
  /** RFC 3339. */
  timestamp: string;
}

export interface OutputEvent<T = Json> extends EventBase {
  type: "output";
  /** Of text the new piece only; of anything else a finished part: a URL or JSON. */
  output: T;
  /** Which element of the final `outputs` it belongs to; 0 if it is not there. */
  index?: number;
}

export interface CompleteEvent<T = Json> extends EventBase {
  type: "complete";
  id: string;
  outputs: T[];
  /** Milliseconds. */
  timings?: Record<string, number>;
  usage?: Record<string, Json>;
}

export interface ErrorEvent extends EventBase {
  type: "error";
  id: string;
  /** What went wrong, for people. */
  error: string;
  /** Task code: 1401 a wrong parameter, 1403 the model failed, 1405 ended, 5000, 5003, 5004 time ran out. */
  code: number;
  status: "failed" | "cancelled" | "timeout";
  errors?: FieldError[];
}

/** One event of a prediction's log; `type` says which. `complete` and `error` are the last. */
export type PredictionEvent<T = Json> = ProgressEvent | LogEvent | OutputEvent<T> | CompleteEvent<T> | ErrorEvent;

/** An input that is wrong. */
export interface FieldError {
  field: string;
  message: string;
}

/** How a prediction ended, as its last event says it. */
export interface Outcome<T = Json> {
  id: string;
  status: "completed" | "failed" | "cancelled" | "timeout";
  outputs: T[];
  /** Empty if it completed. */
  error: string;
  code?: number;
  timings?: Record<string, number>;
  usage?: Record<string, Json>;
}

/** A prediction as it stands, as polling shows it. */
export interface Prediction<T = Json> {
  id: string;
  model: string;
  status: Status;
  /** Empty until it has completed. */
  outputs: T[];
  error: string;
  code?: number;
  urls: { get: string; stream: string; cancel: string };
  has_nsfw_contents: boolean[];
  created_at: string;
  /** Milliseconds. */
  timings: Record<string, number>;
  executionTime: number;
  /** Percentage, 0 to 100. */
  progress: number;
  attempt: number;
  usage?: Record<string, Json>;
  /** Where it was asked for. */
  logs?: { message: string; level: string; timestamp: string }[];
  input?: Record<string, Json>;
}

/** A model that the server runs. */
export interface Model {
  model_id: string;
  name: string;
  description: string;
  type: string;
  base_price: number;
  /** Which of `progress`, `log` and `output` it emits; empty if it does not stream. */
  streams: string[];
  readme: string;
  api_schema: {
    api_schemas: {
      type: string;
      method: string;
      server: string;
      api_path: string;
      /** JSON schema of its inputs. */
      request_schema: { [name: string]: Json };
    }[];
  };
}

/** Values of inputs. A `Blob` or `File`, anywhere in them, is uploaded first. */
export type Input = Json | undefined | Blob | Input[] | { [name: string]: Input };

/** A page of a list, the newest first. */
export interface Page<T = Json> {
  page: number;
  page_size: number;
  /** On all pages together. */
  total: number;
  has_more: boolean;
  items: Prediction<T>[];
}

// The public API, written out as its users would; compiled and never run. Each wrong use must not compile.
import {
  ApiError,
  Client,
  follow,
  InvalidInput,
  type Json,
  type Page,
  type Prediction,
  type PredictionEvent,
  PredictionFailed,
  type Status,
  type Stream,
  verifyWebhook,
} from "unspool";
import { type PredictionState, usePrediction, useRun } from "unspool/react";

const client = new Client({ url: "http://127.0.0.1:8080", apiKey: "key", stallTimeoutMs: 40_000 });
new Client();
// @ts-expect-error no such option
new Client({ uri: "http://127.0.0.1:8080" });
// @ts-expect-error a number of milliseconds
new Client({ timeoutMs: "1s" });

export function shown(event: PredictionEvent<string>): string {
  switch (event.type) {
    case "progress":
      // @ts-expect-error only some progress has a stage
      event.stage.length;
      return `${event.percentage} % ${event.stage ?? ""} ${event.restarted} ${event.eta_seconds ?? 0}`;
    case "log":
      return `${event.level} ${event.message} ${event.timestamp}`;
    case "output":
      // @ts-expect-error an output has no percentage
      event.percentage;
      return event.output;
    case "complete":
      return event.outputs.join("");
    case "error":
      return `${event.error} ${event.code} ${event.status}`;
    default:
      return event satisfies never;
  }
}

export async function all(signal: AbortSignal): Promise<void> {
  for await (const event of client.stream<string>(
    "acme/x",
    { prompt: "…", n: 3 },
    { signal, webhook_url: "https://…" },
  )) {
    const cursor: string = event.cursor;
    const attempt: number = event.attempt;
    if (event.type === "output") event.output.trim();
    console.log(cursor, attempt, shown(event));
  }
  for await (const event of client.stream("acme/x")) {
    // @ts-expect-error an output is any JSON, unless one says what it is
    if (event.type === "output") event.output.trim();
  }
  // @ts-expect-error inputs are an object
  client.stream("acme/x", "prompt");
  // @ts-expect-error inputs are JSON or files
  client.stream("acme/x", { callback: () => {} });
  client.stream("acme/x", { image: new Blob([]), masks: [new File([], "mask.png")], layer: { picture: new Blob([]) } });
  // @ts-expect-error spelled as on the wire
  client.stream("acme/x", {}, { webhookUrl: "https://…" });
  // @ts-expect-error one of two words
  client.stream("acme/x", {}, { on_disconnect: "stop" });

  const stream: Stream<{ url: string }> = client.follow("id", { after: "1-5", signal });
  const url: string | undefined = stream.outputs[0]?.url;
  const ended: "completed" | "failed" | "cancelled" | "timeout" | undefined = stream.prediction?.status;
  await stream.cancel();
  stream.close();
  // @ts-expect-error made by a client only
  stream.cursor = "1-1";
  console.log(url, ended, follow("https://…/stream?token=…", { after: stream.cursor }));

  const prediction: Prediction<string> = await client.run<string>(
    "acme/x",
    {},
    { onProgress: (event) => event.percentage },
  );
  const status: Status = prediction.status;
  // @ts-expect-error not a status
  const wrong: Status = "done";
  const first: Json | undefined = (await client.get(prediction.id, { logs: true })).outputs[0];
  const page: Page = await client.list({ status: "failed", page_size: 10 });
  for await (const one of client.list()) console.log(one.created_at);
  console.log(status, wrong, first, page.items, await client.upload(new Uint8Array(3), { filename: "a.bin" }));
  console.log(await client.wait("id", { timeoutMs: 1000 }), await client.submit("acme/x"), await client.cancel("id"));
  console.log(
    (await client.models())[0]?.streams,
    (await client.model("acme/x")).readme,
    await client.readme("acme/x"),
  );
  await client.delete("id");
}

export async function errors(): Promise<void> {
  try {
    await client.run("acme/x");
  } catch (error) {
    if (error instanceof PredictionFailed) console.log(error.prediction.error, error.prediction.code);
    if (error instanceof InvalidInput) console.log(error.errors.map(({ field, message }) => `${field}: ${message}`));
    if (error instanceof ApiError) console.log(error.status, error.error_code, error.retry_after_s, error.request_id);
  }
}

export async function receive(request: Request): Promise<string> {
  const prediction = await verifyWebhook(await request.arrayBuffer(), request.headers, "whsec_…");
  // @ts-expect-error headers are needed
  await verifyWebhook("body", "secret");
  return prediction.status;
}

export function Shown({ id }: { id: string | null }): string {
  const state: PredictionState<string> = usePrediction<string>(client, id, { after: null });
  const { run, cancel, text, error, following } = useRun<string>(client, "acme/x");
  run({ prompt: text }, { run_timeout: 60 });
  void cancel();
  // @ts-expect-error the hook aborts by itself
  run({}, { signal: new AbortController().signal });
  // @ts-expect-error an id or a URL
  usePrediction(client, 5);
  return `${state.percentage} ${state.stage ?? ""} ${state.eta_seconds ?? ""} ${error?.message} ${following}`;
}

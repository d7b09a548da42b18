// The JavaScript client under the scenarios. The protocol is in ../README.md.
import { createInterface } from "node:readline";
import { Client, follow, verifyWebhook } from "../../../js/dist/index.js";

let client;
let server;
const streams = new Map();

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
const ms = (seconds) => (seconds == null ? undefined : seconds * 1000);

function clientOptions(options) {
  return {
    timeoutMs: ms(options.timeout_s),
    stallTimeoutMs: ms(options.stall_timeout_s),
    firstEventTimeoutMs: ms(options.first_event_timeout_s),
    streamsBeforePolling: options.streams_before_polling,
    pollWaitMs: ms(options.poll_wait_s),
    backoffMs: ms(options.backoff_s),
    maxBackoffMs: ms(options.max_backoff_s),
    giveUpMs: ms(options.give_up_s),
  };
}

const submitOptions = ({ idempotency_key, timeout_s, ...others } = {}) => ({
  ...others,
  idempotencyKey: idempotency_key,
  timeoutMs: ms(timeout_s),
});

function told({ cursor, attempt, n, restarted, ...fields }) {
  // On the wire, `attempt` stands in the first progress event of an attempt.
  const data = fields.status === "processing" && n === 1 ? { ...fields, attempt } : fields;
  return { type: fields.type, cursor, attempt, n, restarted, data };
}

function properties({ id, cursor, attempt, text, percentage, outputs, prediction }) {
  return { id, cursor, attempt, text, percentage, outputs, prediction: prediction ?? null };
}

async function iterate(command, stream) {
  streams.set(command.call, stream);
  let left = command.take ?? Number.POSITIVE_INFINITY;
  for await (const event of stream) {
    const { outputs, prediction, ...seen } = properties(stream);
    say({ call: command.call, event: told(event), seen });
    if (--left <= 0) break;
  }
  return { end: properties(stream) };
}

async function all(items) {
  const found = [];
  for await (const item of items) found.push(item);
  return found;
}

const DO = {
  connect({ url, api_key, options }) {
    server = { url, ...clientOptions(options) };
    client = new Client({ ...server, apiKey: api_key });
    return { result: null };
  },
  stream: (command) => iterate(command, client.stream(command.model, command.inputs, submitOptions(command.options))),
  follow(command) {
    const { id, url, after } = command;
    return iterate(command, url ? follow(url, { ...server, after }) : client.follow(id, { after }));
  },
  async run({ call, model, inputs, options }) {
    const onEvent = (event) => say({ call, event: told(event), seen: null });
    return { result: await client.run(model, inputs, { ...submitOptions(options), onEvent }) };
  },
  submit: async ({ model, inputs, options }) => ({ result: await client.submit(model, inputs, submitOptions(options)) }),
  get: async ({ id }) => ({ result: await client.get(id) }),
  wait: async ({ id, timeout_s }) => ({ result: await client.wait(id, { timeoutMs: ms(timeout_s) }) }),
  cancel: async ({ id }) => ({ result: await client.cancel(id) }),
  async cancel_stream({ stream }) {
    await streams.get(stream).cancel();
    return { result: null };
  },
  async delete({ id }) {
    await client.delete(id);
    return { result: null };
  },
  list: async ({ options }) => ({ result: await all(client.list(options)) }),
  upload: async ({ name, base64 }) => ({ result: await client.upload(Buffer.from(base64, "base64"), { filename: name }) }),
  models: async () => ({ result: (await client.models()).map((model) => model.model_id) }),
  model: async ({ id }) => ({ result: { id: (await client.model(id)).model_id } }),
  readme: async ({ id }) => ({ result: await client.readme(id) }),
  verify_webhook: async ({ body, headers, secret, tolerance_s }) => ({
    result: await verifyWebhook(body, headers, secret, tolerance_s ?? undefined),
  }),
};

function errorOf(error) {
  const fields = ["status", "error_code", "retry_after_s", "errors", "request_id", "prediction"];
  const known = Object.fromEntries(fields.map((name) => [name, error?.[name] ?? null]));
  return { class: error?.name ?? typeof error, message: error?.message ?? String(error), ...known };
}

async function answer(command) {
  const perform = DO[command.do];
  if (!perform) return say({ call: command.call, unsupported: `the client has no ${command.do}` });
  try {
    say({ call: command.call, ...(await perform(command)) });
  } catch (error) {
    say({ call: command.call, error: errorOf(error) });
  }
}

createInterface({ input: process.stdin })
  .on("line", (line) => answer(JSON.parse(line)))
  .on("close", () => process.exit());

// Reads the stream of a prediction with fetch, and prints the text as it comes.
//
//   UNSPOOL_API_KEY=... node examples/read_stream.mjs "Write a haiku about rivers."
//
// The defaults are those of `unspool demo`. UNSPOOL_INPUT takes the whole input as JSON.
//
// The reader is naive on purpose: every network chunk is decoded and parsed by itself, nothing is carried over to the
// next. It works because an event goes out in one piece. A program of your own should keep the rest of a chunk that
// ends early, or use an EventSource library.

const url = process.env.UNSPOOL_URL ?? 'http://127.0.0.1:8080';
const model = process.env.UNSPOOL_MODEL ?? 'smollm2/135m-instruct';
const key = process.env.UNSPOOL_API_KEY;
const prompt = process.argv[2] ?? 'Write a haiku about rivers.';
const input = process.env.UNSPOOL_INPUT ? JSON.parse(process.env.UNSPOOL_INPUT) : { prompt };

if (!key) {
  console.error('Set UNSPOOL_API_KEY to the key that the server printed.');
  process.exit(2);
}

const response = await fetch(`${url}/api/v3/${model}`, {
  method: 'POST',
  headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${key}` },
  body: JSON.stringify({ ...input, stream: true }),
});
if (!response.ok) {
  console.error(`HTTP ${response.status}: ${await response.text()}`);
  process.exit(1);
}

const reader = response.body.getReader();
const decoder = new TextDecoder();

while (true) {
  const { done, value } = await reader.read();
  if (done) break;
  for (const line of decoder.decode(value).split('\n')) {
    if (line.startsWith('data: ')) {
      show(JSON.parse(line.slice(6)));
    }
  }
}

function show(event) {
  switch (event.type) {
    case 'progress':
      if (event.status) console.error(`[${event.status}]`);
      break;
    case 'log':
      console.error(`[${event.level}] ${event.message}`);
      break;
    case 'output':
      process.stdout.write(typeof event.output === 'string' ? event.output : JSON.stringify(event.output) + '\n');
      break;
    case 'complete':
      console.error('[completed]');
      break;
    case 'error':
      console.error(`[${event.status}] ${event.error}`);
      process.exitCode = 1;
      break;
  }
}

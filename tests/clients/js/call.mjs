// Makes one call with an official JavaScript client and prints what came of it, as one line of JSON.
//
//   node call.mjs '{"package": "wavespeed", "url": …, "key": …, "method": "run", "args": […]}'

const { package: name, url, key, method, args } = JSON.parse(process.argv[2]);
const { Client } = await import(name);
const client = new Client(key, { baseUrl: url, maxConnectionRetries: 0 });

function plain(error) {
  const { name, message, taskId, resultUrl } = error;
  return { name, message, taskId, resultUrl };
}

let outcome;
try {
  outcome = { returned: await client[method](...args) };
} catch (error) {
  outcome = { raised: plain(error) };
}
console.log(JSON.stringify(outcome, (_, value) => (value instanceof Error ? plain(value) : value)));

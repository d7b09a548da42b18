// The same as call.mjs with the first JavaScript client, which has another class, other options and other results.
// An upload's first argument is the path of the file; the client itself takes a Blob.

import { openAsBlob } from 'node:fs';

const { package: name, url, key, method, args } = JSON.parse(process.argv[2]);
const { WaveSpeed } = await import(name);
const client = new WaveSpeed(key, { baseUrl: `${url}/api/v3/`, pollInterval: 0.05 });
if (method === 'upload') args[0] = await openAsBlob(args[0]);

let outcome;
try {
  outcome = { returned: await client[method](...args) };
} catch (error) {
  outcome = { raised: { name: error.name, message: error.message } };
}
console.log(JSON.stringify(outcome, (key, value) => (key === 'client' ? undefined : value)));

// A proxy on raw sockets between a client and the real server, which does to each connection what a test says.
import { connect, createServer } from "node:net";

/**
 * Starts one. `onConnection(client, server, number)` may get in the way; when it returns nothing, bytes simply pass.
 */
export async function proxyTo(test, target, onConnection = () => {}) {
  const { hostname, port } = new URL(target);
  const sockets = new Set();
  const used = new Set();
  const requests = [];
  const listener = createServer((near) => {
    const far = connect(Number(port), hostname);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => sockets.delete(socket));
    }
    near.on("data", (data) => {
      used.add(near);
      requests.push(data.toString("latin1"));
    });
    near.on("close", () => {
      used.delete(near);
      far.destroy();
    });
    far.on("close", () => near.destroy());
    if (onConnection(near, far, requests.length) === undefined) pass(near, far);
  });
  await new Promise((resolve) => listener.listen(0, "127.0.0.1", resolve));
  listener.unref();
  const close = () => {
    listener.close();
    for (const socket of sockets) socket.destroy();
  };
  test.after(close);
  return {
    url: `http://127.0.0.1:${listener.address().port}`,
    /** What clients have sent, as far as it can be told apart: one text for each piece. */
    requests,
    /** Connections that are open and were used. (Node opens a spare one after an abort.) */
    open: () => used.size,
    /** Cuts all that is open. */
    cut: () => {
      for (const socket of sockets) socket.destroy();
    },
    close,
  };
}

export function pass(near, far) {
  near.pipe(far);
  far.pipe(near);
}

/** Waits until something is so. */
export async function until(what, isSo, deadlineMs = 60_000) {
  const deadline = Date.now() + deadlineMs;
  while (!(await isSo())) {
    if (Date.now() > deadline) throw new Error(`after ${deadlineMs / 1000} s it was still not so that ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

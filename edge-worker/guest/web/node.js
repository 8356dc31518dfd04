// The entry for Node, Deno and Bun: the WASM is read from beside this file.

import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { Agent, request } from "node:https";
import { join } from "node:path";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { initSync } from "./rung_edge.js";
import { loadBundle as load } from "./worker.js";

initSync({ module: readFileSync(new URL("./rung_edge_bg.wasm", import.meta.url)) });

export { RungError, RungWorker, upstream } from "./worker.js";

export function loadBundle(source, options) {
  if (typeof source === "function" || /^https?:/.test(String(source))) return load(source, options);
  const folder = String(source).startsWith("file:") ? fileURLToPath(source) : source;
  return load(async (file) => new Uint8Array(await readFile(join(folder, file))), options);
}

export function certified(tls) {
  const agent = new Agent({ keepAlive: true, ...tls });
  return (url, { method, headers, body, signal }) =>
    new Promise((resolve, reject) => {
      const told = (response) => resolve(new Response(Readable.toWeb(response), { status: response.statusCode }));
      request(url, { agent, method, headers, signal }, told).on("error", reject).end(body);
    });
}

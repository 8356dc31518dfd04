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
      // What is thrown in a listener ends the process.
      const told = (response) => {
        try {
          resolve(answered(response));
        } catch (error) {
          response.destroy();
          reject(error);
        }
      };
      request(url, { agent, method, headers, signal }, told).on("error", reject).end(body);
    });
}

/** A `Response` of some statuses may have no body, not even an empty one. */
function answered(response) {
  const bare = [204, 205, 304].includes(response.statusCode);
  if (bare) response.resume();
  return new Response(bare ? null : Readable.toWeb(response), { status: response.statusCode });
}

// node run.mjs ENTRY BUNDLE TIER [UPSTREAM CA CERTIFICATE KEY] < requests.jsonl > outcomes.jsonl
// With an upstream, what its tier and those above make of each request; without one, what the worker does alone.
// ENTRY is a module of the package: `node.js`, or `web.js` as a browser has it.

import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { outcomes } from "./cases.mjs";

const [entry, bundle, tier, above, ...files] = process.argv.slice(2);
if (entry.endsWith("web.js")) {
  // A browser fetches from its server; Node's own fetch knows no files.
  const types = { wasm: "application/wasm" };
  globalThis.fetch = async (url) => {
    const headers = { "content-type": types[url.pathname.split(".").pop()] ?? "application/octet-stream" };
    return new Response(await readFile(url), { headers });
  };
}
const { RungWorker, certified, loadBundle, upstream } = await import(pathToFileURL(entry).href);
const worker = new RungWorker(await loadBundle(pathToFileURL(bundle), { tier }), { tier });
const requests = readFileSync(0, "utf8").split("\n").filter(Boolean);
if (above) {
  const [ca, cert, key] = files.map((file) => readFileSync(file));
  const region = upstream(above, { fetch: certified({ ca, cert, key }) });
  for (const request of requests) {
    console.log(JSON.stringify(await worker.answer(request, region)));
  }
} else {
  console.log(outcomes(worker, requests));
}

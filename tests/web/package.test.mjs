// The package as a JavaScript developer holds it: `node --test package.test.mjs`, with the folders of the package and of
// a bundle of the repo's own model in RUNG_WEB and RUNG_BUNDLE.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import test from "node:test";
import { createServer as createTlsServer } from "node:tls";
import { fileURLToPath, pathToFileURL } from "node:url";
import { outcome, outcomes } from "./cases.mjs";

const folder = process.env.RUNG_WEB;
const bundle = process.env.RUNG_BUNDLE;
const url = (file) => pathToFileURL(join(folder, file)).href;
const { RungError, RungWorker, certified, loadBundle, upstream } = await import(url("node.js"));

const files = await loadBundle(bundle);
const worker = new RungWorker(files);
const demo = fileURLToPath(new URL("../fixtures/demo/requests.eval.jsonl", import.meta.url));
const requests = (await readFile(demo, "utf8")).split("\n").filter(Boolean).slice(0, 40);
const bodies = requests.map((line) => {
  const { relevant, ...request } = JSON.parse(line);
  return { ...request, model: "movies", timeout_ms: 10_000 };
});
const unsure = bodies.find((body) => worker.rank(body).escalate);
const own = { ...unsure, tier: "edge" };

/** Serves on a port of the system's choosing while `work` runs with its address. */
async function served(handle, work) {
  const server = createServer(handle).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  try {
    return await work(`http://127.0.0.1:${server.address().port}/`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** What `certified` makes of a tier that says this, whatever it is asked. A shared key stands for certificates. */
async function answeredOnce(text) {
  const [shared, psk] = [{ ciphers: "PSK", maxVersion: "TLSv1.2" }, Buffer.alloc(32, 7)];
  const said = (socket) => socket.once("data", () => socket.end(text)).on("error", () => {});
  const server = createTlsServer({ ...shared, pskCallback: () => psk }, said).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const known = { pskCallback: () => ({ psk, identity: "edge" }), checkServerIdentity: () => undefined };
  try {
    const address = `https://127.0.0.1:${server.address().port}/`;
    return await certified({ ...shared, ...known })(address, { method: "POST", body: "{}" });
  } finally {
    server.close();
  }
}

/** What is thrown, which must be a RungError. */
function thrown(work) {
  try {
    work();
  } catch (error) {
    assert.ok(error instanceof RungError && error instanceof Error, String(error.stack));
    assert.equal(error.name, "RungError");
    return error;
  }
  assert.fail("nothing was thrown");
}

test("an object and its JSON text are ranked alike", () => {
  const text = outcome(worker, JSON.stringify(own));
  assert.equal(text.answer.ranked.length, 10);
  assert.deepEqual(outcome(worker, own), text);
});

test("a worker says what it is of", async () => {
  const { model, version } = JSON.parse(await readFile(join(bundle, "manifest.json"), "utf8"));
  assert.deepEqual([worker.tier, worker.model, worker.version], ["edge", model, version]);
  assert.equal(worker.digest, createHash("sha256").update(files.manifest).digest("hex"));
});

test("a region runs the other variant", async () => {
  const region = new RungWorker(await loadBundle(bundle, { tier: "region" }), { tier: "region" });
  const { answer } = region.rank({ ...unsure, tier: "region" });
  assert.deepEqual([answer.tier, answer.variant], ["region", "w8"]);
  assert.match(thrown(() => new RungWorker(files, { tier: "region" })).message, /^region\.w8\.safetensors /);
});

test("a request at fault names its field", () => {
  assert.equal(thrown(() => worker.rank({ ...own, k: 0 })).field, "k");
  const error = thrown(() => worker.rank({ ...own, candidates: ["m1", { id: 7 }] }));
  assert.deepEqual([error.field, error.message], ["candidates[1].id", "must be a text"]);
  assert.equal(thrown(() => worker.rank("{")).field, "");
  assert.equal(thrown(() => worker.rank(undefined)).field, "");
});

test("a file that is not the bundle's is refused by name", () => {
  const variant = files.variant.slice();
  variant[variant.length - 1] ^= 1;
  const error = thrown(() => new RungWorker({ ...files, variant }));
  assert.equal(error.field, "bundle");
  assert.match(error.message, /^edge\.w4\.safetensors does not match its digest/);
});

test("what is no bundle, no limit and no bytes is refused by name", () => {
  assert.equal(thrown(() => new RungWorker()).field, "bundle.manifest");
  assert.equal(thrown(() => new RungWorker({ ...files, catalog: "rows" })).field, "bundle.catalog");
  assert.equal(thrown(() => new RungWorker(files, { tier: "origin" })).field, "tier");
  for (const limit of ["maxCandidates", "maxK"]) {
    for (const value of [0, 1.5, 2 ** 32, "10", NaN]) {
      assert.equal(thrown(() => new RungWorker(files, { [limit]: value })).field, limit);
    }
  }
  assert.equal(thrown(() => worker.resume("held", null)).field, "held");
  assert.equal(thrown(() => worker.resume(new Uint8Array(3), null)).field, "held");
});

test("limits send a request up whole", () => {
  const small = new RungWorker(files, { maxCandidates: 5 });
  const { escalate, ready } = small.rank(own);
  assert.equal(ready, null);
  assert.deepEqual([escalate.path, escalate.contentType], ["/v1/escalate", "application/cbor"]);
});

test("an escalation outlives the calls after it and goes on at another worker", () => {
  const { escalate, held, ready } = worker.rank(unsure);
  const [body, kept] = [escalate.body.slice(), held.slice()];
  bodies.forEach((request) => worker.rank(request));
  assert.deepEqual([escalate.body, held], [body, kept]);
  const { answer } = new RungWorker(files).resume(held, null);
  assert.deepEqual([answer.degradation, answer.reason], [1, "upstream_gone"]);
  assert.deepEqual(answer, ready);
});

test("without a tier above, the tier's own ranking is the answer, in time", async () => {
  const [{ answer: ranked }, gone] = [worker.rank(own), () => Promise.reject(new Error("no route"))];
  const never = () => new Promise(() => {});
  for (const [ask, timeout_ms] of [[gone, 10_000], [never, 200], [async () => null, 10_000]]) {
    const answer = await worker.answer({ ...unsure, timeout_ms }, ask);
    assert.deepEqual([answer.degradation, answer.ranked], [1, ranked.ranked]);
    assert.ok(answer.timing_us.total > 0);
    if (ask === never) assert.ok(answer.timing_us.upstream >= 100_000, JSON.stringify(answer.timing_us));
  }
  await assert.rejects(worker.answer({ ...own, k: 0 }, gone), { name: "RungError", field: "k" });
});

test("an upstream is asked as it wants to be, and a problem is no reply", async () => {
  const asked = [];
  const handle = async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    asked.push([request.method, request.url, request.headers["content-type"], request.headers["x-key"]]);
    // Only the time left, at its end, is another.
    const [got, same] = [Buffer.concat(chunks), worker.rank(unsure).escalate.body.slice(0, -8)];
    asked.push(got.length > same.length && got.subarray(0, same.length).equals(same));
    response.writeHead(503, { "content-type": "application/problem+json" }).end("{}");
  };
  const answer = await served(handle, (address) =>
    worker.answer(unsure, upstream(address, { headers: { "x-key": "7" } })),
  );
  assert.equal(answer.degradation, 1);
  assert.deepEqual(asked, [["POST", "/v1/escalate", "application/cbor", "7"], true]);
});

test("a tier above that answers without a body is no end of the process", async () => {
  const reply = await answeredOnce("HTTP/1.1 204 No Content\r\n\r\n");
  assert.deepEqual([reply.status, await reply.text()], [204, ""]);
  for (const status of [205, 304]) {
    const reply = await answeredOnce(`HTTP/1.1 ${status} Bare\r\ncontent-length: 0\r\n\r\n`);
    assert.deepEqual([reply.status, reply.body], [status, null]);
  }
  // No `Response` can have this status.
  await assert.rejects(answeredOnce("HTTP/1.1 777 Odd\r\ncontent-length: 0\r\n\r\n"), RangeError);
});

test("a bundle is loaded from a folder, its address, a server or a function", async () => {
  const serve = async (request, response) => {
    try {
      response.end(await readFile(join(bundle, request.url.replace("/b/", ""))));
    } catch {
      response.writeHead(404).end();
    }
  };
  await served(serve, async (address) => {
    for (const source of [pathToFileURL(bundle), `${address}b`, new URL("b/", address)]) {
      assert.equal(new RungWorker(await loadBundle(source)).digest, worker.digest);
    }
    await assert.rejects(loadBundle(`${address}none`), { name: "RungError", field: "bundle", message: /404/ });
  });
  const read = [];
  await loadBundle(async (file) => (read.push(file), new Uint8Array()));
  assert.deepEqual(read, ["manifest.json", "features.toml", "catalog.safetensors", "edge.w4.safetensors"]);
  await assert.rejects(loadBundle(bundle, { tier: "origin" }), { name: "RungError", field: "tier" });
});

test("a worker whose instance was lost is made anew", async () => {
  const { __wbg_reset_state: lose } = await import(url("rung_edge.js"));
  const [one, other] = [new RungWorker(files), new RungWorker(files)];
  const before = outcome(one, own);
  lose();
  assert.match(thrown(() => one.rank(own)).message, /made anew/);
  for (const each of [one, other, worker]) assert.deepEqual(outcome(each, own), before);
});

test("a worker that was let go gives its memory back and comes back when it is called", async () => {
  const { initSync } = await import(url("rung_edge.js"));
  const { memory } = initSync();
  const once = () => {
    const brief = new RungWorker(files);
    brief.rank(own);
    brief.free();
    brief.free();
    return brief;
  };
  for (let i = 0; i < 5; i += 1) once();
  const size = memory.buffer.byteLength;
  for (let i = 0; i < 50; i += 1) once();
  assert.equal(memory.buffer.byteLength, size);
  assert.deepEqual(outcome(once(), own), outcome(worker, own));
});

test("the plain ES module gives the same bits", () => {
  const run = fileURLToPath(new URL("run.mjs", import.meta.url));
  const input = bodies.map((body) => JSON.stringify(body));
  const { stdout, stderr, status } = spawnSync(process.execPath, [run, join(folder, "web.js"), bundle, "edge"], {
    input: input.join("\n"),
    encoding: "utf8",
    maxBuffer: 2 ** 26,
  });
  assert.equal(status, 0, stderr);
  assert.equal(stdout, `${outcomes(worker, input)}\n`);
});

test("the package imports no more than it must and is small", async () => {
  const bytes = await readFile(join(folder, "rung_edge_bg.wasm"));
  const imports = WebAssembly.Module.imports(new WebAssembly.Module(bytes));
  assert.deepEqual([...new Set(imports.map(({ module }) => module))], ["./rung_edge_bg.js"]);
  // Without the digest of their signature.
  const names = imports.map(({ name }) => name.replace(/^__wbg_|_[0-9a-f]{16}$/g, "")).sort();
  const expected = ["__wbindgen_init_externref_table", "__wbindgen_throw", "answered", "escalated", "new", "panicked"];
  assert.deepEqual(names, expected);
  // Of no model; what a CDN's runtime takes is far more. Whoever exceeds it has added something large.
  assert.ok(bytes.length <= 1.25 * 2 ** 20, `${bytes.length} bytes`);
});

/** The texts in nested objects. */
function leaves(value) {
  return typeof value === "string" ? value : Object.values(value).flatMap(leaves);
}

/** The names that a module or its types export as values. */
async function exported(file) {
  const text = await readFile(join(folder, file), "utf8");
  const lists = [...text.matchAll(/^export \{([^}]*)\}/gm)].flatMap(([, names]) => names.split(","));
  const declared = [...text.matchAll(/^export (?:class|function) (\w+)/gm)].map(([, name]) => name);
  return [...lists, ...declared].map((name) => name.trim()).filter(Boolean).sort();
}

test("the types of each entry are of what it exports", async () => {
  for (const [entry, types] of [["node.js", "index.d.ts"], ["web.js", "web.d.ts"], ["workerd.js", "web.d.ts"]]) {
    assert.deepEqual(await exported(entry), await exported(types), entry);
  }
  assert.deepEqual(Object.keys(await import(url("node.js"))).sort(), await exported("index.d.ts"));
  // What web.d.ts passes on under their names are all types there are.
  const [all, passed] = await Promise.all(["index.d.ts", "web.d.ts"].map((file) => readFile(join(folder, file), "utf8")));
  const names = [...all.matchAll(/^export (?:type|interface) (\w+)/gm)].map(([, name]) => name).sort();
  assert.deepEqual(passed.match(/^export type \{([^}]*)\}/m)[1].match(/\w+/g).sort(), names);
});

test("every entry of the package is there", async () => {
  const { exports, types, version } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
  const targets = leaves(exports);
  for (const file of [types, ...targets, "README.md", "LICENSE-MIT", "LICENSE-APACHE"]) {
    assert.ok((await readFile(join(folder, file))).length > 0, file);
  }
  assert.equal(version, process.env.RUNG_VERSION ?? version);
});

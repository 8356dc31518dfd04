// node runtimes.mjs PACKAGE BUNDLE [--json FILE]: the same requests in every runtime that is here, compared as text.
// CHROMIUM and WORKERD name the programs; one that is not named is told as missing.

import { gunzipSync } from "node:zlib";
import { spawn } from "node:child_process";
import { createReadStream } from "node:fs";
import { copyFile, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { cpus, tmpdir } from "node:os";
import { basename, extname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { outcomes } from "./cases.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const options = { json: { type: "string" } };
const { values, positionals } = parseArgs({ options, allowPositionals: true });
const [folder, bundle] = positionals.map((path) => resolve(path));
/** A runtime that says nothing for so long has failed. */
const PATIENCE_MS = 120_000;

/** The repo's own requests, with several k. */
async function demo() {
  const read = (name) => readFile(join(here, "../fixtures/demo", name));
  const [evaluation, gate] = await Promise.all(["requests.eval.jsonl", "requests.gate.jsonl.gz"].map(read));
  const lines = `${evaluation}${gunzipSync(gate)}`.split("\n").filter(Boolean);
  return lines.map((line, i) => {
    const { relevant, ...request } = JSON.parse(line);
    const tier = ["auto", "edge"][i % 2];
    return JSON.stringify({ ...request, model: "movies", k: [1, 5, 10, 20, 50][i % 5], tier });
  });
}

async function inNode(requests) {
  const { RungWorker, loadBundle } = await import(pathToFileURL(join(folder, "node.js")).href);
  return outcomes(new RungWorker(await loadBundle(bundle)), requests);
}

/** A page on a server of our own, which tells us what came out. */
async function inChromium(requests) {
  const profile = await mkdtemp(join(tmpdir(), "rung-chromium-"));
  const roots = { package: folder, bundle, tests: here };
  const types = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm" };
  let tell;
  const told = new Promise((resolve) => (tell = resolve));
  const server = createServer(async (request, response) => {
    const [, root, file] = request.url.split("/");
    if (request.method === "POST") {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      response.writeHead(204).end();
      tell(Buffer.concat(chunks).toString());
    } else if (root === "requests.jsonl") {
      response.end(requests.join("\n"));
    } else if (Object.hasOwn(roots, root) && file === basename(file ?? "")) {
      response.setHeader("content-type", types[extname(file)] ?? "application/octet-stream");
      createReadStream(join(roots[root], file)).on("error", () => response.writeHead(404).end()).pipe(response);
    } else {
      response.writeHead(404).end();
    }
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const flags =
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking " +
    "--disable-component-update --disable-sync --remote-debugging-port=0";
  const url = `http://127.0.0.1:${server.address().port}/tests/page.html`;
  const chromium = spawn(process.env.CHROMIUM, [...flags.split(" "), `--user-data-dir=${profile}`, url], { stdio: "ignore" });
  try {
    return await inTime(told, chromium);
  } finally {
    await ended(chromium);
    server.closeAllConnections();
    server.close();
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** A Worker of modules, asked over HTTP. */
async function inWorkerd(requests) {
  const dir = await mkdtemp(join(tmpdir(), "rung-workerd-"));
  const modules = [];
  const add = async (from, kind) => {
    const name = basename(from);
    await copyFile(from, join(dir, name));
    modules.push(`(name = "${name}", ${kind} = embed "${name}")`);
  };
  await add(join(here, "workerd.mjs"), "esModule");
  await add(join(here, "cases.mjs"), "esModule");
  for (const file of await readdir(folder)) {
    if (file.endsWith(".js") && file !== "node.js" && file !== "web.js") await add(join(folder, file), "esModule");
    if (file.endsWith(".wasm")) await add(join(folder, file), "wasm");
  }
  for (const file of ["manifest.json", "features.toml", "catalog.safetensors", "edge.w4.safetensors"]) {
    await add(join(bundle, file), "data");
  }
  const config = `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "rung", worker = (modules = [${modules.join(", ")}], compatibilityDate = "2024-09-01"))],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "rung")],
);
`;
  await writeFile(join(dir, "config.capnp"), config);
  const workerd = spawn(process.env.WORKERD, ["serve", "--control-fd=3", join(dir, "config.capnp")], {
    stdio: ["ignore", "ignore", "inherit", "pipe"],
  });
  try {
    const listens = new Promise((resolve) => workerd.stdio[3].once("data", resolve));
    const { port } = JSON.parse(String(await inTime(listens, workerd)).split("\n")[0]);
    const response = await fetch(`http://127.0.0.1:${port}/`, { method: "POST", body: requests.join("\n") });
    const text = await response.text();
    return response.ok ? text : `failed: ${response.status} ${text}`;
  } finally {
    await ended(workerd);
    await rm(dir, { recursive: true, force: true });
  }
}

/** What is awaited, unless the program ends before or takes too long. */
async function inTime(awaited, program) {
  let timer;
  const lost = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing within ${PATIENCE_MS} ms`)), PATIENCE_MS);
    program.once("error", reject);
    program.once("exit", (code) => reject(new Error(`it ended with ${code}`)));
  });
  try {
    return await Promise.race([awaited, lost]);
  } finally {
    clearTimeout(timer);
    lost.catch(() => {});
  }
}

async function ended(program) {
  if (program.exitCode !== null || program.pid === undefined) return;
  const exit = new Promise((resolve) => program.once("exit", resolve));
  program.kill();
  await exit;
}

const requests = await demo();
const reference = (await inNode(requests)).split("\n");
const runtimes = [
  ["chromium", process.env.CHROMIUM, inChromium],
  ["workerd", process.env.WORKERD, inWorkerd],
];
const rows = [];
for (const [subject, program, run] of runtimes) {
  let [value, reason] = [null, program ? null : "it is not installed"];
  if (program) {
    try {
      const got = (await run(requests)).split("\n");
      value = got.filter((line, i) => line === reference[i]).length / requests.length;
      if (got.length !== requests.length) console.error(`${subject}: ${got.slice(0, 8).join("\n")}`);
    } catch (error) {
      reason = error.message;
    }
  }
  const met = value === 1;
  rows.push({ name: "web_same_bits_as_node", subject, value, unit: "share", must: ">=1", want: null, met, reason });
  console.log(`${subject}: ${reason ?? `${value * requests.length} of ${requests.length} outcomes are Node's`}`);
}
if (values.json) {
  const machine = { os: process.platform, arch: process.arch, cpu: cpus()[0]?.model ?? null, cores: cpus().length };
  await writeFile(values.json, `${JSON.stringify({ schema_version: 1, machine, rows }, null, 2)}\n`);
}
// One that is here must do it; one that is not is told, no more.
process.exitCode = runtimes.some(([, program], i) => program && !rows[i].met) ? 1 : 0;

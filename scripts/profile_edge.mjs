// Where the time of a call of the worker goes, function by function, in Node's V8; for scripts/profile-edge.sh.
//   node scripts/profile_edge.mjs NAMED_WORKER.wasm PEERS_FOLDER [SECONDS]
// The worker has its names. The folder is what scripts/bench-edge.sh --only speed leaves: the parts of a bundle and calls.
import { readFileSync } from "node:fs";
import { Session } from "node:inspector/promises";
import { join } from "node:path";

const [wasm, folder, seconds = "5"] = process.argv.slice(2);
if (!folder) throw new Error("usage: profile_edge.mjs NAMED_WORKER.wasm PEERS_FOLDER [SECONDS]");
const { instance } = await WebAssembly.instantiate(readFileSync(wasm), {});
const { exports } = instance;

function write(bytes) {
  const address = exports.rung_input(bytes.length);
  new Uint8Array(exports.memory.buffer).set(bytes, address);
  return bytes.length;
}
function must(status, what) {
  if (status !== 0) throw new Error(`the worker declines ${what}`);
}
["schema.json", "variant.safetensors", "catalog.safetensors"].forEach((file, part) => {
  must(exports.rung_load(part, write(readFileSync(join(folder, "w8", file)))), file);
});
must(exports.rung_start(1, 64 << 20), "to start");
must(exports.rung_begin(1, write(readFileSync(join(folder, "w8", "begin")))), "to begin");

const data = readFileSync(join(folder, "calls"));
const calls = [];
for (let at = 0; at < data.length; ) {
  const length = data.readUInt32LE(at);
  calls.push(data.subarray(at + 4, at + 4 + length));
  at += 4 + length;
}
let count = 0;
function run(milliseconds) {
  const end = performance.now() + milliseconds;
  const begun = performance.now();
  const before = count;
  while (performance.now() < end) exports.rung_rank(write(calls[count++ % calls.length]));
  return ((performance.now() - begun) / (count - before)) * 1e3;
}
// Until V8 has compiled all of it as well as it can.
run(2000);
const session = new Session();
session.connect();
await session.post("Profiler.enable");
await session.post("Profiler.setSamplingInterval", { interval: 100 });
await session.post("Profiler.start");
const micros = run(Number(seconds) * 1e3);
const { profile } = await session.post("Profiler.stop");

// By what a function is for; the first that fits.
const PARTS = [
  ["linears: products, sums, activations", /linear6Linear|linear6single|linear5after|products/],
  ["linears: rounding of inputs", /linear4pack|try_map/],
  ["products of matrices", /matmul/],
  ["elementwise, sums, softmax", /elementwise|kernel6reduce|kernel3row|kernel4math|across/],
  ["moving rows: items' table, concat, gather", /run_floats|run_with|items|moves|copy_row|memory_copy|memcpy|memmove|js-to-wasm|wasm-to/],
  ["the request: decoding", /minicbor|from_utf8|decode/],
  ["candidates to rows of the catalog, user encoded", /catalog|schema|encode|xxh|prepare|memcmp|hash/],
  ["top k, gate, answer", /topk|gate|ladder|to_cbor|Ranked|BinaryHeap/],
  ["memory of the call", /alloc|drop_in_place|region/],
];
const named = new Map(profile.nodes.map((node) => [node.id, node.callFrame]));
const parts = new Map();
const functions = new Map();
let all = 0;
for (const [i, id] of profile.samples.entries()) {
  const { functionName: name, url } = named.get(id);
  if (!url.startsWith("wasm") && !/^(js-to-wasm|wasm-to)/.test(name)) continue;
  const time = profile.timeDeltas[i];
  const part = PARTS.find(([, pattern]) => pattern.test(name))?.[0] ?? "the rest";
  all += time;
  parts.set(part, (parts.get(part) ?? 0) + time);
  functions.set(name, (functions.get(name) ?? 0) + time);
}
const table = (times, most) =>
  [...times].sort((a, b) => b[1] - a[1]).slice(0, most)
    .map(([name, time]) => `${((time / all) * 100).toFixed(1).padStart(5)} % ${((time / all) * micros).toFixed(1).padStart(7)} us  ${name}`);
console.log(`${micros.toFixed(1)} us a call of the worker (Node ${process.version}), with the sampling`);
console.log(table(parts, 20).join("\n"));
console.log("\nby function:");
console.log(table(functions, 20).join("\n"));

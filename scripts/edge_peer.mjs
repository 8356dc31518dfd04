// onnxruntime-web on one thread, and the guest, in Node's V8, for scripts/bench-edge.sh. A question a line on stdin, an
// answer a line on stdout, JSON.
//
//   {do: "versions"}                                          -> {versions}
//   {do: "relaxed"}                                           -> {}, or an error where V8 has no relaxed SIMD
//   {do: "load", name, model, inputs}                         -> {first: [scores of the first request]}
//   {do: "guest", name, wasm, parts: [4 files], tier, item_table_bytes, calls} -> {}
//   {do: "turn", name, seconds}                               -> {seconds: [one a call, request after request]}
//   {do: "replies", name, verb: "rank" | "resume", messages, out} -> {}   every reply to a file of messages
//   {do: "drop", name}                                        -> {}
//
// `inputs` is what tests/src/edge/export.rs writes; a file of messages has each behind its length, 4 bytes, little-endian.
// RUNG_ORT_WEB is the folder of onnxruntime-web; without it there are only guests.

import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

let ort;
async function runtime() {
  if (ort) return ort;
  const folder = process.env.RUNG_ORT_WEB;
  if (!folder) throw new Error("onnxruntime-web is not installed");
  ort = await import(pathToFileURL(join(folder, "dist/ort.node.min.mjs")));
  Object.assign(ort.env.wasm, { numThreads: 1, simd: true, proxy: false });
  ort.env.logLevel = "error";
  return ort;
}

class Session {
  static async load({ model, inputs }) {
    const { InferenceSession, Tensor } = await runtime();
    const options = { executionProviders: ["wasm"], graphOptimizationLevel: "all", intraOpNumThreads: 1 };
    const session = await InferenceSession.create(new Uint8Array(readFileSync(model)), options);
    const data = readFileSync(join(dirname(inputs), "inputs.bin"));
    const tensor = ({ dtype, shape, offset }) => {
      const [Array_, size] = dtype === "int64" ? [BigInt64Array, 8] : [Float32Array, 4];
      const length = shape.reduce((a, b) => a * b, 1);
      const bytes = data.buffer.slice(data.byteOffset + offset, data.byteOffset + offset + length * size);
      return new Tensor(dtype, new Array_(bytes), shape);
    };
    const feeds = JSON.parse(readFileSync(inputs)).map((request) =>
      Object.fromEntries(request.filter((i) => session.inputNames.includes(i.name)).map((i) => [i.name, tensor(i)])));
    return Object.assign(new Session(), { session, feeds, next: 0 });
  }

  async run() {
    const outputs = await this.session.run(this.feeds[this.next++ % this.feeds.length]);
    return outputs[this.session.outputNames[0]].data;
  }

  async first() {
    const first = [...(await this.run())];
    this.next = 0;
    return first;
  }

  async drop() {
    await this.session.release();
  }
}

const PARTS = ["schema", "variant", "catalog"];

class Guest {
  static async load({ wasm, parts, tier, item_table_bytes, calls }) {
    const { instance } = await WebAssembly.instantiate(readFileSync(wasm), {});
    const guest = Object.assign(new Guest(), { exports: instance.exports, calls: messages(calls), next: 0 });
    if (guest.exports.rung_abi() !== 3) throw new Error("the worker speaks another ABI");
    const begin = parts.pop();
    parts.forEach((file, part) => {
      guest.succeeds(PARTS[part], guest.exports.rung_load(part, guest.write(readFileSync(file))));
    });
    guest.succeeds("start", guest.exports.rung_start(tier, item_table_bytes));
    guest.succeeds("begin", guest.exports.rung_begin(tier, guest.write(readFileSync(begin))));
    return guest;
  }

  succeeds(what, status) {
    if (status !== 0) throw new Error(`${what}: ${this.error()}`);
  }

  write(bytes) {
    const address = this.exports.rung_input(bytes.length);
    if (address === 0) throw new Error(this.error());
    new Uint8Array(this.exports.memory.buffer).set(bytes, address);
    return bytes.length;
  }

  // A view of the guest's memory, as long as nothing else is called.
  bytes(reply) {
    const packed = BigInt.asUintN(64, reply);
    return new Uint8Array(this.exports.memory.buffer, Number(packed >> 32n), Number(packed & 0xffffffffn));
  }

  error() {
    return new TextDecoder().decode(this.bytes(this.exports.rung_error()));
  }

  reply(verb, message) {
    const reply = this.exports[`rung_${verb}`](this.write(message));
    if (reply === 0n) throw new Error(this.error());
    return this.bytes(reply);
  }

  run() {
    return this.reply("rank", this.calls[this.next++ % this.calls.length]);
  }

  drop() {}
}

function messages(file) {
  const data = readFileSync(file);
  const found = [];
  for (let at = 0; at < data.length; ) {
    const length = data.readUInt32LE(at);
    found.push(data.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return found;
}

function replies(guest, { verb, messages: file, out }) {
  const parts = messages(file).flatMap((message) => {
    const reply = Buffer.from(guest.reply(verb, message));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(reply.length);
    return [length, reply];
  });
  writeFileSync(out, Buffer.concat(parts));
}

async function turn(subject, seconds) {
  const taken = [];
  const end = performance.now() + seconds * 1e3;
  const alone = subject instanceof Guest;
  do {
    const begun = performance.now();
    // Nothing is awaited where nothing has to be: that would be a turn of the event loop.
    if (alone) subject.run();
    else await subject.run();
    taken.push((performance.now() - begun) / 1e3);
  } while (performance.now() < end);
  return taken;
}

// (module (func (param v128 v128 v128) (result v128)
//   local.get 0 local.get 1 local.get 2 i32x4.relaxed_dot_i8x16_i7x16_add_s))
const RELAXED = [
  0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 8, 1, 0x60, 3, 0x7b, 0x7b, 0x7b, 1, 0x7b, 3, 2, 1, 0,
  10, 13, 1, 11, 0, 0x20, 0, 0x20, 1, 0x20, 2, 0xfd, 0x93, 0x02, 0x0b,
];
const subjects = new Map();

async function answer(question) {
  const named = () => {
    const subject = subjects.get(question.name);
    if (!subject) throw new Error(`there is no ${question.name}`);
    return subject;
  };
  switch (question.do) {
    case "versions": {
      const web = await runtime().then((ort) => `, onnxruntime-web ${ort.env.versions.web}`, () => "");
      return { versions: `Node ${process.version}${web}` };
    }
    case "relaxed":
      if (!WebAssembly.validate(new Uint8Array(RELAXED))) throw new Error("there is no relaxed SIMD");
      return {};
    case "load": {
      const session = await Session.load(question);
      subjects.set(question.name, session);
      return { first: await session.first() };
    }
    case "guest":
      subjects.set(question.name, await Guest.load(question));
      return {};
    case "turn":
      return { seconds: await turn(named(), question.seconds) };
    case "replies":
      replies(named(), question);
      return {};
    case "drop":
      await named().drop();
      subjects.delete(question.name);
      return {};
    default:
      throw new Error(`cannot do ${question.do}`);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  let told;
  try {
    told = await answer(JSON.parse(line));
  } catch (error) {
    told = { error: String(error.message ?? error).split("\n")[0].slice(0, 300) };
  }
  process.stdout.write(`${JSON.stringify(told)}\n`);
}

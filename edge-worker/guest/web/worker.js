// The same for every runtime; the entry for each (`node.js`, `web.js`, `workerd.js`) has started the WASM before.

import { RungError } from "./host.js";
import { RawWorker, __wbg_reset_state as renew } from "./rung_edge.js";

export { RungError };

// As `limits` and `default_timeout_ms` of `rung.toml`.
const DEFAULTS = { tier: "edge", maxCandidates: 1000, maxK: 100 };
const DEFAULT_TIMEOUT_MS = 100;
const MAX_U32 = 2 ** 32 - 1;

// All workers share one WASM instance. When it is lost, each makes its own part anew before its next call.
let generation = 0;

export class RungWorker {
  #bundle;
  #options;
  #raw;
  #generation;

  constructor(bundle, options = {}) {
    this.#bundle = {
      manifest: bytes(bundle?.manifest, "bundle.manifest"),
      features: bytes(bundle?.features, "bundle.features"),
      catalog: bytes(bundle?.catalog, "bundle.catalog"),
      variant: bytes(bundle?.variant, "bundle.variant"),
    };
    this.#options = { ...DEFAULTS, ...options };
    for (const limit of ["maxCandidates", "maxK"]) {
      const value = this.#options[limit];
      if (!Number.isInteger(value) || value < 1 || value > MAX_U32) {
        throw new RungError(limit, `is ${value}, but must be a whole number from 1 to ${MAX_U32}`);
      }
    }
    const { tier, model, version, digest } = this.#call((raw) => raw);
    Object.assign(this, { tier, model, version, digest });
  }

  rank(request, { remainingMs } = {}) {
    const text = typeof request === "string" ? request : JSON.stringify(request);
    if (text === undefined) throw new RungError("", "a request is an object, or its JSON text");
    return this.#call((raw) => raw.rank(text, remainingMs));
  }

  resume(held, reply, { remainingMs } = {}) {
    const kept = bytes(held, "held");
    const got = reply == null ? undefined : bytes(reply, "reply");
    return this.#call((raw) => raw.resume(kept, got, remainingMs));
  }

  async answer(request, ask, { remainingMs } = {}) {
    const began = performance.now();
    const timing = { queue: 0, score: 0, upstream: 0, total: 0 };
    const timed = async (part, work) => {
      const start = performance.now();
      try {
        return await work();
      } finally {
        timing[part] += performance.now() - start;
      }
    };
    const deadline = began + (remainingMs ?? timeoutOf(request));
    const left = () => ({ remainingMs: Math.max(0, deadline - performance.now()) });
    let step = await timed("score", () => this.rank(request, left()));
    while (step.escalate) {
      const { escalate, held } = step;
      const reply = await timed("upstream", () => within(escalate.waitMs, () => ask(escalate)));
      step = await timed("score", () => this.resume(held, reply, left()));
    }
    timing.total = performance.now() - began;
    for (const part of Object.keys(timing)) step.answer.timing_us[part] = Math.round(timing[part] * 1000);
    return step.answer;
  }

  free() {
    if (this.#generation === generation) this.#raw?.free();
    this.#raw = undefined;
    this.#generation = undefined;
  }

  #call(verb) {
    try {
      if (this.#generation !== generation) {
        const { manifest, features, catalog, variant } = this.#bundle;
        const { tier, maxCandidates, maxK } = this.#options;
        this.#raw = new RawWorker(manifest, features, catalog, variant, tier, maxCandidates, maxK);
        this.#generation = generation;
      }
      return verb(this.#raw);
    } catch (error) {
      if (error instanceof RungError) throw error;
      // A panic, or a trap: what the instance holds may be half done.
      generation += 1;
      renew();
      const failed = new RungError("", `the worker failed at this call and was made anew: ${error.message}`);
      failed.cause = error;
      throw failed;
    }
  }
}

if (Symbol.dispose) RungWorker.prototype[Symbol.dispose] = RungWorker.prototype.free;

export function upstream(url, { fetch = globalThis.fetch, headers = {} } = {}) {
  return async ({ path, contentType, body, waitMs }) => {
    const response = await fetch(new URL(path, url), {
      method: "POST",
      headers: { ...headers, "content-type": contentType, accept: contentType },
      body,
      signal: AbortSignal.timeout(Math.ceil(waitMs)),
    });
    return response.ok ? new Uint8Array(await response.arrayBuffer()) : null;
  };
}

export async function loadBundle(source, { tier = DEFAULTS.tier } = {}) {
  const variants = { edge: "edge.w4.safetensors", region: "region.w8.safetensors" };
  if (!Object.hasOwn(variants, tier)) throw new RungError("tier", `is \`${tier}\`, but must be \`edge\` or \`region\``);
  const read = typeof source === "function" ? source : fetched(source);
  const files = ["manifest.json", "features.toml", "catalog.safetensors", variants[tier]];
  const [manifest, features, catalog, variant] = await Promise.all(files.map((file) => read(file)));
  return { manifest, features, catalog, variant };
}

function fetched(base) {
  const folder = String(base).replace(/\/?$/, "/");
  return async (file) => {
    const response = await fetch(new URL(file, folder));
    if (!response.ok) throw new RungError("bundle", `${response.url}: ${response.status} ${response.statusText}`);
    return new Uint8Array(await response.arrayBuffer());
  };
}

/** What comes of `work`, or null if it fails or takes too long. */
async function within(ms, work) {
  let timer;
  const late = new Promise((resolve) => (timer = setTimeout(resolve, Math.max(0, ms), null)));
  try {
    return await Promise.race([work(), late]);
  } catch {
    return null;
  } finally {
    clearTimeout(timer);
  }
}

/** A request at fault is told so by `rank`. */
function timeoutOf(request) {
  try {
    const { timeout_ms: ms } = typeof request === "string" ? JSON.parse(request) : request;
    return Number.isFinite(ms) ? ms : DEFAULT_TIMEOUT_MS;
  } catch {
    return DEFAULT_TIMEOUT_MS;
  }
}

function bytes(value, field) {
  if (value instanceof Uint8Array) return value;
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  throw new RungError(field, "must be a Uint8Array or an ArrayBuffer");
}

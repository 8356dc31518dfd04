/**
 * Rung's worker for JavaScript: one tier of the ladder, wherever JavaScript runs.
 *
 * It ranks the candidates of a request and answers if it is sure. If it is not, it says what to send to the tier above;
 * your code moves the bytes.
 */

/** Which tier a worker is: an edge runs the bundle's 4/8-bit mix `w4`, a region its 8-bit form `w8`. */
export type Tier = "edge" | "region";

/** The files of a bundle that a tier needs, as they lie in its folder. */
export interface BundleFiles {
  /** `manifest.json` */
  manifest: Uint8Array | ArrayBuffer;
  /** `features.toml` */
  features: Uint8Array | ArrayBuffer;
  /** `catalog.safetensors` */
  catalog: Uint8Array | ArrayBuffer;
  /** `edge.w4.safetensors` for an edge, `region.w8.safetensors` for a region */
  variant: Uint8Array | ArrayBuffer;
}

export interface WorkerOptions {
  /** @default "edge" */
  tier?: Tier;
  /** Requests with more candidates go up whole. @default 1000 */
  maxCandidates?: number;
  /** Requests with a larger k go up whole. @default 100 */
  maxK?: number;
}

/** A value of a field of `user`, of `context` or of an item's own features; nested objects become dotted names. */
export type Value = null | boolean | number | string | Value[] | { [field: string]: Value };

/** An id of the catalog, or an item with features of its own, which take the place of the catalog's. */
export type Candidate = string | { id: string; [feature: string]: Value };

/** The body of `POST /v1/rank`. */
export interface RankRequest {
  /** The model of the bundle. */
  model: string;
  /** What is to be ranked; no id twice. */
  candidates: readonly Candidate[];
  /** How many make the answer, 1 or more. @default 10 */
  k?: number | null;
  /** The fields that the model's `features.toml` names. */
  user?: { [field: string]: Value } | null;
  context?: { [field: string]: Value } | null;
  /** Ids that are not ranked. */
  exclude?: readonly string[] | null;
  /** How long the client waits, 1 to 60000. @default 100 */
  timeout_ms?: number | null;
  /** `auto`: the lowest tier that is sure. Else that tier's own answer, without a claim. @default "auto" */
  tier?: "auto" | "edge" | "region" | "origin" | null;
  explain?: boolean;
}

export interface Ranked {
  id: string;
  /** The model's output, exactly a 32-bit float (`Math.fround(score) === score` to the bits); null from level 2 on. */
  score: number | null;
  /** The tier that scored it. */
  by: Tier | "origin";
}

/**
 * The claim: of the answers so tagged by this tier, at most `alpha` have another top-k *set* than the full-precision
 * model's, for requests exchangeable with the gate set; the certification itself errs for at most `delta` of bundles.
 */
export interface Agreement {
  alpha: number;
  delta: number;
  k: number;
  /** By which path the answer came. */
  class: "edge" | "region" | "merged_region" | "merged_origin" | (string & {});
  /**
   * Twice the distance to the boundary, over its noise, of the candidate that is nearest so; null when every candidate is in
   * the answer, and where the origin decided.
   */
  margin: number | null;
  /** What the margin had to reach. */
  threshold: number | null;
}

/** What `POST /v1/rank` answers. */
export interface Answer {
  model: string;
  version: string;
  /** The tier that answered. */
  tier: Tier | "origin";
  /** `w4`, `w8`, `f32`, or `tf32` and `bf16` of a GPU; null when it was ranked without the model. */
  variant: string | null;
  /** 0 is normal; 1: the tier above is gone or late; 2 to 4: no model ranked. */
  degradation: number;
  reason: "sure" | "trivial" | "asked" | "reference" | "upstream_gone" | "worker_failed" | "merged" | "rounded" | (string & {});
  /** The best first, at most k. */
  ranked: Ranked[];
  agreement: Agreement | null;
  /** Microseconds; filled in by {@link RungWorker.answer}, for the worker itself has no clock. */
  timing_us: { queue: number; score: number; upstream: number; total: number };
  /** What was ignored in the request, and what was scored with defaults. */
  warnings?: string[];
  /** When asked for. */
  explanation?: unknown;
}

/** What goes to the tier above. */
export interface Escalation {
  /** Send it there, by POST. */
  path: "/v1/escalate";
  contentType: "application/cbor";
  body: Uint8Array<ArrayBuffer>;
  /** How long to wait for the reply, in milliseconds, so that there is time left to answer without one. */
  waitMs: number;
}

export interface Answered {
  answer: Answer;
  escalate?: undefined;
}

export interface Escalated {
  answer?: undefined;
  /** What to send up. */
  escalate: Escalation;
  /** For {@link RungWorker.resume}, on this worker or another of the same bundle and tier. */
  held: Uint8Array<ArrayBuffer>;
  /** The answer if nobody above replies, when it is known already. */
  ready: Answer | null;
}

export type Step = Answered | Escalated;

export interface TimeLeft {
  /** What is left of the client's time, in milliseconds; by default the request's `timeout_ms`. */
  remainingMs?: number;
}

/** Sends an escalation up; the reply's bytes, or null if there is none. What it throws counts as no reply. */
export type Ask = (escalation: Escalation) => Promise<Uint8Array | ArrayBuffer | null>;

/** What Rung refuses: a request, a bundle, an option. */
export class RungError extends Error {
  constructor(field: string, message: string);
  readonly name: "RungError";
  /**
   * What is at fault: a field of the request (`candidates[3].id`), `bundle`, `held` or an option; empty when it is none
   * alone, as for text that is no JSON.
   */
  readonly field: string;
}

/** One tier's worker for one bundle. The same calls give the same bits, on every runtime and in `pop`. */
export class RungWorker {
  /**
   * Verifies the bundle (its files against the digests in its manifest) and makes a worker of it. The files are kept, so
   * that a worker that fails can be made anew.
   *
   * @throws {RungError} names the file and the reason
   */
  constructor(bundle: BundleFiles, options?: WorkerOptions);

  readonly tier: Tier;
  readonly model: string;
  readonly version: string;
  /** SHA-256 of the manifest, hex: compare it with the one you expect to know that this is the bundle you mean. */
  readonly digest: string;

  /**
   * Ranks, asks the tier above when this one is not sure, and always answers: without a reply in time this tier's own
   * ranking stands, at degradation level 1.
   *
   * ```js
   * const answer = await worker.answer(await request.text(), upstream("https://region.example"));
   * ```
   *
   * @param request an object, or its JSON text
   * @throws {RungError} the request is at fault
   */
  answer(request: RankRequest | string, ask: Ask, time?: TimeLeft): Promise<Answer>;

  /**
   * One step: an answer, or what to ask the tier above.
   *
   * @param request an object, or its JSON text
   * @throws {RungError} the request is at fault
   */
  rank(request: RankRequest | string, time?: TimeLeft): Step;

  /**
   * The next step: with the reply of the tier above, or with null when there is none. Bytes that are no reply are none.
   *
   * @param held from {@link Escalated}
   * @throws {RungError} the tier above finds the request at fault, or `held` is not of this bundle
   */
  resume(held: Uint8Array | ArrayBuffer, reply: Uint8Array | ArrayBuffer | null, time?: TimeLeft): Step;

  /** Gives the worker's memory back now rather than when it is collected; a later call makes it anew. */
  free(): void;
}

export interface UpstreamOptions {
  fetch?: (url: URL, init: RequestInit) => Promise<Response>;
  /** Sent along, say for a gateway in between. */
  headers?: Record<string, string>;
}

/** An {@link Ask} by `fetch`, to the tier at this address: its listener for tiers, which wants a certificate. */
export function upstream(url: string | URL, options?: UpstreamOptions): Ask;

/**
 * Of the entry for Node alone: a `fetch` for {@link upstream} that shows a certificate, for Node's own cannot.
 *
 * @param tls PEM, as Node's `https.Agent` takes it
 */
export function certified(tls: { cert: string | Uint8Array; key: string | Uint8Array; ca?: string | Uint8Array }): UpstreamOptions["fetch"];

/**
 * Gets what a tier needs of a bundle. Nothing is verified here: {@link RungWorker} does.
 *
 * @param source an address; under Node also a folder; or what reads a file by its name
 * @throws {RungError} a file is not there
 */
export function loadBundle(
  source: string | URL | ((file: string) => Promise<Uint8Array | ArrayBuffer>),
  options?: { tier?: Tier },
): Promise<BundleFiles>;

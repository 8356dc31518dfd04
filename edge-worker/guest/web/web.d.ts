/** The entries for browsers and for CDN runtimes: all that `index.d.ts` tells of, but `certified`, which is Node's. */

export { RungError, RungWorker, loadBundle, upstream } from "./index.js";
export type {
  Agreement,
  Answer,
  Answered,
  Ask,
  BundleFiles,
  Candidate,
  Escalated,
  Escalation,
  RankRequest,
  Ranked,
  Step,
  Tier,
  TimeLeft,
  UpstreamOptions,
  Value,
  WorkerOptions,
} from "./index.js";

// The entry for Cloudflare Workers and workerd: the WASM is a module of its own, compiled ahead, as they demand.

import module from "./rung_edge_bg.wasm";
import { initSync } from "./rung_edge.js";

initSync({ module });

export { RungError, RungWorker, loadBundle, upstream } from "./worker.js";

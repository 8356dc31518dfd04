// The entry for browsers and bundlers, a plain ES module: the WASM is fetched from beside this file.

import start from "./rung_edge.js";

await start();

export { RungError, RungWorker, loadBundle, upstream } from "./worker.js";

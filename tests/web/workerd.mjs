// A Worker as on Cloudflare: the package, its WASM and the bundle are modules; nothing is compiled at run time.

import catalog from "catalog.safetensors";
import features from "features.toml";
import manifest from "manifest.json";
import variant from "edge.w4.safetensors";
import { outcomes } from "./cases.mjs";
import { RungWorker } from "./workerd.js";

const worker = new RungWorker({ manifest, features, catalog, variant });

export default {
  async fetch(request) {
    return new Response(outcomes(worker, (await request.text()).split("\n")));
  },
};

// What the WASM calls: it makes the values that `worker.js` hands on. Bytes are copied, for they lie in the WASM's memory.

/** Whatever Rung refuses: a request, a bundle, an option. */
export class RungError extends Error {
  /**
   * @param {string} field
   * @param {string} message
   */
  constructor(field, message) {
    super(message);
    this.name = "RungError";
    this.field = field;
  }
}

/** What a panic throws, through the WASM, whose instance is lost with it. */
export class Panic extends Error {}

export function answered(json) {
  return { answer: JSON.parse(json) };
}

export function escalated(body, waitMs, held, ready) {
  return {
    escalate: { path: "/v1/escalate", contentType: "application/cbor", body: body.slice(), waitMs },
    held: held.slice(),
    ready: ready === undefined ? null : JSON.parse(ready),
  };
}

export function panicked(text) {
  throw new Panic(text);
}

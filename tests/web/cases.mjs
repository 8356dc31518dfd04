// What a worker does with a request, as plain data: for every runtime, so that their outcomes can be compared as text.

/** The outcome of one request, in JSON text, without a tier above. */
export function outcome(worker, request) {
  try {
    const step = worker.rank(request);
    if (step.answer) return answered(step.answer);
    const { escalate, held, ready } = step;
    return {
      escalate: { ...escalate, body: hex(escalate.body) },
      ready: ready && answered(ready),
      alone: answered(worker.resume(held, null).answer),
    };
  } catch (error) {
    if (error.name !== "RungError") throw error;
    return { field: error.field, message: error.message };
  }
}

/** The outcomes of many, a line each. */
export function outcomes(worker, requests) {
  return requests.map((request) => JSON.stringify(outcome(worker, request))).join("\n");
}

/** An answer with the bits of its scores, which JSON could hide. */
function answered(answer) {
  const scores = Float32Array.from(answer.ranked, ({ score }) => score ?? NaN);
  return { answer, bits: Array.from(new Uint32Array(scores.buffer)) };
}

function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

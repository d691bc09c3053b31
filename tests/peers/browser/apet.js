// @ts-check
// APET Lab's side: its wasm in a Worker, as the page has it.

import { settings } from "./model.js";

const worker = new Worker("apet-worker.js", { type: "module" });
const asked = await settings();
/** @type {{ result?: unknown }} */ (window).result = await new Promise((done) => {
  worker.onmessage = ({ data }) => done(data);
  worker.onerror = (event) => done({ error: event.message });
  worker.postMessage(asked);
});

// @ts-check
// Keeps the model in the origin's private files, opens it from there, measures steps.

import load, { Lab } from "/pkg/apet_web.js";
import { ADAM, RATES, SHAPE, batch, checkpoint, countCalls, counts, since } from "./model.js";

countCalls();

// Words are numbers: the rows come as token ids.
const TOKENIZER = { version: "1.0", model: { type: "WordLevel", vocab: { "?": 0 }, unk_token: "?" } };
const POOL = { modules: ["attention", "ffn", "norm", "bias"] };
/** @type {Record<string, unknown>} */
const METHODS = {
  full: { name: "full", pool: POOL },
  lora: { name: "lora" },
  bitfit: { name: "bitfit" },
  apet: { name: "apet", count: 10_000, pool: POOL },
};

/** Receives the next message: settings first, then gradient requests. @type {((data: any) => void)} */
let take;
const next = () => /** @type {Promise<any>} */ (new Promise((resolve) => (take = resolve)));
self.onmessage = ({ data }) => take(data);
(async () => {
  try {
    self.postMessage(await run(await next()));
  } catch (error) {
    self.postMessage({ error: String(error) });
  }
})();

/** Starts a Worker that computes half of each gradient: on `cpu` each Worker is a thread. */
async function helper(/** @type {import("./model.js").Settings} */ settings) {
  const worker = new Worker("apet-worker.js", { type: "module" });
  /** @type {any} */
  let waiting;
  worker.onmessage = ({ data }) => waiting(data);
  const answer = () => new Promise((resolve) => (waiting = resolve));
  worker.postMessage({ ...settings, helps: true });
  await answer();
  return (/** @type {Float32Array} */ values, /** @type {unknown} */ shards) => {
    worker.postMessage({ values, shards }, [values.buffer]);
    return answer();
  };
}

/** @param {import("./model.js").Settings & { helps?: boolean }} settings */
async function run(settings) {
  const { alone, device, helps, method, steps, warmup } = settings;
  await load({ module_or_path: "/pkg/apet_web_bg.wasm" });
  const lab = await Lab.open(device === "wasm" ? "cpu" : "webgpu");
  const model = checkpoint();
  const config = await (await fetch("/config.json")).text();
  if (!helps) {
    await keep("config.json", new Blob([config]));
    await keep("tokenizer.json", new Blob([JSON.stringify(TOKENIZER)]));
    await keep("model.safetensors", model);
  }
  await lab.loadModel("bench", [{ name: "model.safetensors", size: model.size }]);

  const spec = {
    model: "bench",
    task: { name: "random", max_length: SHAPE.length },
    method: METHODS[method],
    train: { steps, batch_size: SHAPE.rows },
    optimizer: { learning_rate: RATES[method], ...ADAM, clip_norm: 0 },
  };
  const { ids, labels } = batch();
  const rows = [...labels].map((label, row) => ({
    ids: [...ids.subarray(row * SHAPE.length, (row + 1) * SHAPE.length)],
    label,
  }));
  if (helps) {
    return lab.assist(
      JSON.stringify(spec),
      (/** @type {any} */ answer) => {
        self.postMessage(answer ?? "ready", answer ? [answer.gradient.buffer] : []);
        return next();
      },
      rows,
    );
  }
  const helpers = device === "wasm" && !alone ? [await helper(settings)] : [];
  /** @type {Record<string, import("./model.js").Counts>} */
  const of = {};
  let before = counts();
  let pipelines = 0;
  const measured = await lab.bench(JSON.stringify(spec), rows, warmup, (/** @type {string} */ part) => {
    if (Object.keys(of).length === 0) pipelines = counts().pipelines ?? 0;
    of[part] = since(before, 1); // the last one's stay
    before = counts();
  }, helpers);
  // As text: the way out of the page takes minutes for so many numbers.
  const initial = JSON.stringify([...measured.initial]);
  return { ...measured, initial, device: lab.device, first_pipelines: pipelines, pipelines: counts().pipelines, of_a_step: of["step"], of_a_forward: of["forward"] };
}

/** @param {string} name @param {Blob} content */
async function keep(name, content) {
  let folder = await navigator.storage.getDirectory();
  for (const part of ["models", "bench"]) folder = await folder.getDirectoryHandle(part, { create: true });
  const file = await folder.getFileHandle(name, { create: true });
  const stream = await file.createWritable();
  await stream.write(content);
  await stream.close();
}

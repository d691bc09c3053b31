// @ts-check
// What every side of the comparison has: an encoder of 2 layers of width 128 with its weights, a batch, learning
// rates, and how steps are measured. Linear weights are [in, out] here: y = x @ w + b.

export const SHAPE = { layers: 2, width: 128, heads: 2, words: 8192, rows: 8, length: 64 };
export const LORA = { rank: 8, scale: 2 };
export const ADAM = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
export const NORM_EPSILON = 1e-12;
/** @type {Record<string, number>} */
export const RATES = { full: 3e-4, lora: 3e-3, bitfit: 3e-3, apet: 3e-3, forward: 0 };

/**
 * @typedef {{ side: "apet" | "jax-js" | "tfjs", device: "webgpu" | "wasm", method: string, steps: number,
 *   warmup: number, jit: boolean, alone?: boolean, initial: number[] }} Settings
 * @typedef {{ shape: number[], data: Float32Array }} Values
 */

/** @returns {Promise<Settings>} */
export const settings = async () => (await fetch("/settings.json")).json();

/** Mulberry32: numbers from 0 to 1. @param {number} seed */
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** @param {number} count @param {number} deviation @param {number} seed */
function normal(count, deviation, seed) {
  const next = random(seed);
  const numbers = new Float32Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - next()));
    const angle = 2 * Math.PI * next();
    numbers[i] = deviation * radius * Math.cos(angle);
    if (i + 1 < count) numbers[i + 1] = deviation * radius * Math.sin(angle);
  }
  return numbers;
}

/** Linear layers of a block, as BERT's checkpoints name them. */
const NAMES = {
  q: "attention.self.query",
  k: "attention.self.key",
  v: "attention.self.value",
  o: "attention.output.dense",
  f1: "intermediate.dense",
  f2: "output.dense",
};

/** The frozen model. @returns {Record<string, Values>} */
export function encoder() {
  const { layers, width, words, length } = SHAPE;
  /** @type {Record<string, Values>} */
  const all = {};
  let seed = 1;
  /** @param {string} name @param {number[]} shape @param {number} deviation */
  const draw = (name, shape, deviation) => {
    all[name] = { shape, data: normal(shape.reduce((a, b) => a * b), deviation, seed++) };
  };
  /** @param {string} name @param {number} size @param {number} value */
  const fill = (name, size, value) => {
    all[name] = { shape: [size], data: new Float32Array(size).fill(value) };
  };
  /** @param {string} name */
  const norm = (name) => {
    fill(`${name}.g`, width, 1);
    fill(`${name}.b`, width, 0);
  };
  draw("words", [words, width], 0.02);
  draw("positions", [length, width], 0.02);
  norm("norm");
  for (let i = 0; i < layers; i++) {
    for (const part of Object.keys(NAMES)) {
      const [from, to] = [part === "f2" ? 4 * width : width, part === "f1" ? 4 * width : width];
      draw(`${i}.${part}.w`, [from, to], 0.05);
      fill(`${i}.${part}.b`, to, 0);
    }
    norm(`${i}.norm1`);
    norm(`${i}.norm2`);
  }
  return all;
}

/**
 * With what a method adds and the head, which begin as APET Lab has them: `initial` is its theta, in which LoRA's
 * factors are [rank, in] and [out, rank], and the head, [classes, width], comes last.
 * @param {string} method @param {number[]} initial
 */
export function parameters(method, initial) {
  const { layers, width } = SHAPE;
  const all = encoder();
  /** Transposed. @param {number} at @param {number} rows @param {number} columns @returns {Values} */
  const turned = (at, rows, columns) => {
    const data = new Float32Array(rows * columns);
    for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) data[c * rows + r] = initial[at + r * columns + c] ?? NaN;
    return { shape: [columns, rows], data };
  };
  if (method === "lora") {
    const size = LORA.rank * width;
    let at = 0;
    for (let i = 0; i < layers; i++)
      for (const part of ["q", "v"]) {
        all[`${i}.${part}.A`] = turned(at, LORA.rank, width);
        all[`${i}.${part}.B`] = turned(at + size, width, LORA.rank);
        at += 2 * size;
      }
  }
  all["head.w"] = turned(initial.length - 2 * width - 2, 2, width);
  all["head.b"] = { shape: [2], data: new Float32Array(2) };
  return all;
}

/** Whether a method tunes a parameter; tables of tokens and positions are frozen. @param {string} method @param {string} name */
export function tunes(method, name) {
  if (name === "words" || name === "positions") return false;
  if (method === "forward") return false;
  if (name.startsWith("head.") || method === "full") return true;
  return method === "bitfit" ? name.endsWith(".b") : /\.[AB]$/.test(name);
}

/** Rows of a class draw a quarter of their tokens from its half of the vocabulary. */
export function batch() {
  const { words, rows, length } = SHAPE;
  const next = random(777);
  const ids = new Int32Array(rows * length);
  const labels = new Int32Array(rows);
  for (let row = 0; row < rows; row++) {
    const label = row % 2;
    labels[row] = label;
    for (let t = 0; t < length; t++) {
      let id = Math.floor(next() * words);
      if (next() < 0.25) id = Math.floor(next() * (words / 2)) + label * (words / 2);
      ids[row * length + t] = id;
    }
  }
  return { ids, labels };
}

/** The frozen model as a BERT's model.safetensors. */
export function checkpoint() {
  /** @type {Record<string, Values>} */
  const tensors = {};
  for (const [name, { shape, data }] of Object.entries(encoder())) {
    const [rows, columns] = shape;
    if (rows && columns && name.endsWith(".w")) {
      const turned = new Float32Array(data.length);
      for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) turned[c * rows + r] = data[r * columns + c] ?? NaN;
      tensors[bertName(name)] = { shape: [columns, rows], data: turned };
    } else tensors[bertName(name)] = { shape, data };
  }
  const types = new Float32Array(2 * SHAPE.width);
  tensors["embeddings.token_type_embeddings.weight"] = { shape: [2, SHAPE.width], data: types };
  /** @type {Record<string, unknown>} */
  const header = {};
  let size = 0;
  for (const [name, { shape, data }] of Object.entries(tensors)) {
    header[name] = { dtype: "F32", shape, data_offsets: [size, (size += data.byteLength)] };
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const length = new DataView(new ArrayBuffer(8));
  length.setBigUint64(0, BigInt(text.length), true);
  return new Blob([length.buffer, text, ...Object.values(tensors).map(({ data }) => /** @type {BlobPart} */ (data))]);
}

/** @param {string} name */
function bertName(name) {
  const end = /\.(w|g)$/.test(name) ? "weight" : "bias";
  const [layer, part] = name.split(".");
  if (name === "words") return "embeddings.word_embeddings.weight";
  if (name === "positions") return "embeddings.position_embeddings.weight";
  if (layer === "norm") return `embeddings.LayerNorm.${end}`;
  const where = `encoder.layer.${layer}`;
  if (part === "norm1") return `${where}.attention.output.LayerNorm.${end}`;
  if (part === "norm2") return `${where}.output.LayerNorm.${end}`;
  return `${where}.${NAMES[/** @type {keyof typeof NAMES} */ (part)]}.${end}`;
}

/**
 * Calls a step that gives its loss, with warm-up before.
 * @param {() => Promise<number>} step @param {Settings} settings
 */
export async function measure(step, { steps, warmup }) {
  const [losses, times] = [/** @type {number[]} */ ([]), /** @type {number[]} */ ([])];
  let first = 0;
  /** @type {Counts} */
  let before = {};
  for (let number = 0; number < warmup + steps; number++) {
    if (number === warmup) before = counts();
    const begun = performance.now();
    losses.push(await step());
    const took = performance.now() - begun;
    if (number === 0) first = took;
    if (number >= warmup) times.push(took);
  }
  return { first_step_ms: first, step_ms: times, losses, of_a_step: since(before, steps), pipelines: counts().pipelines };
}

/** @typedef {Record<string, number>} Counts */

/** @type {Counts} */
const counted = { dispatches: 0, submissions: 0, reads: 0, writes: 0, buffers: 0, pipelines: 0 };

/** What WebGPU was asked for until now. @returns {Counts} */
export const counts = () => ({ ...counted });

/** The same of one step out of several. @param {Counts} before @param {number} steps @returns {Counts} */
export function since(before, steps) {
  const now = counts();
  return Object.fromEntries(Object.keys(now).map((name) => [name, ((now[name] ?? 0) - (before[name] ?? 0)) / steps]));
}

/** Counts every call to WebGPU from now on. */
export function countCalls() {
  if (!("GPUDevice" in globalThis)) return;
  const scope = /** @type {Record<string, { prototype: Record<string, Function> }>} */ (/** @type {unknown} */ (globalThis));
  /** @param {string} type @param {string} method @param {string} name */
  const count = (type, method, name) => {
    const prototype = scope[type]?.prototype;
    const original = prototype?.[method];
    if (!prototype || !original) return;
    prototype[method] = function (/** @type {unknown[]} */ ...args) {
      counted[name] = (counted[name] ?? 0) + 1;
      return original.apply(this, args);
    };
  };
  count("GPUComputePassEncoder", "dispatchWorkgroups", "dispatches");
  count("GPUComputePassEncoder", "dispatchWorkgroupsIndirect", "dispatches");
  count("GPUQueue", "submit", "submissions");
  count("GPUQueue", "writeBuffer", "writes");
  count("GPUBuffer", "mapAsync", "reads");
  count("GPUDevice", "createBuffer", "buffers");
  count("GPUDevice", "createComputePipeline", "pipelines");
  count("GPUDevice", "createComputePipelineAsync", "pipelines");
}

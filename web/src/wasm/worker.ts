// The Worker: holds the Lab's wasm and the base model, and answers the page's calls.
// It is disposable: after a fault the page ends it and starts another.

/// <reference lib="webworker" />
import { errorText } from "../format";
import { gradientWorker, release, serveGradients } from "./gradient-port";
import { readSource } from "../storage/download";
import { downloadModel } from "../storage/model-download";
import { keepsFiles } from "../storage/memory-files";
import type { Calls, CallName, Lab, LabModule, Reply, Request, SplitBytes } from "./protocol";

declare const self: DedicatedWorkerGlobalScope;

const say = (reply: Reply) => self.postMessage(reply);
const download = (line: string) => say({ download: line });

// Found at build time: without the wasm the page still builds and shows Results.
const built = Object.values(import.meta.glob<LabModule>("../../pkg/lab/apet_web.js"))[0];
const address = Object.values(
  import.meta.glob<string>("../../pkg/lab/apet_web_bg.wasm", { query: "?url", import: "default", eager: true }),
)[0];

let wasm: Promise<LabModule> | undefined;
const keeps = keepsFiles();
let lab: Lab | undefined;
let getting: AbortController | undefined;

async function load(): Promise<LabModule> {
  if (!built || !address) {
    throw new Error(
      "This build of the page has no Lab: its WebAssembly (web/pkg/lab) was missing. Build it with `cargo xtask lab`.",
    );
  }
  const module = await built();
  await Promise.all([module.default({ module_or_path: address }), keeps]);
  return module;
}

function module(): Promise<LabModule> {
  wasm ??= load();
  return wasm;
}

function opened(): Lab {
  if (!lab) throw new Error("The Worker has no open device.");
  return lab;
}

type Handlers = { [K in CallName]: (...args: Calls[K]["args"]) => Calls[K]["value"] | Promise<Calls[K]["value"]> };

const handlers: Handlers = {
  status: async () => ({ ...(await (await module()).webgpuStatus()), keepsFiles: await keeps }),

  open: async (device) => {
    lab = await (await module()).Lab.open(device);
    const { name, adapter, host } = lab.device;
    return { name, adapter, host };
  },

  model: async (name, source) => {
    const lab = opened();
    getting = new AbortController();
    const weights = await downloadModel(name, source, {
      shards: (index) => lab.shardsOf(name, index),
      check: (weights) => lab.checkModel(name, weights),
      report: (transfer) => say({ transfer }),
      signal: getting.signal,
    });
    download(`Reading ${name}`);
    return { ...(await lab.loadModel(name, weights)), weights };
  },

  kept: (name, weights) => opened().loadModel(name, weights),
  cancel: () => getting?.abort(new Error("The download was cancelled; the downloaded part is kept.")),
  tokenize: (texts) => opened().tokenize(texts),
  generate: (prompts, most) => opened().generate(prompts, most),

  ask: (spec, theta, text, pair) => opened().ask(spec, theta, text, pair),

  task: async (taskSpec, seed, sources) => {
    const splits: SplitBytes = { train: await readSource(sources.train, download) };
    if (sources.dev) splits.dev = await readSource(sources.dev, download);
    if (sources.test) splits.test = await readSource(sources.test, download);
    return opened().loadTask(taskSpec, seed, splits);
  },

  describe: (spec) => ({
    ...opened().describe(spec),
    name: opened().recordName(spec),
    blocks: opened().positions(spec, 1).blocks,
    takes: opened().plan(spec),
  }),
  positions: (spec, cells) => opened().positions(spec, cells),
  moved: (spec, theta) => opened().moved(spec, theta),
  startWith: async (name, theta) => (await module()).startWith(name, theta),
  startWithAdapter: (spec, name, config, weights) => opened().startWithAdapter(spec, name, config, weights),
  adapter: (spec, theta) => opened().toPeft(spec, theta),
  check: () => opened().check(),
  run: async (spec, reason, ports) => {
    try {
      await opened().run(spec, (event) => say({ event }), reason, ports.map(gradientWorker));
    } finally {
      ports.forEach(release);
    }
  },
  assist: (spec, port) => serveGradients(opened(), spec, port),
  pause: () => opened().pause(),
  resume: () => opened().resume(),
  stop: () => opened().stop(),
};

/** A trap, a lost device, out of memory: a new Worker can continue, this one cannot. */
function isFault(error: unknown): boolean {
  if (error instanceof WebAssembly.RuntimeError || error instanceof RangeError) return true;
  return error instanceof Error && "recoverable" in error && error.recoverable === true;
}

function faultText(error: unknown): string {
  if (error instanceof WebAssembly.RuntimeError) return `The WebAssembly of the Lab trapped (${error.message}).`;
  return errorText(error);
}

self.onmessage = async ({ data }: MessageEvent<Request>) => {
  try {
    const handler = handlers[data.call] as (...args: unknown[]) => unknown;
    say({ id: data.id, value: await handler(...data.args) });
  } catch (error) {
    say({ id: data.id, error: faultText(error), fault: isFault(error) });
  }
};

// A panic inside one of the wasm's futures settles no promise; it arrives here.
self.addEventListener("error", (e) => say({ fault: faultText(e.error ?? e.message) }));
self.addEventListener("unhandledrejection", (e) => say({ fault: faultText(e.reason) }));

// The Worker holds the lock of its name for as long as it lives: the page waits for that lock, and
// so notices a crash that sends no event.
navigator.locks?.request(self.name, () => new Promise(() => {}));
navigator.locks?.query().then(() => say({ ready: true }));

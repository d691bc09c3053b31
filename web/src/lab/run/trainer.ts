// Runs on the screen's Worker: loads what a spec needs, trains it, and goes on with a
// new Worker when one is lost.

import { learn } from "./speed";
import { computed, effect, signal } from "@preact/signals";
import { address, tasks } from "../../storage/catalogue";
import { addRecord, dropTabRecord, refresh } from "../../records/records";
import { finishDelete } from "../../records/deletion";
import type { ModelInfo, Spec, TaskInfo } from "../../spec";
import * as store from "../../storage/runs";
import { findKeptModels, offered } from "../../storage/own-models";
import { ownTasks, sourcesOf } from "../../storage/own-tasks";
import { begin, currentRun, live, liveText, spend, take } from "./live";
import type { Adapter, Calls, Device, DeviceName, RunEvent, Surroundings } from "../../wasm/protocol";
import type { SplitSources, Transfer, WeightFile } from "../../storage/sources";
import { Fault, Session } from "../../wasm/session";

/** `preparing`: loads and counts what the form says; `starting`: loads for a run. */
export type Phase = "idle" | "preparing" | "starting" | "running" | "paused" | "stopping";

/** What is loaded and what a spec would tune. */
type Described = Calls["describe"]["value"];

export interface Plan {
  device: Device;
  model: ModelInfo;
  task: TaskInfo;
  /** Absent where the spec does not fit the model. */
  theta?: Described;
}

export const phase = signal<Phase>("idle");
/** Runs follow one another: between two of them the Worker is nobody else's. */
export const queued = signal(false);
/** A run has the Worker. What is only being prepared for the form gives way to a run. */
export const busy = computed(() => queued.value || (phase.value !== "idle" && phase.value !== "preparing"));
/** What takes time just now: downloads, compiling kernels. */
export const progress = signal("");
/** How far a model's download is; absent while there is none. */
export const transfer = signal<Transfer | undefined>(undefined);
/** The model whose download was cancelled: it is not begun again before it is asked for. */
export const held = signal("");
/** Why what was asked for last can not be: one sentence; empty when all is well. */
export const problem = signal("");
/** Why what the form says can not be trained. */
export const unfit = signal("");
/** What the reader should know about a run that goes on. */
export const notice = signal("");
export const plan = signal<Plan | undefined>(undefined);
export const webgpu = signal<Surroundings | undefined>(undefined);

/** Workers lost one after another without a step between them, after which a run is given up. */
const FAULTS_IN_A_ROW = 3;

/** A Worker and what is in it. */
interface Mate {
  session: Session;
  device?: Device;
  wanted?: DeviceName;
  model?: ModelInfo;
  /** The model's files in the store. */
  weights?: WeightFile[];
  task?: TaskInfo;
  taskKey?: string;
}

let main: Mate | undefined;
/** Workers that make a part of each gradient: on `cpu` a Worker is a thread. */
let helpers: Mate[] = [];
let stepsSeen = 0;

const sentence = (error: unknown) => (error instanceof Error ? error.message : String(error));

function worker(): Mate {
  if (main?.session.alive) return main;
  const session = new Session({
    event: onEvent,
    download: (line) => (progress.value = line),
    transfer: (now) => (transfer.value = now),
    ended: dismissHelpers, // what they were asked for is no longer waited for
  });
  return (main = { session });
}

function dismissHelpers(): void {
  for (const { session } of helpers.splice(0)) session.end("No longer needed.");
}

function onEvent(event: RunEvent): void {
  if ("progress" in event) {
    progress.value = event.progress;
    return;
  }
  if ("spent" in event) {
    spend(event.spent);
    return;
  }
  const line = take(event.line);
  if (line?.kind === "header") dropTabRecord(event.line);
  if (line?.kind === "step") {
    stepsSeen++;
    progress.value = "";
  }
  if (line && line.kind !== "step" && currentRun()) addRecord("tab", liveText());
}

/** Asks for the adapter. The page begins with this. */
export async function findWebgpu(): Promise<void> {
  try {
    webgpu.value = await worker().session.call("status");
  } catch (error) {
    unfit.value = sentence(error);
  }
}

let latest = 0;
let chain: Promise<unknown> = Promise.resolve();

/** What is said of a file that comes while a run has the form. */
export const BUSY = "A run has the Worker; wait for its end, or stop it.";
/** What could not be counted while a run went on. */
let owed: [spec: Spec, device: DeviceName] | undefined;

/** Loads what the spec needs and counts what it would tune; only the latest call counts. */
export function prepare(spec: Spec, device: DeviceName): Promise<void> {
  const mine = ++latest;
  if (getting !== spec.model) dropDownload();
  const job = chain.then(async () => {
    if (mine === latest && busy.value) owed = [spec, device];
    if (mine !== latest || busy.value) return;
    phase.value = "preparing";
    try {
      await load(spec, device);
      if (mine === latest) unfit.value = "";
    } catch (error) {
      if (mine === latest && held.value !== spec.model) unfit.value = sentence(error);
    } finally {
      progress.value = "";
      if (phase.value === "preparing") phase.value = "idle";
    }
  });
  chain = job;
  return job;
}

effect(() => {
  if (busy.value || !owed) return;
  const [spec, device] = owed;
  owed = undefined;
  void prepare(spec, device);
});

/** Brings the Worker to what the spec needs; the plan says how far that went. */
async function load(spec: Spec, device: DeviceName): Promise<Described> {
  if (main?.session.alive && main.wanted && main.wanted !== device) main.session.end("Another device was chosen.");
  await main?.session.gone; // its files are free only then
  const to = worker();
  let found: Plan | undefined;
  try {
    const opened = await loadDevice(to, device);
    const model = await loadModel(to, spec.model);
    const task = await loadTask(to, spec);
    found = { device: opened, model, task };
    const theta = await to.session.call("describe", JSON.stringify(spec));
    found = { ...found, theta };
    return theta;
  } finally {
    plan.value = found;
  }
}

async function loadDevice(to: Mate, device: DeviceName): Promise<Device> {
  if (to.device) return to.device;
  progress.value = "Starting the Lab";
  to.wanted = device;
  return (to.device = await to.session.call("open", device));
}

async function loadModel(to: Mate, name: string): Promise<ModelInfo> {
  if (to.model?.name === name) return to.model;
  const entry = offered().find((m) => m.name === name);
  if (!entry)
    throw new Error(
      `The model "${name}" is not offered here; get it with \`apet fetch ${name}\` and open the page again, or add it under More models.`,
    );
  delete to.model;
  delete to.taskKey;
  dismissHelpers(); // what they have is of another model
  progress.value = `Getting ${name}`;
  getting = name;
  try {
    const { weights, ...info } = await to.session.call("model", name, entry.source);
    to.weights = weights;
    return (to.model = info);
  } finally {
    getting = undefined;
    transfer.value = undefined;
    void findKeptModels();
  }
}

/** The model that the Worker is bringing. */
let getting: string | undefined;

/** Ends a download that is no longer wanted; what has come is kept. */
function dropDownload(): void {
  if (getting !== undefined) void main?.session.call("cancel").catch(() => {});
}

/** Ends the download on the screen, until the model is asked for again. */
export function cancelDownload(): void {
  held.value = getting ?? "";
  dropDownload();
}

async function loadTask(to: Mate, { task, seeds }: Spec): Promise<TaskInfo> {
  const own = ownTasks.value.find((t) => t.name === task.name);
  const key = JSON.stringify([task, seeds.batches, own?.files.train.size, own?.files.train.lastModified]);
  if (to.task && to.taskKey === key) return to.task;
  delete to.taskKey;
  const files = own ? sourcesOf(own) : sources(task.name);
  to.task = await to.session.call("task", JSON.stringify(task), seeds.batches, files);
  to.taskKey = key;
  return to.task;
}

/** Threads that a run on `cpu` may have; more do not pay for batches of a few rows. */
const THREADS = 4;
/** Bytes of weights that all helpers together may hold. */
const HELD_BY_HELPERS = 1 << 30;

/** Workers that a run of the model may have beside its own. */
function helpersFor(model: ModelInfo, device: DeviceName): number {
  // They have the model from the files that all Workers share.
  if (device !== "cpu" || webgpu.value?.keepsFiles === false) return 0;
  const threads = Math.min(navigator.hardwareConcurrency, THREADS) - 1;
  return Math.max(0, Math.min(threads, Math.floor(HELD_BY_HELPERS / (4 * model.parameters))));
}

/** Ports to helpers that are ready for a run of the spec; none where that fails. */
async function summon(spec: Spec, specText: string, model: ModelInfo, device: DeviceName): Promise<MessagePort[]> {
  const ports: MessagePort[] = [];
  try {
    for (let number = 0; number < helpersFor(model, device); number++) {
      const mate = (helpers[number] ??= newHelper());
      await loadDevice(mate, device);
      mate.model ??= await mate.session.call("kept", model.name, main?.weights ?? []);
      await loadTask(mate, spec);
      const { port1, port2 } = new MessageChannel();
      // Its end is the run's end; why it fails, the run hears through the port.
      void mate.session.call("assist", specText, port2).catch(() => {});
      ports.push(port1);
    }
  } catch {
    dismissHelpers();
    return [];
  }
  return ports;
}

function newHelper(): Mate {
  const ended = (reason: string) => {
    const at = helpers.indexOf(mate);
    if (at < 0) return; // dismissed
    helpers.splice(at, 1);
    if (busy.value) main?.session.end(`A helping Worker was lost: ${reason}`);
  };
  const mate: Mate = { session: new Session({ event() {}, download() {}, transfer() {}, ended }) };
  return mate;
}

function sources(task: string): SplitSources {
  const entry = tasks().find((t) => t.name === task);
  if (!entry)
    throw new Error(
      `The task "${task}" is not offered here; drop its file on the page, or get it with \`apet fetch --task ${task}\`.`,
    );
  const source = (url: string) => ({ name: url.split("/").pop() ?? url, url: address(url) });
  const { train, dev, test } = entry.files;
  return { train: source(train), ...(dev && { dev: source(dev) }), ...(test && { test: source(test) }) };
}

/** A run of this tab that goes on: its spec and its record word for word, and why it was not at its end. */
export interface Again {
  spec: string;
  record: string;
  reason: string;
}

/** Trains a spec to its end, over lost Workers; says whether it came there. */
export async function train(spec: Spec, device: DeviceName, again?: Again): Promise<boolean> {
  latest++; // what was being prepared is no longer waited for
  phase.value = "starting";
  problem.value = unfit.value = "";
  notice.value = "";
  held.value = "";
  if (getting !== spec.model) dropDownload();
  begin(again?.record);
  const specText = again?.spec ?? JSON.stringify(spec);
  let reason = again?.reason;
  let faults = 0;
  let ended = false;
  try {
    await chain;
    await finishDelete();
    for (;;) {
      const before = stepsSeen;
      try {
        const theta = await load(spec, device);
        const model = plan.peek()?.model;
        // After a fault the run goes on alone: what helps also takes memory.
        const ports = model && faults === 0 ? await summon(spec, specText, model, device) : [];
        progress.value = "Starting";
        if (!live.peek()) begin(await checkpointed(theta.name));
        if (stopWanted()) break;
        phase.value = "running";
        await worker().session.call("run", specText, reason, ports);
        ended = !stopWanted();
        const summary = currentRun()?.summary;
        // A run that went on from a checkpoint did less than all of it.
        if (ended && summary?.status === "done" && again === undefined && reason === undefined)
          learn(device, theta.takes.operations, summary.seconds);
        break;
      } catch (error) {
        if (!(error instanceof Fault) || stopWanted()) throw error;
        faults = stepsSeen > before ? 1 : faults + 1;
        if (faults >= FAULTS_IN_A_ROW) {
          throw new Error(
            `${error.message} This happened ${FAULTS_IN_A_ROW} times without a step between; the run is kept as interrupted.`,
          );
        }
        reason = error.message;
        notice.value = `Resumed in a new Worker: ${reason}`;
        phase.value = "starting";
      }
    }
  } catch (error) {
    if (!stopWanted() && held.value !== spec.model) problem.value = sentence(error);
  } finally {
    // First, so that a run at its end is never shown as an interrupted one.
    await keepRecord();
    phase.value = "idle";
    progress.value = "";
    notice.value = ""; // the record has it as a note
  }
  return ended;
}

/** The record of a run that goes on from a checkpoint; nothing for one that begins. */
async function checkpointed(name: string): Promise<string> {
  return (await store.hasCheckpoint(name)) ? ((await store.readRecord(name)) ?? "") : "";
}

const stopWanted = () => phase.value === "stopping";

/** The store has the record's last word; Results shows it at once. */
async function keepRecord(): Promise<void> {
  const run = currentRun();
  if (!run) return;
  const kept = await store.readRecord(store.recordName(run)).catch(() => undefined);
  addRecord("tab", kept ?? liveText());
  refresh();
}

/** What the loaded model with a run's theta answers to a text where the loaded task asks. */
export const ask = (spec: string, theta: Uint8Array, text: string, pair: string | undefined) =>
  worker().session.call("ask", spec, theta, text, pair);

/** Grids of the matrices that a spec tunes on the loaded model. */
export const positions = (spec: string, cells: number) => worker().session.call("positions", spec, cells);

/** What a spec would tune on the loaded model, by block and part. */
export const describe = (spec: string) => worker().session.call("describe", spec);

/** How far a run's theta is from what it began with, by block and part. */
export const moved = (spec: string, theta: Uint8Array) => worker().session.call("moved", spec, theta);

/** Keeps a theta file for a run to begin with; the spec of that run, as JSON. */
export const startWith = (name: string, theta: Uint8Array) => worker().session.call("startWith", name, theta);

/** Keeps an adapter of peft for a run of a spec to begin with; the spec of that run, as JSON. */
export const startWithAdapter = (of: string, name: string, config: string, weights: Uint8Array) =>
  withModel(of, (session) => session.call("startWithAdapter", of, name, config, weights));

/** A run's theta as an adapter of peft. */
export function adapterOf(of: string, theta: Uint8Array): Promise<Adapter> {
  latest++; // the run's model may be another than the form's, which is not waited for
  return withModel(of, (session) => session.call("adapter", of, theta));
}

/** Asks the Worker once a spec's model is on it. */
function withModel<T>(of: string, ask: (session: Session) => Promise<T>): Promise<T> {
  const { model } = JSON.parse(of) as Spec;
  const job = chain.then(async () => {
    if (busy.value) throw new Error(BUSY);
    phase.value = "preparing";
    try {
      const to = worker();
      await loadDevice(to, to.wanted ?? "cpu");
      await loadModel(to, model);
      return await ask(to.session);
    } finally {
      progress.value = "";
      if (phase.value === "preparing") phase.value = "idle";
    }
  });
  chain = job.catch(() => {});
  return job;
}

export async function pause(): Promise<void> {
  phase.value = "paused";
  await main?.session.call("pause").catch(() => {});
}

export async function resume(): Promise<void> {
  phase.value = "running";
  await main?.session.call("resume").catch(() => {});
}

/** Stops after the step that is being done; a second call, or one before the first step, ends the Worker. */
export async function stop(): Promise<void> {
  if (phase.value === "stopping" || phase.value === "starting") {
    phase.value = "stopping";
    main?.session.end("Stopped.");
    return;
  }
  phase.value = "stopping";
  await main?.session.call("stop").catch(() => {});
}

// The screen's Worker: brings it to what a spec needs, one thing after another.

import { effect } from "@preact/signals";
import type { ModelInfo, Spec } from "../../spec";
import { findKeptModels, offered } from "../../storage/own-models";
import type { DeviceName } from "../../wasm/protocol";
import { Session } from "../../wasm/session";
import { onEvent } from "./run-events";
import {
  BUSY,
  busy,
  held,
  phase,
  plan,
  progress,
  transfer,
  unfit,
  webgpu,
  type Described,
  type Plan,
} from "./state";
import { loadDevice, loadTask, type WorkerHandle } from "./worker-handle";
import { dismissWorkers } from "./worker-pool";

export const sentence = (error: unknown) => (error instanceof Error ? error.message : String(error));

let main: WorkerHandle | undefined;

/** The Worker, a new one where the last was lost. */
export function worker(): WorkerHandle {
  if (main?.session.alive) return main;
  const session = new Session({
    event: onEvent,
    download: (line) => (progress.value = line),
    transfer: (now) => (transfer.value = now),
    ended: dismissWorkers, // what they were asked for is no longer waited for
  });
  return (main = { session });
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

/** What is being prepared is no longer waited for. */
export function supersede(): void {
  latest++;
}

/** The end of what is being prepared. */
export const prepared = (): Promise<unknown> => chain;

/** What could not be counted while a run went on. */
let owed: [spec: Spec, device: DeviceName] | undefined;

/** Loads what the spec needs and counts what it would tune; only the latest call counts. */
export function prepare(spec: Spec, device: DeviceName): Promise<void> {
  const mine = ++latest;
  keepDownload(spec.model);
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
export async function load(spec: Spec, device: DeviceName): Promise<Described> {
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

async function loadModel(to: WorkerHandle, name: string): Promise<ModelInfo> {
  if (to.model?.name === name) return to.model;
  const entry = offered().find((m) => m.name === name);
  if (!entry)
    throw new Error(
      `The model "${name}" is not offered here; get it with \`apet fetch ${name}\` and open the page again, or add it under More models.`,
    );
  delete to.model;
  delete to.taskKey;
  dismissWorkers(); // what they have is of another model
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

/** Ends a download of any other model. */
export function keepDownload(model: string): void {
  if (getting !== model) dropDownload();
}

/** Ends the Worker, where there is one. */
export const endWorker = (reason: string): void => main?.session.end(reason);

/** Tells the Worker, where there is one. */
export async function tellWorker(call: "pause" | "resume" | "stop"): Promise<void> {
  await main?.session.call(call).catch(() => {});
}

/** Ends the download on the screen, until the model is asked for again. */
export function cancelDownload(): void {
  held.value = getting ?? "";
  dropDownload();
}

/** Asks the Worker once a spec's model is on it. */
export function withModel<T>(of: string, ask: (session: Session) => Promise<T>): Promise<T> {
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

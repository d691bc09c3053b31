// The main Worker: loads what a spec needs, one job after another.

import { errorText } from "../../format";
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

let main: WorkerHandle | undefined;

/** The main Worker; a new one if the last was lost. */
export function worker(): WorkerHandle {
  if (main?.session.alive) return main;
  const session = new Session({
    event: onEvent,
    download: (line) => (progress.value = line),
    transfer: (now) => (transfer.value = now),
    ended: dismissWorkers, // nobody waits for their answers any more
  });
  return (main = { session });
}

/** Looks for a WebGPU adapter, when the page opens. */
export async function findWebgpu(): Promise<void> {
  try {
    webgpu.value = await worker().session.call("status");
  } catch (error) {
    unfit.value = errorText(error);
  }
}

let latest = 0;
let chain: Promise<unknown> = Promise.resolve();

/** Supersedes the pending preparation. */
export function supersede(): void {
  latest++;
}

/** Settles when the pending preparation has ended. */
export const prepared = (): Promise<unknown> => chain;

/** The form that could not be prepared during a run. */
let postponed: [spec: Spec, device: DeviceName] | undefined;

/** Loads what a spec needs, and counts its trainable parameters; a later call supersedes earlier ones. */
export function prepare(spec: Spec, device: DeviceName): Promise<void> {
  const mine = ++latest;
  keepDownload(spec.model);
  const job = chain.then(async () => {
    if (mine === latest && busy.value) postponed = [spec, device];
    if (mine !== latest || busy.value) return;
    phase.value = "preparing";
    try {
      await load(spec, device);
      if (mine === latest) unfit.value = "";
    } catch (error) {
      if (mine === latest && held.value !== spec.model) unfit.value = errorText(error);
    } finally {
      progress.value = "";
      if (phase.value === "preparing") phase.value = "idle";
    }
  });
  chain = job;
  return job;
}

effect(() => {
  if (busy.value || !postponed) return;
  const [spec, device] = postponed;
  postponed = undefined;
  void prepare(spec, device);
});

/** Loads what a spec needs into the Worker; `plan` holds what was loaded. */
export async function load(spec: Spec, device: DeviceName): Promise<Described> {
  if (main?.session.alive && main.wanted && main.wanted !== device) main.session.end("Another device was chosen.");
  await main?.session.gone; // only then are its files free
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
      `The model "${name}" is not available here; download it with \`apet fetch ${name}\` and reload the page, or add it under More models.`,
    );
  delete to.model;
  delete to.taskKey;
  dismissWorkers(); // they hold another model
  progress.value = `Downloading ${name}`;
  downloading = name;
  try {
    const { weights, ...info } = await to.session.call("model", name, entry.source);
    to.weights = weights;
    return (to.model = info);
  } finally {
    downloading = undefined;
    transfer.value = undefined;
    void findKeptModels();
  }
}

/** The model that the Worker is downloading. */
let downloading: string | undefined;

/** Cancels a download that is no longer needed; the downloaded part is kept. */
function dropDownload(): void {
  if (downloading !== undefined) void main?.session.call("cancel").catch(() => {});
}

/** Cancels the download of any other model. */
export function keepDownload(model: string): void {
  if (downloading !== model) dropDownload();
}

/** Ends the Worker, if there is one. */
export const endWorker = (reason: string): void => main?.session.end(reason);

/** Calls the Worker, if there is one. */
export async function tellWorker(call: "pause" | "resume" | "stop"): Promise<void> {
  await main?.session.call(call).catch(() => {});
}

/** Cancels the current download, until the user requests the model again. */
export function cancelDownload(): void {
  held.value = downloading ?? "";
  dropDownload();
}

/** Calls the Worker once it has loaded a spec's model. */
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

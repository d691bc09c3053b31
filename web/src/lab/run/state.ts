// The state of the main Worker: its phase, what it has loaded, its problems.

import { computed, signal } from "@preact/signals";
import type { ModelInfo, TaskInfo } from "../../spec";
import type { Transfer } from "../../storage/sources";
import type { Calls, Device, Surroundings } from "../../wasm/protocol";

/** `preparing`: loads and counts for the form; `starting`: loads for a run. */
export type Phase = "idle" | "preparing" | "starting" | "running" | "paused" | "stopping";

/** The trainable parameters of a spec, and its estimated cost. */
export type Described = Calls["describe"]["value"];

/** What is loaded for the form. */
export interface Plan {
  device: Device;
  model: ModelInfo;
  task: TaskInfo;
  /** Absent if the spec does not fit the model. */
  theta?: Described;
}

/** The current phase. */
export const phase = signal<Phase>("idle");
/** Whether an experiment is running: between two of its runs the Worker stays reserved. */
export const queued = signal(false);
/** Whether a run has the Worker. Preparing the form does not count: a run interrupts it. */
export const busy = computed(() => queued.value || (phase.value !== "idle" && phase.value !== "preparing"));
/** The current slow operation: a download, compiling kernels. */
export const progress = signal("");
/** The progress of a model's download, if there is one. */
export const transfer = signal<Transfer | undefined>(undefined);
/** The model whose download was cancelled: it restarts only on request. */
export const held = signal("");
/** The error of the last action; empty if it succeeded. */
export const problem = signal("");
/** Why the form cannot be trained; empty if it can. */
export const unfit = signal("");
/** A notice about the current run. */
export const notice = signal("");
/** What is loaded for the form. */
export const plan = signal<Plan | undefined>(undefined);
/** What the Worker found in this browser, once known. */
export const webgpu = signal<Surroundings | undefined>(undefined);

/** The message for a file that is dropped during a run. */
export const BUSY = "A run is in progress; wait for it to end, or stop it.";

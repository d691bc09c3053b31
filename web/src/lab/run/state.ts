// What the Lab's Worker is doing, what it has loaded, and what went wrong.

import { computed, signal } from "@preact/signals";
import type { ModelInfo, TaskInfo } from "../../spec";
import type { Transfer } from "../../storage/sources";
import type { Calls, Device, Surroundings } from "../../wasm/protocol";

/** `preparing`: loads and counts what the form says; `starting`: loads for a run. */
export type Phase = "idle" | "preparing" | "starting" | "running" | "paused" | "stopping";

/** What is loaded and what a spec would tune. */
export type Described = Calls["describe"]["value"];

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

/** What is said of a file that comes while a run has the form. */
export const BUSY = "A run has the Worker; wait for its end, or stop it.";

// The scaling experiment: many runs on the main Worker, one after another. Finished runs are
// in the records, so the experiment resumes after a stop or a reload.

import { computed, signal } from "@preact/signals";
import { catalogue, tasks } from "../../storage/catalogue";
import { presets, rows } from "../../records/records";
import { inAddress } from "../../route";
import type { Spec } from "../../spec";
import { offered } from "../../storage/own-models";
import { ownTasks } from "../../storage/own-tasks";
import { adopt, spec } from "../choices";
import type { DeviceName } from "../../wasm/protocol";
import { canResume, resumeRun } from "../run/resume";
import { busy, phase, problem, queued } from "../run/state";
import { stop as stopRun, train } from "../run/trainer";

/** A run of the experiment. */
export interface PlannedRun {
  run: string;
  /** The spec as JSON. */
  text: string;
  spec: Spec;
}

const WHOLE = "demo";
/** The experiment that is running: another one in the address is ignored until it has ended. */
const underWay = signal("");
/** The name of the chosen experiment. */
export const chosenName = inAddress("lab", "experiment", WHOLE);
/** The experiment on the screen. */
export const experiment = computed(
  () => presets.value.find((preset) => preset.name === (underWay.value || chosenName.value)) ?? presets.value[0],
);

/** Whether it tests all claims of the paper. */
export const isWhole = () => experiment.value?.name === WHOLE;

/** Its runs. */
export const plannedRuns = computed<PlannedRun[]>(() =>
  (experiment.value?.runs ?? []).map(({ run, spec: text }) => ({ run, text, spec: JSON.parse(text) as Spec })),
);
/** Its models. */
export const experimentModels = computed(() => [...new Set(plannedRuns.value.map((r) => r.spec.model))]);
/** Its tasks. */
export const experimentTasks = computed(() => [...new Set(plannedRuns.value.map((r) => r.spec.task.name))]);

/** Ids of the finished runs, on any device. */
export const doneRuns = computed<string[]>(() => {
  const ended = new Set(rows.value.filter((r) => r.status === "done" || r.status === "diverged").map((r) => r.run));
  return plannedRuns.value.map((r) => r.run).filter((run) => ended.has(run));
});

/** The current run. */
export const presentRun = signal<PlannedRun | undefined>(undefined);
/** Why it stopped. */
export const failure = signal("");
/** Whether the user stopped it. */
export const ending = signal(false);

/** Models and tasks that it needs and that are missing. */
export function missing(): string[] {
  if (catalogue.value === null) return []; // still unknown
  const models = offered().map((m) => m.name);
  const data = [...tasks(), ...ownTasks.value].map((t) => t.name);
  return [
    ...experimentModels.value.filter((name) => !models.includes(name)),
    ...experimentTasks.value.filter((name) => !data.includes(name)),
  ];
}

/** Bytes of models that must be downloaded. */
export const bytesToGet = () =>
  offered()
    .filter((m) => !m.whole && experimentModels.value.includes(m.name))
    .reduce((sum, m) => sum + m.bytes, 0);

/** Does the remaining runs, until one fails or the user stops. */
export async function start(device: DeviceName): Promise<void> {
  if (busy.value) return;
  queued.value = true;
  underWay.value = experiment.value?.name ?? "";
  const form = spec.peek();
  ending.value = false;
  failure.value = "";
  took.value = new Map();
  try {
    for (const planned of plannedRuns.peek()) {
      if (doneRuns.value.includes(planned.run)) continue;
      presentRun.value = planned;
      const started = performance.now();
      const row = rows.value.find((r) => r.run === planned.run && r.device === device && canResume(r));
      const ended = row ? await resumeRun(row) : await train(adopt(planned.text), device);
      if (!ended) failure.value = problem.value;
      if (!ended || ending.value) break;
      if (!row) note(planned.spec.model, performance.now() - started);
    }
  } finally {
    presentRun.value = undefined;
    ending.value = false;
    queued.value = false;
    underWay.value = "";
    spec.value = form; // restore the user's settings
  }
}

/** Stops the current run, which is resumed next time. */
export function stop(): void {
  ending.value = true;
  if (phase.value !== "idle" && phase.value !== "preparing") void stopRun();
}

/** The time of the complete runs of each model since the start. */
const took = signal<ReadonlyMap<string, { runs: number; ms: number }>>(new Map());

function note(model: string, ms: number): void {
  const before = took.value.get(model) ?? { runs: 0, ms: 0 };
  took.value = new Map(took.value).set(model, { runs: before.runs + 1, ms: before.ms + ms });
}

/** The remaining seconds; `atLeast` if a model without a finished run may take longer than the others. */
export const left = computed<{ seconds: number; atLeast: boolean } | undefined>(() => {
  const means = new Map([...took.value].map(([model, { runs, ms }]) => [model, ms / runs]));
  if (means.size === 0) return undefined;
  const longest = Math.max(...means.values());
  const done = new Set(doneRuns.value);
  const models = plannedRuns.value.filter((r) => !done.has(r.run)).map((r) => r.spec.model);
  const ms = models.reduce((sum, model) => sum + (means.get(model) ?? longest), 0);
  return { seconds: ms / 1000, atLeast: models.some((model) => !means.has(model)) };
});

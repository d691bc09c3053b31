// The scaling experiment: many runs on the screen's Worker, one after another. What is
// done is in the records, so it goes on from there after a stop or a reload.

import { computed, signal } from "@preact/signals";
import { catalogue, tasks } from "../../storage/catalogue";
import { presets, rows } from "../../records/records";
import { inAddress } from "../../route";
import type { Spec } from "../../spec";
import { offered } from "../../storage/own-models";
import { ownTasks } from "../../storage/own-tasks";
import { adopt, spec } from "../choices";
import type { DeviceName } from "../../wasm/protocol";
import { canGoOn, goOn } from "../run/resume";
import { busy, phase, problem, queued } from "../run/state";
import { stop as stopRun, train } from "../run/trainer";

/** A run of the experiment. */
export interface PlannedRun {
  run: string;
  /** As it came. */
  text: string;
  spec: Spec;
}

const WHOLE = "demo";
/** The one whose runs are being made: an address that names another changes nothing until they are. */
const underWay = signal("");
/** Of the experiment on the screen. */
export const chosenName = inAddress("lab", "experiment", WHOLE);
export const experiment = computed(
  () => presets.value.find((preset) => preset.name === (underWay.value || chosenName.value)) ?? presets.value[0],
);

/** Whether it asks all that the paper claims. */
export const isWhole = () => experiment.value?.name === WHOLE;

export const plannedRuns = computed<PlannedRun[]>(() =>
  (experiment.value?.runs ?? []).map(({ run, spec: text }) => ({ run, text, spec: JSON.parse(text) as Spec })),
);
export const experimentModels = computed(() => [...new Set(plannedRuns.value.map((r) => r.spec.model))]);
export const experimentTasks = computed(() => [...new Set(plannedRuns.value.map((r) => r.spec.task.name))]);

/** Ids of the runs that are at their end, on whatever device. */
export const doneRuns = computed<string[]>(() => {
  const ended = new Set(rows.value.filter((r) => r.status === "done" || r.status === "diverged").map((r) => r.run));
  return plannedRuns.value.map((r) => r.run).filter((run) => ended.has(run));
});

/** The run that is made just now. */
export const presentRun = signal<PlannedRun | undefined>(undefined);
/** Why it did not get on, in a sentence. */
export const failure = signal("");
/** The user asked for its end. */
export const ending = signal(false);

/** Models and tasks it needs that are not here. */
export function missing(): string[] {
  if (catalogue.value === null) return []; // not known yet
  const models = offered().map((m) => m.name);
  const data = [...tasks(), ...ownTasks.value].map((t) => t.name);
  return [
    ...experimentModels.value.filter((name) => !models.includes(name)),
    ...experimentTasks.value.filter((name) => !data.includes(name)),
  ];
}

/** Bytes of models that have to be brought. */
export const bytesToGet = () =>
  offered()
    .filter((m) => !m.whole && experimentModels.value.includes(m.name))
    .reduce((sum, m) => sum + m.bytes, 0);

/** Makes the runs that are not done, until one fails or the user stops. */
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
      const begun = performance.now();
      const row = rows.value.find((r) => r.run === planned.run && r.device === device && canGoOn(r));
      const ended = row ? await goOn(row) : await train(adopt(planned.text), device);
      if (!ended) failure.value = problem.value;
      if (!ended || ending.value) break;
      if (!row) note(planned.spec.model, performance.now() - begun);
    }
  } finally {
    presentRun.value = undefined;
    ending.value = false;
    queued.value = false;
    underWay.value = "";
    spec.value = form; // what was set before
  }
}

/** Stops the present run, which is gone on with next time. */
export function stop(): void {
  ending.value = true;
  if (phase.value !== "idle" && phase.value !== "preparing") void stopRun();
}

/** What whole runs of each model took since the start. */
const took = signal<ReadonlyMap<string, { runs: number; ms: number }>>(new Map());

function note(model: string, ms: number): void {
  const before = took.value.get(model) ?? { runs: 0, ms: 0 };
  took.value = new Map(took.value).set(model, { runs: before.runs + 1, ms: before.ms + ms });
}

/** Seconds that are left; `atLeast` where a model that is still to come may take longer than those before. */
export const left = computed<{ seconds: number; atLeast: boolean } | undefined>(() => {
  const means = new Map([...took.value].map(([model, { runs, ms }]) => [model, ms / runs]));
  if (means.size === 0) return undefined;
  const longest = Math.max(...means.values());
  const done = new Set(doneRuns.value);
  const models = plannedRuns.value.filter((r) => !done.has(r.run)).map((r) => r.spec.model);
  const ms = models.reduce((sum, model) => sum + (means.get(model) ?? longest), 0);
  return { seconds: ms / 1000, atLeast: models.some((model) => !means.has(model)) };
});

// Trains runs on the main Worker, and resumes in a new Worker if one is lost.

import { finishDelete } from "../../records/deletion";
import { addRecord, refresh } from "../../records/records";
import { errorText } from "../../format";
import type { Spec } from "../../spec";
import * as store from "../../storage/runs";
import type { DeviceName } from "../../wasm/protocol";
import { Fault } from "../../wasm/session";
import { begin, currentRun, live, liveText } from "./live";
import { endWorker, keepDownload, load, prepared, supersede, tellWorker, worker } from "./main-worker";
import { stepCount } from "./run-events";
import { learn } from "./speed";
import { held, notice, phase, plan, problem, progress, unfit } from "./state";
import { spawnWorkers } from "./worker-pool";

/** A run fails after this many lost Workers in a row without a step in between. */
const FAULTS_IN_A_ROW = 3;

/** A run of this tab to be resumed: its spec and record verbatim, and the reason why it had not ended. */
export interface ResumedRun {
  spec: string;
  record: string;
  reason: string;
}

/** Trains a spec, resuming after lost Workers; returns whether the run reached its end. */
export async function train(spec: Spec, device: DeviceName, resumed?: ResumedRun): Promise<boolean> {
  supersede(); // a run interrupts preparing the form
  phase.value = "starting";
  problem.value = unfit.value = "";
  notice.value = "";
  held.value = "";
  keepDownload(spec.model);
  begin(resumed?.record);
  const specText = resumed?.spec ?? JSON.stringify(spec);
  let reason = resumed?.reason;
  let faults = 0;
  let ended = false;
  try {
    await prepared();
    await finishDelete();
    for (;;) {
      const before = stepCount();
      try {
        const theta = await load(spec, device);
        const model = plan.peek()?.model;
        // After a fault the run continues without the pool, to save memory.
        const ports = model && faults === 0 ? await spawnWorkers(spec, specText, model, device, worker()) : [];
        progress.value = "Starting";
        if (!live.peek()) begin(await checkpointed(theta.name));
        if (stopWanted()) break;
        phase.value = "running";
        await worker().session.call("run", specText, reason, ports);
        ended = !stopWanted();
        const summary = currentRun()?.summary;
        // The time of a resumed run is not that of the whole run.
        if (ended && summary?.status === "done" && resumed === undefined && reason === undefined)
          learn(device, theta.takes.operations, summary.seconds);
        break;
      } catch (error) {
        if (!(error instanceof Fault) || stopWanted()) throw error;
        faults = stepCount() > before ? 1 : faults + 1;
        if (faults >= FAULTS_IN_A_ROW) {
          throw new Error(
            `${error.message} This happened ${FAULTS_IN_A_ROW} times without a step in between; the run is kept as interrupted.`,
          );
        }
        reason = error.message;
        notice.value = `Resumed in a new Worker: ${reason}`;
        phase.value = "starting";
      }
    }
  } catch (error) {
    if (!stopWanted() && held.value !== spec.model) problem.value = errorText(error);
  } finally {
    // First, so that a finished run is never shown as interrupted.
    await keepRecord();
    phase.value = "idle";
    progress.value = "";
    notice.value = ""; // the record has a note of it
  }
  return ended;
}

/** The record of a run that resumes from a checkpoint; empty for a new run. */
async function checkpointed(name: string): Promise<string> {
  return (await store.hasCheckpoint(name)) ? ((await store.readRecord(name)) ?? "") : "";
}

const stopWanted = () => phase.value === "stopping";

/** Reads the final record from the store, and shows it in Results at once. */
async function keepRecord(): Promise<void> {
  const run = currentRun();
  if (!run) return;
  const kept = await store.readRecord(store.recordName(run)).catch(() => undefined);
  addRecord("tab", kept ?? liveText());
  refresh();
}

/** Pauses the run. */
export async function pause(): Promise<void> {
  phase.value = "paused";
  await tellWorker("pause");
}

/** Continues a paused run. */
export async function resume(): Promise<void> {
  phase.value = "running";
  await tellWorker("resume");
}

/** Stops after the current step; a second call, or one before the first step, ends the Worker. */
export async function stop(): Promise<void> {
  if (phase.value === "stopping" || phase.value === "starting") {
    phase.value = "stopping";
    endWorker("Stopped.");
    return;
  }
  phase.value = "stopping";
  await tellWorker("stop");
}

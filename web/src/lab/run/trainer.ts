// Trains runs on the screen's Worker, and goes on with a new Worker when one is lost.

import { finishDelete } from "../../records/deletion";
import { addRecord, refresh } from "../../records/records";
import type { Spec } from "../../spec";
import * as store from "../../storage/runs";
import type { DeviceName } from "../../wasm/protocol";
import { Fault } from "../../wasm/session";
import { begin, currentRun, live, liveText } from "./live";
import { endWorker, keepDownload, load, prepared, sentence, supersede, tellWorker, worker } from "./main-worker";
import { stepCount } from "./run-events";
import { learn } from "./speed";
import { held, notice, phase, plan, problem, progress, unfit } from "./state";
import { spawnWorkers } from "./worker-pool";

/** Workers lost one after another without a step between them, after which a run is given up. */
const FAULTS_IN_A_ROW = 3;

/** A run of this tab that goes on: its spec and its record word for word, and why it was not at its end. */
export interface Again {
  spec: string;
  record: string;
  reason: string;
}

/** Trains a spec to its end, over lost Workers; says whether it came there. */
export async function train(spec: Spec, device: DeviceName, again?: Again): Promise<boolean> {
  supersede(); // what was being prepared is no longer waited for
  phase.value = "starting";
  problem.value = unfit.value = "";
  notice.value = "";
  held.value = "";
  keepDownload(spec.model);
  begin(again?.record);
  const specText = again?.spec ?? JSON.stringify(spec);
  let reason = again?.reason;
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
        // After a fault the run goes on alone: what helps also takes memory.
        const ports = model && faults === 0 ? await spawnWorkers(spec, specText, model, device, worker()) : [];
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
        faults = stepCount() > before ? 1 : faults + 1;
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

export async function pause(): Promise<void> {
  phase.value = "paused";
  await tellWorker("pause");
}

export async function resume(): Promise<void> {
  phase.value = "running";
  await tellWorker("resume");
}

/** Stops after the step that is being done; a second call, or one before the first step, ends the Worker. */
export async function stop(): Promise<void> {
  if (phase.value === "stopping" || phase.value === "starting") {
    phase.value = "stopping";
    endWorker("Stopped.");
    return;
  }
  phase.value = "stopping";
  await tellWorker("stop");
}

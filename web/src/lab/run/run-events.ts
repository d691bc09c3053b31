// Handles the events of a run: lines of its record go to the screen and to the records.

import { addRecord, dropTabRecord } from "../../records/records";
import type { RunEvent } from "../../wasm/protocol";
import { addTimings, currentRun, liveText, take } from "./live";
import { progress } from "./state";

let stepsSeen = 0;
/** Steps done since the page was opened. */
export const stepCount = (): number => stepsSeen;

/** Handles one event of a run. */
export function onEvent(event: RunEvent): void {
  if ("progress" in event) {
    progress.value = event.progress;
    return;
  }
  if ("spent" in event) {
    addTimings(event.spent);
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

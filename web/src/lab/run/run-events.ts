// What the Worker says of a run: lines of its record go to the screen and to the records.

import { addRecord, dropTabRecord } from "../../records/records";
import type { RunEvent } from "../../wasm/protocol";
import { currentRun, liveText, spend, take } from "./live";
import { progress } from "./state";

let stepsSeen = 0;
/** Steps that were done since the page began. */
export const stepCount = (): number => stepsSeen;

export function onEvent(event: RunEvent): void {
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

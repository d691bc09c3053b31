// Resumes a run of this tab that was interrupted or stopped.

import { records } from "../../records/records";
import type { Row } from "../../wasm/view";
import { readRecord, recordName } from "../../storage/runs";
import { adopt, device } from "../choices";
import { train } from "./trainer";

/** Whether a run can be resumed. */
export const canResume = (row: Row) => row.source === "tab" && (row.status === "unfinished" || row.status === "stopped");

/** Resumes a run; returns whether it reached its end. */
export async function resumeRun(row: Row): Promise<boolean> {
  const text = records()?.spec(row.key);
  if (!text) return false;
  const where = row.device === "webgpu" ? "webgpu" : "cpu";
  const spec = adopt(text);
  device.value = where;
  return train(spec, where, {
    spec: text,
    record: (await readRecord(recordName(row))) ?? "",
    reason: row.status === "stopped" ? "it was stopped" : "the page was closed",
  });
}

// Going on with a run of this tab that was interrupted or stopped.

import { records } from "../../records/records";
import type { Row } from "../../wasm/view";
import { readRecord, recordName } from "../../storage/runs";
import { adopt, device } from "../choices";
import { train } from "./trainer";

export const canGoOn = (row: Row) => row.source === "tab" && (row.status === "unfinished" || row.status === "stopped");

/** Says whether the run came to its end. */
export async function goOn(row: Row): Promise<boolean> {
  const text = records()?.spec(row.key);
  if (!text) return false;
  const where = row.device === "webgpu" ? "webgpu" : "cpu";
  const spec = adopt(text);
  device.value = where;
  return train(spec, where, {
    spec: text,
    record: (await readRecord(recordName(row))) ?? "",
    reason: row.status === "stopped" ? "it had been stopped" : "the page was left",
  });
}

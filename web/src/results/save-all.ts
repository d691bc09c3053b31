// Saves the runs of the table as an archive, which records/archive.ts reads.

import { strToU8, zipSync, type Zippable } from "fflate";
import { thetaOf } from "../records/archive";
import { records } from "../records/records";
import { recordName } from "../storage/runs";
import { save } from "../storage/save";
import { found, shown } from "./table/found";

/** Saves the runs of the table. */
export async function saveArchive(): Promise<void> {
  const view = records();
  if (!view) return;
  const files: Zippable = { "report.md": strToU8(view.report("Runs", "Runs of the page's table.", shown.value)) };
  for (const row of found.value) {
    const name = `runs/${recordName(row)}.jsonl` in files ? `${recordName(row)}-${row.host}` : recordName(row);
    files[`runs/${name}.jsonl`] = strToU8(view.record(row.key));
    const theta = await thetaOf(row);
    // Weights do not compress: they are stored uncompressed.
    if (theta) files[`thetas/${name}.safetensors`] = [new Uint8Array(await theta.arrayBuffer()), { level: 0 }];
  }
  // The asynchronous version starts Workers from blobs, which the page's policy forbids.
  save("apet-runs.zip", "application/zip", zipSync(files, { level: 6 }) as Uint8Array<ArrayBuffer>);
}

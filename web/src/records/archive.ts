// A zip archive of runs: records, thetas and the report.
//
//   runs/<run id>-<device>.jsonl         records, accepted by `apet report --with` and `apet run --spec`
//   thetas/<run id>-<device>.safetensors
//   report.md
//
// If a run was done both in a tab and natively, the second file name ends in its host.

import { strFromU8 } from "fflate";
import { readTheta, recordName } from "../storage/runs";
import { unpack } from "../storage/unpack";
import { tell } from "./messages";
import { addRecord, keyOf } from "./records";
import type { Row } from "../wasm/view";

/** Thetas from archives, by the key of their runs. */
const thetas = new Map<string, Blob>();

/** The theta of a run, from this tab's store or from an archive. */
export async function thetaOf(row: Row): Promise<Blob | undefined> {
  return (row.source === "tab" ? await readTheta(recordName(row)) : undefined) ?? thetas.get(row.key);
}

/** Opens an archive: shows its records, and keeps its thetas until the page is closed. */
export async function openArchive(file: File): Promise<void> {
  let files: Awaited<ReturnType<typeof unpack>>;
  try {
    files = await unpack(file, BELONGS);
  } catch (error) {
    tell((error as Error).message);
    return;
  }
  if (!Object.keys(files).some((n) => n.endsWith(".jsonl"))) tell(`${file.name}: contains no record (runs/*.jsonl).`);
  for (const [name, bytes] of Object.entries(files)) {
    if (!name.endsWith(".jsonl")) continue;
    const record = strFromU8(bytes);
    const theta = files[name.replace(/runs\/([^/]+)\.jsonl$/, "thetas/$1.safetensors")];
    const key = keyOf(record);
    if (addRecord(file.name, record, `${file.name}: ${name}`) && theta && key) thetas.set(key, new Blob([theta]));
  }
}

const BELONGS = /(^|\/)(runs\/[^/]+\.jsonl|thetas\/[^/]+\.safetensors)$/;

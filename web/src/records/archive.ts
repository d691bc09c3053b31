// Everything in one file: records, what the tab's runs tuned, and the report, as a zip archive.
//
//   runs/<run id>-<device>.jsonl         records, as `apet report --with` and `apet run --spec` take them
//   thetas/<run id>-<device>.safetensors
//   report.md
//
// Of a run that was made in a tab and natively, too, one has its host behind its name.

import { strFromU8 } from "fflate";
import { readTheta, recordName } from "../storage/runs";
import { unpack } from "../storage/unpack";
import { tell } from "./messages";
import { addRecord, keyOf } from "./records";
import type { Row } from "../wasm/view";

/** Thetas that archives brought, by the key of their runs. */
const brought = new Map<string, Blob>();

/** What a run tuned, from this tab's store or from an archive. */
export async function thetaOf(row: Row): Promise<Blob | undefined> {
  return (row.source === "tab" ? await readTheta(recordName(row)) : undefined) ?? brought.get(row.key);
}

/** Opens an archive: its records are shown, its thetas kept as long as the page. */
export async function openArchive(file: File): Promise<void> {
  let files: Awaited<ReturnType<typeof unpack>>;
  try {
    files = await unpack(file, BELONGS);
  } catch (error) {
    tell((error as Error).message);
    return;
  }
  if (!Object.keys(files).some((n) => n.endsWith(".jsonl"))) tell(`${file.name}: has no record (runs/*.jsonl).`);
  for (const [name, bytes] of Object.entries(files)) {
    if (!name.endsWith(".jsonl")) continue;
    const record = strFromU8(bytes);
    const theta = files[name.replace(/runs\/([^/]+)\.jsonl$/, "thetas/$1.safetensors")];
    const key = keyOf(record);
    if (addRecord(file.name, record, `${file.name}: ${name}`) && theta && key) brought.set(key, new Blob([theta]));
  }
}

const BELONGS = /(^|\/)(runs\/[^/]+\.jsonl|thetas\/[^/]+\.safetensors)$/;

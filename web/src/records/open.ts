// Opens records from this browser, from files and from addresses.

import { errorText } from "../format";
import * as store from "../storage/runs";
import { openArchive } from "./archive";
import { finishDelete, finishEarlierDelete } from "./deletion";
import { tell } from "./messages";
import { addRecord } from "./records";

const LARGEST_FILE = 256 * 1024 * 1024;

/** Opens files with records. */
export async function addFiles(files: File[]): Promise<void> {
  await finishDelete(); // a run that is opened again is no longer deleted
  for (const file of files) {
    if (/\.csv$/i.test(file.name)) {
      tell(`${file.name}: a CSV table lacks parts of a run's record; open the .parquet or the .zip file of apet collect.`);
      continue;
    }
    if (/\.zip$/i.test(file.name)) {
      await openArchive(file);
      continue;
    }
    if (/\.parquet$/i.test(file.name)) {
      await addTable(file);
      continue;
    }
    if (file.size > LARGEST_FILE)
      tell(`${file.name}: ${Math.round(file.size / 1e6)} MB, expected a record of at most ${Math.round(LARGEST_FILE / 1e6)} MB.`);
    else addRecord(file.name, await file.text());
  }
}

/** Opens a table of `apet collect`. Its reader is loaded only then. */
async function addTable(file: File): Promise<void> {
  try {
    const { rowsOf } = await import("./parquet");
    addRecord(file.name, await rowsOf(file));
  } catch (error) {
    tell(`${file.name}: cannot be read as Parquet (${errorText(error)}).`);
  }
}

/** Opens the records at an address that this page's policy allows. */
export async function addAddress(address: string): Promise<boolean> {
  try {
    const response = await fetch(new URL(address, location.href));
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    return addRecord(address, await response.text());
  } catch (error) {
    const why = errorText(error);
    tell(`${address}: ${why}; the page can open records from its own server and from the Hugging Face hub.`);
    return false;
  }
}

/** Reads the records in this browser's store. */
export async function readTabRecords(): Promise<void> {
  await finishEarlierDelete();
  for await (const text of store.records()) addRecord("tab", text);
}

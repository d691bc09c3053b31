// The records on the page: from this tab, from the server and from opened files.

import { errorText } from "../format";
import { computed, signal } from "@preact/signals";
import { readLine } from "../spec";
import { openRecords, type Experiment, type Records, type Row } from "../wasm/view";
import { tell } from "./messages";
import { selected } from "./selection";

/** The runs, a row each. */
export const rows = signal<Row[]>([]);
/** Increases with every change, so that figures are recomputed. */
export const edition = signal(0);
/** The run that is being deleted. */
export const deleted = signal<Row | undefined>(undefined);
/** The experiments that the page offers, the complete one first; known once the wasm of Results is loaded. */
export const presets = signal<Experiment[]>([]);

/** The source of the records of `apet serve`. */
export const SERVER = "server";

let view: Records | undefined;
let early: [source: string, text: string][] = [];

/** The wasm's records; `undefined` until it is loaded. */
export const records = (): Records | undefined => view;
/** Unfinished runs of this tab. */
export const interrupted = computed(() => rows.value.filter((r) => r.source === "tab" && r.status === "unfinished"));

/** Loads the wasm of Results, and adds the records that came before it. */
export async function startRecords(): Promise<void> {
  try {
    const { records, presets: offered } = await openRecords();
    view = records;
    presets.value = offered;
  } catch (error) {
    tell(errorText(error));
    return;
  }
  const waiting = early;
  early = [];
  for (const [source, text] of waiting) addRecord(source, text);
  refresh();
}

/** Adds the records of a JSONL text. Errors become messages that name it `name`. */
export function addRecord(source: string, text: string, name = source === "tab" ? "A record of this tab" : source): boolean {
  if (!view) {
    early.push([source, text]);
    return true;
  }
  try {
    const { added, replaced, unchanged } = view.add(source, text);
    if (added + replaced === 0 && unchanged > 0 && source !== "tab" && source !== SERVER)
      tell(`${source}: nothing new; its runs are already here, with the same start and length.`);
    refreshSoon();
    return true;
  } catch (error) {
    tell(`${name}: ${errorText(error)}`);
    return false;
  }
}

/** Removes the earlier record of a run that starts again in this tab. */
export function dropTabRecord(header: string): void {
  const key = keyOf(header);
  if (key && rows.value.some((r) => r.key === key && r.source === "tab")) view?.remove(key);
}

/** The key of a run, from the header of its record. */
export function keyOf(record: string): string | undefined {
  const line = readLine(record.split("\n", 1)[0] ?? "");
  return line?.kind === "header" ? `${line.run}@${line.device.host}:${line.device.name}` : undefined;
}

/** Removes a run whose record has disappeared from its source. */
export function dropRecord(key: string): void {
  view?.remove(key);
  refreshSoon();
}

let due: ReturnType<typeof setTimeout> | undefined;

/** Records that arrive together are shown together. */
function refreshSoon(): void {
  due ??= setTimeout(refresh, 50);
}

/** Shows the added records. */
export function refresh(): void {
  clearTimeout(due);
  due = undefined;
  if (!view) return;
  const gone = deleted.value?.key;
  rows.value = view.rows().filter((r) => r.key !== gone);
  const known = new Set(rows.value.map((r) => r.key));
  if ([...selected.value.keys()].some((k) => !known.has(k))) {
    selected.value = new Map([...selected.value].filter(([k]) => known.has(k)));
  }
  edition.value++;
}

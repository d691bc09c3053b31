// The records on the page: from this tab, from the server, from dropped files.

import { computed, signal } from "@preact/signals";
import { readLine } from "../spec";
import { openRecords, type Experiment, type Records, type Row } from "../wasm/view";
import { tell } from "./messages";
import { selected } from "./selection";

export const rows = signal<Row[]>([]);
/** Grows with every change, so that figures are computed again. */
export const edition = signal(0);
export const deleted = signal<Row | undefined>(undefined);
/** Experiments that the page offers, the whole one first; known once the records can be read. */
export const presets = signal<Experiment[]>([]);

/** Where the records of `apet serve` come from. */
export const SERVER = "server";

let view: Records | undefined;
let early: [source: string, text: string][] = [];

export const records = (): Records | undefined => view;
export const interrupted = computed(() => rows.value.filter((r) => r.source === "tab" && r.status === "unfinished"));

export async function startRecords(): Promise<void> {
  try {
    const { records, presets: offered } = await openRecords();
    view = records;
    presets.value = offered;
  } catch (error) {
    tell(error instanceof Error ? error.message : String(error));
    return;
  }
  const waiting = early;
  early = [];
  for (const [source, text] of waiting) addRecord(source, text);
  refresh();
}

/** Adds the records of a JSONL text; what is wrong with it becomes a message, in which it is called `name`. */
export function addRecord(source: string, text: string, name = source === "tab" ? "A record of this tab" : source): boolean {
  if (!view) {
    early.push([source, text]);
    return true;
  }
  try {
    const { added, replaced, unchanged } = view.add(source, text);
    if (added + replaced === 0 && unchanged > 0 && source !== "tab" && source !== SERVER)
      tell(`${source}: nothing new; its runs are here already, as late and as long.`);
    refreshSoon();
    return true;
  } catch (error) {
    tell(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    return false;
  }
}

/** Makes room for a run that begins again in this tab: its earlier record is overwritten. */
export function dropTabRecord(header: string): void {
  const key = keyOf(header);
  if (key && rows.value.some((r) => r.key === key && r.source === "tab")) view?.remove(key);
}

/** A run's key, from the header of its record. */
export function keyOf(record: string): string | undefined {
  const line = readLine(record.split("\n", 1)[0] ?? "");
  return line?.kind === "header" ? `${line.run}@${line.device.host}:${line.device.name}` : undefined;
}

/** Drops a run whose record is no longer where it came from. */
export function dropRecord(key: string): void {
  view?.remove(key);
  refreshSoon();
}

let due: ReturnType<typeof setTimeout> | undefined;

/** Many records that come together are shown together. */
function refreshSoon(): void {
  due ??= setTimeout(refresh, 50);
}

/** Shows what was added. */
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

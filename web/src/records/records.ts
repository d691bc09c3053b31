// The records on the page: from this tab, from the server, from dropped files.

import { computed, signal } from "@preact/signals";
import { readLine } from "../spec";
import * as store from "../storage/runs";
import { openArchive } from "./archive";
import { save } from "../results/figures/export";
import { openRecords, type Experiment, type Records, type Row } from "../wasm/view";

export const rows = signal<Row[]>([]);
/** Grows with every change, so that figures are computed again. */
export const edition = signal(0);
/** One sentence each, newest first. */
export const messages = signal<string[]>([]);
export const selected = signal<ReadonlyMap<string, number>>(new Map());
/** The row whose page is open. */
export const opened = signal<string | undefined>(undefined);
export const deleted = signal<Row | undefined>(undefined);
/** Experiments that the page offers, the whole one first; known once the records can be read. */
export const presets = signal<Experiment[]>([]);

/** Colours for overlaid runs; more can not be told apart. */
export const COLOURS = 8;
/** Where the records of `apet serve` come from. */
export const SERVER = "server";
const LARGEST_FILE = 256 * 1024 * 1024;
const UNDO_MS = 10_000;

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

export async function addFiles(files: File[]): Promise<void> {
  await finishDelete(); // what is opened again is there again
  for (const file of files) {
    if (/\.csv$/i.test(file.name)) {
      tell(`${file.name}: a CSV table has not all that a run's record has; open the .parquet or the .zip of apet collect.`);
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

/** Opens a table of `apet collect`. What reads it comes only then. */
async function addTable(file: File): Promise<void> {
  try {
    const { rowsOf } = await import("./parquet");
    addRecord(file.name, await rowsOf(file));
  } catch (error) {
    tell(`${file.name}: can not be read as Parquet (${error instanceof Error ? error.message : String(error)}).`);
  }
}

/** Opens the records at an address, where this page's policy lets it. */
export async function addAddress(address: string): Promise<boolean> {
  try {
    const response = await fetch(new URL(address, location.href));
    if (!response.ok) throw new Error(`the server answers ${response.status}`);
    return addRecord(address, await response.text());
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    tell(`${address}: ${why}; the page opens records of its own server and of the Hugging Face hub.`);
    return false;
  }
}

/** Reads the records this browser keeps. */
export async function readTabRecords(): Promise<void> {
  await finishEarlierDelete();
  for await (const text of store.records()) addRecord("tab", text);
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

export function tell(message: string): void {
  messages.value = [message, ...messages.value.filter((m) => m !== message)].slice(0, 5);
}

export function dismiss(message: string): void {
  messages.value = messages.value.filter((m) => m !== message);
}

/** Selects a row for the overlay, while there are colours, or deselects it; its colour stays while it is selected. */
export function toggle(key: string): void {
  const next = new Map(selected.value);
  if (!next.delete(key)) {
    const used = new Set(next.values());
    const free = Array.from({ length: COLOURS }, (_, i) => i).find((i) => !used.has(i));
    if (free === undefined) return;
    next.set(key, free);
  }
  selected.value = next;
}

let undo: ReturnType<typeof setTimeout> | undefined;

/** Hides a row; the tab's own record is deleted a while later, unless undone. */
export function deleteRow(row: Row): void {
  void finishDelete();
  deleted.value = row;
  if (row.source === "tab") remember({ name: store.recordName(row), until: Date.now() + UNDO_MS });
  refresh();
  undo = setTimeout(() => void finishDelete(), UNDO_MS);
}

export function undoDelete(): void {
  clearTimeout(undo);
  remember(undefined);
  deleted.value = undefined;
  refresh();
}

/** Deletes what can still be undone: before the same run may begin again. */
export async function finishDelete(): Promise<void> {
  const row = deleted.value;
  if (!row) return;
  clearTimeout(undo);
  view?.remove(row.key);
  deleted.value = undefined;
  refresh();
  if (row.source !== "tab") return;
  const name = store.recordName(row);
  await store.removeRun(name).catch(() => {});
  if (remembered()?.name === name) remember(undefined);
}

/** What is being deleted, so that it does not come back where the page is left before it is. */
interface Going {
  name: string;
  /** When it can no longer be undone. */
  until: number;
}
const GOING = "apet-deleting";

function remember(going: Going | undefined): void {
  try {
    if (going) localStorage.setItem(GOING, JSON.stringify(going));
    else localStorage.removeItem(GOING);
  } catch {
    // Then it comes back, and can be deleted again.
  }
}

function remembered(): Going | undefined {
  try {
    return JSON.parse(localStorage.getItem(GOING) ?? "null") ?? undefined;
  } catch {
    return undefined;
  }
}

// Who leaves the page can not undo it any more.
addEventListener("pagehide", () => {
  const going = remembered();
  if (going && deleted.value) remember({ ...going, until: 0 });
});

/** Deletes what an earlier page did not come to; another tab may still undo its own. */
async function finishEarlierDelete(): Promise<void> {
  const going = remembered();
  if (!going || !(going.until < Date.now())) return;
  await store.removeRun(going.name).catch(() => {});
  remember(undefined);
}

export function download(row: Row): void {
  const text = view?.record(row.key);
  if (text === undefined) return;
  save(`${store.recordName(row)}.jsonl`, "application/jsonl", text);
}

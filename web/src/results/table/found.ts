// What the runs table shows: filtered, sorted, named and pinned. The figures show the same runs.

import { computed, signal } from "@preact/signals";
import { inAddress } from "../../route";
import { COLUMNS, type Column } from "./columns";
import { parse, type Test } from "./filter";
import { deleted, edition, rows } from "../../records/records";
import type { By, Row } from "../../wasm/view";

export const filter = inAddress("results", "filter", "");
/** A column's id, with a minus where the largest comes first. */
export const order = inAddress("results", "sort", "-started");
const columnIds = inAddress("results", "columns", "");
const groupIds = inAddress("results", "group", "");

const PLAIN = COLUMNS.filter((c) => c.plain);

export const columns = computed<Column[]>(() => {
  const ids = columnIds.value.split(",");
  const chosen = COLUMNS.filter((c) => ids.includes(c.id));
  return chosen.length > 0 ? chosen : PLAIN;
});

export function chooseColumns(chosen: Column[]): void {
  const ids = (of: Column[]) => of.map((c) => c.id).join();
  columnIds.value = ids(chosen) === ids(PLAIN) ? "" : ids(chosen);
}

/** Fields by which the runs are put together; none shows every run. */
export const grouping = computed<By[]>(() => {
  const ids = groupIds.value.split(",");
  return COLUMNS.flatMap((c) => (c.by && ids.includes(c.id) ? [c.by] : []));
});

export function groupBy(by: By[]): void {
  groupIds.value = COLUMNS.flatMap((c) => (c.by && by.includes(c.by) ? [c.id] : [])).join();
}

const parsed = computed(() => parse(filter.value, COLUMNS, longName));
/** What is wrong with the filter, in a sentence. */
export const wrong = computed(() => (typeof parsed.value === "string" ? parsed.value : ""));
let last: Test = () => true;

export const found = computed<Row[]>(() => {
  if (typeof parsed.value !== "string") last = parsed.value;
  const kept = rows.value.filter(last);
  const by = COLUMNS.find((c) => c.id === order.value.replace("-", ""));
  const down = order.value.startsWith("-");
  // Runs stand in the order of what they are called.
  const value = by?.id === "run" ? called : by?.value;
  if (value) kept.sort((a, b) => compare(value(a), value(b), down));
  const isPinned = (row: Row) => Number(marks.value[row.key]?.pinned ?? false);
  return kept.sort((a, b) => isPinned(b) - isPinned(a));
});

/** The keys of what is shown: what the figures are of. Undefined where that is everything. */
export const shown = computed<string[] | undefined>(() => {
  void edition.value;
  // A run that is being deleted is not in the table any more.
  return found.value.length === rows.value.length && !deleted.value ? undefined : found.value.map((r) => r.key);
});

/** What is not known comes last, whichever way the rest goes. */
function compare(a: string | number | null, b: string | number | null, down: boolean): number {
  if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
  const way = typeof a === "number" && typeof b === "number" ? a - b : collator.compare(String(a), String(b));
  return down ? -way : way;
}
const collator = new Intl.Collator("en", { numeric: true });

/** What a reader gave a run: a name, a place at the top. */
interface Mark {
  name?: string;
  pinned?: boolean;
}

const MARKS = "apet-marks";
export const marks = signal<Record<string, Mark>>(readMarks());

export function mark(key: string, change: Mark): void {
  const next = { ...marks.value[key], ...change };
  const { [key]: _, ...others } = marks.value;
  marks.value = next.name || next.pinned ? { ...others, [key]: next } : others;
  try {
    localStorage.setItem(MARKS, JSON.stringify(marks.value));
  } catch {
    // They last as long as the page.
  }
}

function readMarks(): Record<string, Mark> {
  try {
    const read: unknown = JSON.parse(localStorage.getItem(MARKS) ?? "{}");
    return typeof read === "object" && read !== null ? (read as Record<string, Mark>) : {};
  } catch {
    return {};
  }
}

/** What a run is called: by the reader, or by its id. */
export const called = (row: Row) => marks.value[row.key]?.name || row.run.slice(0, 8);
export const longName = (row: Row) => marks.value[row.key]?.name || row.name;

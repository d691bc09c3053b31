// The runs of the table: filtered, sorted, named and pinned. The figures show the same runs.

import { computed, signal } from "@preact/signals";
import { inAddress } from "../../route";
import { COLUMNS, type Column } from "./columns";
import { parse, type Test } from "./filter";
import { deleted, edition, rows } from "../../records/records";
import { keep, kept } from "../../storage/local";
import type { By, Row } from "../../wasm/view";

/** The text of the filter. */
export const filter = inAddress("results", "filter", "");
/** The id of the column to sort by, with a minus for descending order. */
export const order = inAddress("results", "sort", "-started");
const columnIds = inAddress("results", "columns", "");
const groupIds = inAddress("results", "group", "");

const PLAIN = COLUMNS.filter((c) => c.plain);

/** The visible columns. */
export const columns = computed<Column[]>(() => {
  const ids = columnIds.value.split(",");
  const chosen = COLUMNS.filter((c) => ids.includes(c.id));
  return chosen.length > 0 ? chosen : PLAIN;
});

/** Sets the visible columns. */
export function chooseColumns(chosen: Column[]): void {
  const ids = (of: Column[]) => of.map((c) => c.id).join();
  columnIds.value = ids(chosen) === ids(PLAIN) ? "" : ids(chosen);
}

/** The fields to group by; empty shows single runs. */
export const grouping = computed<By[]>(() => {
  const ids = groupIds.value.split(",");
  return COLUMNS.flatMap((c) => (c.by && ids.includes(c.id) ? [c.by] : []));
});

/** Sets the fields to group by. */
export function groupBy(by: By[]): void {
  groupIds.value = COLUMNS.flatMap((c) => (c.by && by.includes(c.by) ? [c.id] : [])).join();
}

const parsed = computed(() => parse(filter.value, COLUMNS, longName));
/** The error in the filter, if it has one. */
export const wrong = computed(() => (typeof parsed.value === "string" ? parsed.value : ""));
let last: Test = () => true;

/** The runs that pass the filter, in order. */
export const found = computed<Row[]>(() => {
  if (typeof parsed.value !== "string") last = parsed.value;
  const kept = rows.value.filter(last);
  const by = COLUMNS.find((c) => c.id === order.value.replace("-", ""));
  const down = order.value.startsWith("-");
  // Runs are sorted by name.
  const value = by?.id === "run" ? called : by?.value;
  if (value) kept.sort((a, b) => compare(value(a), value(b), down));
  const isPinned = (row: Row) => Number(marks.value[row.key]?.pinned ?? false);
  return kept.sort((a, b) => isPinned(b) - isPinned(a));
});

/** The keys of the visible runs, for the figures; `undefined` if all runs are visible. */
export const shown = computed<string[] | undefined>(() => {
  void edition.value;
  // A run that is being deleted is no longer in the table.
  return found.value.length === rows.value.length && !deleted.value ? undefined : found.value.map((r) => r.key);
});

/** Unknown values come last in either order. */
function compare(a: string | number | null, b: string | number | null, down: boolean): number {
  if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
  const way = typeof a === "number" && typeof b === "number" ? a - b : collator.compare(String(a), String(b));
  return down ? -way : way;
}
const collator = new Intl.Collator("en", { numeric: true });

/** The user's marks on a run: a name, a place at the top. */
interface Mark {
  name?: string;
  pinned?: boolean;
}

const MARKS = "apet-marks";
/** The marks, by the keys of runs. */
export const marks = signal<Record<string, Mark>>(readMarks());

/** Changes the marks of a run. */
export function mark(key: string, change: Mark): void {
  const next = { ...marks.value[key], ...change };
  const { [key]: _, ...others } = marks.value;
  marks.value = next.name || next.pinned ? { ...others, [key]: next } : others;
  keep(MARKS, marks.value);
}

function readMarks(): Record<string, Mark> {
  const read = kept(MARKS);
  return typeof read === "object" && read !== null ? (read as Record<string, Mark>) : {};
}

/** The name of a run: the user's, or its id. */
export const called = (row: Row) => marks.value[row.key]?.name || row.run.slice(0, 8);
/** The user's name of a run, or a description. */
export const longName = (row: Row) => marks.value[row.key]?.name || row.name;

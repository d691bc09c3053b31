// Deletes runs after a delay in which it can be undone, even if the page is closed during the delay.

import { keep, kept } from "../storage/local";
import * as store from "../storage/runs";
import { deleted, refresh, records } from "./records";
import type { Row } from "../wasm/view";

const UNDO_MS = 10_000;

let undo: ReturnType<typeof setTimeout> | undefined;

/** Hides a row; a record of this tab is deleted later, unless undone. */
export function deleteRow(row: Row): void {
  void finishDelete();
  deleted.value = row;
  if (row.source === "tab") remember({ name: store.recordName(row), until: Date.now() + UNDO_MS });
  refresh();
  undo = setTimeout(() => void finishDelete(), UNDO_MS);
}

/** Shows the hidden row again. */
export function undoDelete(): void {
  clearTimeout(undo);
  remember(undefined);
  deleted.value = undefined;
  refresh();
}

/** Completes a deletion that can still be undone: before the same run may start again. */
export async function finishDelete(): Promise<void> {
  const row = deleted.value;
  if (!row) return;
  clearTimeout(undo);
  records()?.remove(row.key);
  deleted.value = undefined;
  refresh();
  if (row.source !== "tab") return;
  const name = store.recordName(row);
  await store.removeRun(name).catch(() => {});
  if (remembered()?.name === name) remember(undefined);
}

/** The pending deletion, so that the run does not reappear if the page is closed before it is deleted. */
interface Pending {
  name: string;
  /** The time until which it can be undone. */
  until: number;
}
const PENDING = "apet-deleting";

const remember = (pending: Pending | undefined): void => keep(PENDING, pending);

const remembered = () => kept(PENDING) as Pending | undefined;

// After leaving the page it can no longer be undone.
addEventListener("pagehide", () => {
  const pending = remembered();
  if (pending && deleted.value) remember({ ...pending, until: 0 });
});

/** Completes the deletion of an earlier page; another tab may still undo its own. */
export async function finishEarlierDelete(): Promise<void> {
  const pending = remembered();
  if (!pending || !(pending.until < Date.now())) return;
  await store.removeRun(pending.name).catch(() => {});
  remember(undefined);
}

// Deletes runs, with a while to undo it: also where the page is left before that is over.

import * as store from "../storage/runs";
import { deleted, refresh, records } from "./records";
import type { Row } from "../wasm/view";

const UNDO_MS = 10_000;

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
  records()?.remove(row.key);
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
export async function finishEarlierDelete(): Promise<void> {
  const going = remembered();
  if (!going || !(going.until < Date.now())) return;
  await store.removeRun(going.name).catch(() => {});
  remember(undefined);
}

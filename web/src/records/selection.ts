// Which runs are drawn over one another, and whose page is open.

import { signal } from "@preact/signals";

export const selected = signal<ReadonlyMap<string, number>>(new Map());
/** The row whose page is open. */
export const opened = signal<string | undefined>(undefined);

/** Colours for overlaid runs; more can not be told apart. */
export const COLOURS = 8;

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
